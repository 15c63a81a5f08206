"""``python -m benchmarks.latency``: percentiles of single operations. See ``nox -s latency``."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.latency.page import page
from benchmarks.measure import servers
from benchmarks.measure.environment import environment, load
from benchmarks.measure.placement import Placement, possible
from benchmarks.measure.processes import ROOT, ask, run_program
from benchmarks.pages.publications import publish
from benchmarks.workloads.case import Kind
from benchmarks.workloads.registry import WORKLOADS
from tests.support.servers import Server, ServerError

SCHEMA = 1
FULL_FOLDER = ROOT / "results"
QUICK_FOLDER = ROOT / ".benchmarks" / "quick"
MEMORY = ("memory.get", "memory.set-over", "manager.memory.validate", "manager.memory.update")
REDIS = ("redis.get", "redis.get.50", "manager.redis.validate.50")
OPERATIONS = {"memory": 200_000, "redis": 100_000}
QUICK_OPERATIONS = 2_000
# The generator of the open loop never rests: on the server's core it would take the time that it wants to measure.
PLACEMENT: Placement = "apart"


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="half a minute; to see that all works")
    parser.add_argument("--no-redis", action="store_true", help="memory only")
    parser.add_argument("--launches", type=int, help="fresh processes per workload; default 5, quick 1")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: results, or .benchmarks/quick")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, write."""
    options = options_of(arguments)
    start = time.monotonic()
    results: dict[str, Any] = {
        "schema": SCHEMA,
        "quick": options.quick,
        "environment": environment(),
        "placement": possible(PLACEMENT),
    }
    try:
        with running_servers(options.no_redis) as running:
            results["servers"] = {kind: servers.described(server) for kind, server in running.items()}
            results["runs"] = measure(options, {kind: server.url for kind, server in running.items()})
    except ServerError as error:
        print(f"{error}\nor give --no-redis for memory alone", file=sys.stderr)
        return 2
    results |= {"load_after": load(), "seconds": round(time.monotonic() - start, 1)}
    folder: Path = options.out or (QUICK_FOLDER if options.quick else FULL_FOLDER)
    publish("latency", results, folder)
    print(f"\n{page(results)}\nWritten to {folder} in {results['seconds']:.0f} s.")
    return 0


def running_servers(without: bool) -> AbstractContextManager[Mapping[Kind, Server]]:
    """Servers of our own, or none."""
    return nullcontext(dict[Kind, Server]()) if without else servers.running(None, possible(PLACEMENT))


def measure(options: argparse.Namespace, urls: Mapping[str, str]) -> list[dict[str, Any]]:
    """Every workload on every loop that matters for it, in fresh processes that take turns."""
    runs: list[dict[str, Any]] = [
        {"workload": name, "loop": loop, "processes": []}
        for name in (*MEMORY, *(() if options.no_redis else REDIS))
        for loop in loops_for(name)
    ]
    launches = options.launches or (1 if options.quick else 5)
    for launch in range(launches):
        for number, run in enumerate(runs):
            count = f"launch {launch + 1} of {launches}, workload {number + 1} of {len(runs)}"
            print(f"  {count}: {run['workload']} on {run['loop']}", flush=True)
            run["processes"].append(_launch(run, options.quick, urls))
    return runs


def loops_for(name: str) -> tuple[str, ...]:
    """Memory never suspends, so its figures do not depend on the loop."""
    with_uvloop = not WORKLOADS[name].in_memory and find_spec("uvloop")
    return ("asyncio", "uvloop") if with_uvloop else ("asyncio",)


def _launch(run: Mapping[str, Any], quick: bool, urls: Mapping[str, str]) -> dict[str, Any]:
    in_memory = WORKLOADS[run["workload"]].in_memory
    reply = ask(
        "latency",
        workload=run["workload"],
        loop=run["loop"],
        urls=dict(urls),
        placement="free" if in_memory else possible(PLACEMENT),
        operations=QUICK_OPERATIONS if quick else OPERATIONS["memory" if in_memory else "redis"],
        seed=random.SystemRandom().randrange(2**32),
    )
    found: dict[str, Any] = reply["answer"]
    return found


if __name__ == "__main__":
    run_program(main)
