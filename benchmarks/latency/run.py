"""What a fresh process does for the latency of one workload."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from benchmarks.adapters import adapter
from benchmarks.latency.loops import Idle, capacity, closed, intended_starts, opened
from benchmarks.measure.placement import Placement, placed
from benchmarks.measure.timing import quantiles
from benchmarks.worker import loop_factory
from benchmarks.workloads.case import opened as open_case
from benchmarks.workloads.registry import WORKLOADS

SHARES = (0.5, 0.8)  # of the capacity


def latency(
    *, workload: str, loop: str, urls: Mapping[str, str], placement: Placement, operations: int, seed: int
) -> dict[str, Any]:
    """Quantiles in nanoseconds, of the floor, the closed loop, and the open loop at each share of the capacity."""
    with placed(placement), asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        return runner.run(_latency(workload, urls, operations, seed))


async def _latency(name: str, urls: Mapping[str, str], operations: int, seed: int) -> dict[str, Any]:
    workload, library = WORKLOADS[name], adapter("chuk", urls)
    async with open_case(replace(workload, body=Idle(), repeats=1), library) as idle:
        floor = await closed(idle, operations)
    async with open_case(workload, library) as case:
        await closed(case, operations // 10)  # connections are open and code is warm
        found: dict[str, Any] = {"floor": quantiles(floor), "closed": quantiles(await closed(case, operations))}
        most = await capacity(case, operations)
        found["capacity"] = most
        for number, share in enumerate(SHARES):
            starts = intended_starts(operations, share * most, seed + number)
            found[f"open {share:.0%}"] = quantiles(await opened(case, starts))
        await case.check()
    return found
