"""How a block is timed, here and in every worker.

A block is a known number of operations, awaited inside one running loop. The stopwatch runs only while operations
run: starting a loop, filling a store and checking a result cost tens of microseconds and are not what is measured.
There is never a timer around a single operation (a pair costs about as much as the fastest operations), except where
single latencies are asked for.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.workloads.case import Case

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999, "max": 1.0}


class _Spent:
    """Nanoseconds spent inside blocks since this process began."""

    ns = 0


def stopwatch() -> float:
    """Seconds spent inside blocks: the timer that pytest-benchmark is given."""
    return _Spent.ns * 1e-9


async def run_block(case: Case, clock: Callable[[], int] = perf_counter_ns) -> int:
    """Run one block, check that it did its work, and return its nanoseconds."""
    spent = 0
    for _ in range(case.workload.repeats):
        await case.reset()
        start = clock()
        await case.run()
        spent += clock() - start
    await case.check()
    _Spent.ns += spent
    return spent


def timer_floor() -> int:
    """What a pair of clock readings measures when nothing stands between them, in nanoseconds."""
    return min(-(perf_counter_ns() - perf_counter_ns()) for _ in range(10_000))


def quantile(values: Sequence[float], share: float) -> float:
    """The exact rank: the smallest value that at least this share of all values does not pass."""
    if not values or not 0 < share <= 1:
        raise ValueError(f"no quantile {share!r} of {len(values)} values")
    return sorted(values)[math.ceil(share * len(values)) - 1]


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """The quantiles that the results carry."""
    return {name: quantile(values, share) for name, share in QUANTILES.items()}


def typical(processes: Sequence[Sequence[float]]) -> float:
    """One figure for several processes, each with several blocks: the median of the processes' medians."""
    return statistics.median(statistics.median(blocks) for blocks in processes)


def spread(processes: Sequence[Sequence[float]]) -> float:
    """How far the processes' medians lie apart: highest over lowest, less one."""
    medians = [statistics.median(blocks) for blocks in processes]
    return max(medians) / min(medians) - 1
