"""``python -m benchmarks.compare``: this library beside others. See ``nox -s compare``, which installs them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.compare.run import play, python_of
from benchmarks.compare.sides import GROUPS, Contest, all_environments, contests
from benchmarks.measure.event_loops import HERE
from benchmarks.measure.placement import PLACEMENTS, possible
from benchmarks.measure.scale import FULL, QUICK
from benchmarks.program import parser_of, run_and_publish, run_program, servers_of
from benchmarks.web import run as web
from benchmarks.web.sides import duels
from benchmarks.workloads.registry import WORKLOADS

SCHEMA = 1
REQUESTS = "Requests"  # for --only: all tables of requests


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = parser_of("python -m benchmarks.compare", __doc__, "one launch of few blocks")
    parser.add_argument("--environments", type=Path, metavar="FOLDER", help="virtual environments, made by nox")
    parser.add_argument("--only", action="append", default=[], metavar="TITLE", help="only this table; repeatable")
    parser.add_argument("--placement", choices=PLACEMENTS, default="shared", help="cores of Redis and its client")
    options = parser.parse_args(arguments)
    options.placement = possible(options.placement)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, write."""
    options = options_of(arguments)
    return run_and_publish("compare", SCHEMA, options, partial(measure, options))


def measure(options: argparse.Namespace, results: dict[str, Any]) -> None:
    """What this machine and command line allow."""
    scale, pythons = QUICK if options.quick else FULL, installed(options.environments)
    with servers_of(options) as running:
        results["servers"] = running.described()
        results["contests"] = play(chosen(options), pythons, running.urls, scale, options.placement)
        requests = duels(options.no_redis) if not options.only or REQUESTS in options.only else []
        results["web_turns"] = "blocks"
        results["web"] = web.play(requests, pythons, running.urls, scale, options.placement)
        results["web_added"] = web.added(scale) if requests else {}


def chosen(options: argparse.Namespace) -> list[Contest]:
    """The contests that are allowed."""
    groups = tuple(group for group in GROUPS if not options.only or group.title in options.only)
    return [
        contest
        for contest in contests(groups)
        if contest.loop in HERE
        and not (options.no_redis and not WORKLOADS[contest.workload].in_memory)
        and not (options.quick and WORKLOADS[contest.workload].shuffled)
    ]


def installed(folder: Path | None) -> dict[tuple[str, ...], str]:
    """The interpreter for each set of requirements; what is not installed is left out, and shown as that."""
    if folder is None:
        return {}
    found = {requirements: python_of(folder / name) for requirements, name in all_environments().items()}
    return {requirements: python for requirements, python in found.items() if Path(python).exists()}


if __name__ == "__main__":
    run_program(main)
