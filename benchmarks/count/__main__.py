"""``python -m benchmarks.count``: does an operation need more instructions than on its base? See ``nox -s count``."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.against_base import exit_code_of, on_trees, parser_of, write
from benchmarks.count.callgrind import CountFailed, has_valgrind, instructions, per_operation, rehearse
from benchmarks.count.changes import Count, exit_code, table
from benchmarks.gate.scenarios import FAMILIES
from benchmarks.measure.trees import NoBase, Trees
from benchmarks.program import run_program, say

SCHEMA = 1
# On Redis the number of turns of the loop depends on the server's pace; tests/redis/test_exact_costs.py counts there.
# At scale it is places in memory that take the time, not instructions.
HOT = [family for family in FAMILIES if not family.needs_server and family.pairs == 1]
COUNTED = [name for family in HOT for name in family.scenarios]
COUNTED += ["grid.artifact-key", "web.no-cookie", "web.read-only", "web.one-change"]
Point = tuple[str, str]  # tree, workload


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = parser_of("count", __doc__)
    parser.add_argument("--workload", action="append", choices=COUNTED, metavar="NAME", help="only this; repeatable")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="programs at the same time")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """1 if a workload needs over 10 % more, 2 if it cannot be counted, 0 otherwise."""
    options = options_of(arguments)
    if not has_valgrind():
        print("NOTICE: valgrind is not here, so no instructions are counted (apt-get install valgrind).")
        return 0
    return exit_code_of(lambda: run(options), (NoBase, CountFailed), "nothing could be counted")


def run(options: argparse.Namespace) -> int:
    """The exit code."""
    return on_trees(options, lambda trees: compare(trees, options))


def compare(trees: Trees, options: argparse.Namespace) -> int:
    """Count, print, write."""
    start = time.monotonic()
    counts = count_all(trees, options.workload or COUNTED, options.jobs)
    text = str(table(counts, trees.base_name, trees.head_name))
    print(f"\n{text}\n\n{time.monotonic() - start:.0f} s", flush=True)
    found = [{"workload": one.workload, "base": one.base, "head": one.head, "why": one.why} for one in counts]
    write("count", SCHEMA, trees, text, options.out, {"counts": found})
    return exit_code(counts)


def count_all(trees: Trees, workloads: Sequence[str], jobs: int) -> list[Count]:
    """Every workload on both trees; counts do not mind what else the machine does, so several run at a time."""
    lacking = _rehearse(trees, workloads)
    points: list[Point] = [
        (tree, workload)
        for workload in workloads
        for tree in ("base", "head")
        if not (tree == "base" and workload in lacking)
    ]
    counted: dict[Point, int] = {}
    with ThreadPoolExecutor(jobs) as pool:
        totals = pool.map(lambda point: instructions(_tree(trees, point[0]), point[1]), points)
        for number, (point, total) in enumerate(zip(points, totals, strict=True)):
            say(f"{number + 1} of {len(points)}: {point[1]} on the {point[0]}")
            counted[point] = total
    return [_count(workload, counted, lacking.get(workload)) for workload in workloads]


def _tree(trees: Trees, name: str) -> Path:
    return trees.base if name == "base" else trees.head


def _rehearse(trees: Trees, workloads: Sequence[str]) -> dict[str, str]:
    """What the base cannot do, and why; the head has to be able to do all."""
    lacking = {}
    for workload in workloads:
        rehearse(trees.head, workload)
        try:
            rehearse(trees.base, workload)
        except CountFailed as error:
            lacking[workload] = str(error)
    return lacking


def _count(workload: str, counted: dict[Point, int], why: str | None) -> Count:
    def of(tree: str) -> float:
        return per_operation(workload, counted[tree, workload])

    return Count(workload, None if why is not None else of("base"), of("head"), why or "")


if __name__ == "__main__":
    run_program(main)
