"""``python -m benchmarks.compare``: this library beside others. See ``nox -s compare``, which installs them."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.compare.page import page
from benchmarks.compare.run import play, python_of
from benchmarks.compare.sides import GROUPS, Contest, contests, environments
from benchmarks.measure import servers
from benchmarks.measure.environment import environment, load
from benchmarks.measure.placement import PLACEMENTS, possible
from benchmarks.measure.processes import ROOT, run_program
from benchmarks.measure.scale import FULL, QUICK
from benchmarks.pages.publications import publish
from benchmarks.workloads.case import Kind
from benchmarks.workloads.registry import WORKLOADS
from tests.support.servers import Server, ServerError

SCHEMA = 1
FULL_FOLDER = ROOT / "results"
QUICK_FOLDER = ROOT / ".benchmarks" / "quick"


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--environments", type=Path, metavar="FOLDER", help="virtual environments, made by nox")
    parser.add_argument("--quick", action="store_true", help="one launch of few blocks; to see that all works")
    parser.add_argument("--no-redis", action="store_true", help="memory only")
    parser.add_argument("--only", action="append", default=[], metavar="TITLE", help="only this table; repeatable")
    parser.add_argument("--placement", choices=PLACEMENTS, default="shared", help="cores of Redis and its client")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: results, or .benchmarks/quick")
    return parser.parse_args(arguments)


def chosen(options: argparse.Namespace) -> list[Contest]:
    """What this machine and command line allow."""
    groups = tuple(group for group in GROUPS if not options.only or group.title in options.only)
    return [
        contest
        for contest in contests(groups)
        if not (options.no_redis and not WORKLOADS[contest.workload].in_memory)
        and not (contest.loop == "uvloop" and not find_spec("uvloop"))
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, write."""
    options = options_of(arguments)
    start = time.monotonic()
    results: dict[str, Any] = {
        "schema": SCHEMA,
        "quick": options.quick,
        "environment": environment(),
        "placement": possible(options.placement),
    }
    try:
        with (
            nullcontext(dict[Kind, Server]())
            if options.no_redis
            else servers.running(None, possible(options.placement))
        ) as running:
            results["servers"] = {kind: servers.described(server) for kind, server in running.items()}
            results["contests"] = _play(options, {kind: server.url for kind, server in running.items()})
    except ServerError as error:
        print(f"{error}\nor give --no-redis for memory alone", file=sys.stderr)
        return 2
    results |= {"load_after": load(), "seconds": round(time.monotonic() - start, 1)}
    folder: Path = options.out or (QUICK_FOLDER if options.quick else FULL_FOLDER)
    publish("compare", results, folder)
    print(f"\n{page(results)}\nWritten to {folder} in {results['seconds']:.0f} s.")
    return 0


def _play(options: argparse.Namespace, urls: Mapping[str, str]) -> list[dict[str, Any]]:
    scale = QUICK if options.quick else FULL
    return play(chosen(options), _pythons(options.environments), urls, scale, possible(options.placement), say)


def _pythons(folder: Path | None) -> dict[tuple[str, ...], str]:
    """The interpreter for each set of requirements; what is not installed is left out, and shown as that."""
    if folder is None:
        return {}
    found = {requirements: python_of(folder / name) for requirements, name in environments().items()}
    return {requirements: python for requirements, python in found.items() if Path(python).exists()}


def say(text: str) -> None:
    """One line of progress."""
    print(f"  {text}", flush=True)


if __name__ == "__main__":
    run_program(main)
