"""``python -m benchmarks.latency``: percentiles of single operations. See ``nox -s latency``."""

from __future__ import annotations

import argparse
import random
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from benchmarks.measure.event_loops import loops_for
from benchmarks.measure.placement import possible
from benchmarks.measure.processes import ask
from benchmarks.program import parser_of, run_and_publish, run_program, say, servers_of
from benchmarks.workloads.registry import WORKLOADS

SCHEMA = 1
MEMORY = ("memory.get", "memory.set-over", "manager.memory.validate", "manager.memory.update")
REDIS = ("redis.get", "redis.get.50", "manager.redis.validate.50", "near.server", "near.hit")
OPERATIONS = {"memory": 200_000, "redis": 100_000}
QUICK_OPERATIONS = 2_000


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = parser_of("python -m benchmarks.latency", __doc__, "half a minute")
    parser.add_argument("--launches", type=int, help="fresh processes per workload; default 5, quick 1")
    options = parser.parse_args(arguments)
    # The generator of the open loop never rests: on the server's core it would take the time that it is to measure.
    options.placement = possible("apart")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, write."""
    options = options_of(arguments)
    return run_and_publish("latency", SCHEMA, options, partial(measure, options))


def measure(options: argparse.Namespace, results: dict[str, Any]) -> None:
    """Every workload on every loop that matters for it, in fresh processes that take turns."""
    with servers_of(options) as running:
        results["servers"] = running.described()
        results["runs"] = runs(options, running.urls)


def runs(options: argparse.Namespace, urls: Mapping[str, str]) -> list[dict[str, Any]]:
    """What each process found, by workload and loop."""
    found: list[dict[str, Any]] = [
        {"workload": name, "loop": loop, "processes": []}
        for name in (*MEMORY, *(() if options.no_redis else REDIS))
        for loop in loops_for(WORKLOADS[name])
    ]
    launches = options.launches or (1 if options.quick else 5)
    for launch in range(launches):
        for number, run in enumerate(found):
            count = f"launch {launch + 1} of {launches}, workload {number + 1} of {len(found)}"
            say(f"{count}: {run['workload']} on {run['loop']}")
            run["processes"].append(_launch(run, options, urls))
    return found


def _launch(run: Mapping[str, Any], options: argparse.Namespace, urls: Mapping[str, str]) -> dict[str, Any]:
    in_memory = WORKLOADS[run["workload"]].in_memory
    reply = ask(
        "latency",
        workload=run["workload"],
        loop=run["loop"],
        urls=dict(urls),
        placement="free" if in_memory else options.placement,
        operations=QUICK_OPERATIONS if options.quick else OPERATIONS["memory" if in_memory else "redis"],
        seed=random.SystemRandom().randrange(2**32),
    )
    found: dict[str, Any] = reply["answer"]
    return found


if __name__ == "__main__":
    run_program(main)
