"""The loops of the latency passes, over workloads of the registry.

One operation is the body's ``work`` on a list of one item, so that nothing is defined twice; what that and the two
readings of the clock cost by themselves is measured by ``Idle`` and printed as the floor.

* Closed: every caller sends its next operation when the last one has ended. A stall delays one sample per caller.
* Open: operations begin when they are meant to, at random with a given rate, and are timed from that *intended* start.
  A stall delays everything that was meant to begin within it, and all of that is in the figures.
"""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Sequence
from itertools import accumulate, cycle, islice, repeat
from time import perf_counter_ns
from typing import Any

from benchmarks.workloads.bodies import Body
from benchmarks.workloads.case import Case

Singles = list[list[str]]


class Idle(Body):
    """Does nothing: its latency is the floor of all others."""

    async def work(self, store: Any, items: list[str]) -> None:
        for _ in items:
            pass


def singles(case: Case) -> list[Singles]:
    """For each caller the lists of one item."""
    return [[[item] for item in items] for items in case.items]


async def closed(case: Case, operations: int) -> list[int]:
    """Nanoseconds of about that many operations, over all callers of the workload."""
    latencies: list[int] = []
    callers = singles(case)
    rounds = max(1, operations // sum(map(len, callers)))
    await asyncio.gather(*[_call(case, lists * rounds, latencies) for lists in callers])
    return latencies


async def _call(case: Case, lists: Singles, latencies: list[int]) -> None:
    work, store, clock, note = case.workload.body.work, case.store, perf_counter_ns, latencies.append
    for single in lists:
        start = clock()
        await work(store, single)
        note(clock() - start)


def intended_starts(operations: int, per_second: float, seed: int) -> list[int]:
    """Nanoseconds from the beginning; gaps are exponential, as between callers that do not know each other."""
    chooser = random.Random(seed)
    gap = 1e9 / per_second
    return [round(start) for start in accumulate(chooser.expovariate(1) * gap for _ in range(operations))]


async def capacity(case: Case, operations: int) -> float:
    """Operations a second that the workload's callers reach when each operation is a task, as in the open loop."""
    latencies: list[int] = []
    start = perf_counter_ns()
    if case.workload.in_memory:
        await _in_line(case, list(repeat(0, operations)), latencies)
    else:
        await asyncio.gather(*[_in_tasks_of_one_caller(case, lists, operations) for lists in singles(case)])
        operations = operations // case.workload.callers * case.workload.callers
    return operations * 1e9 / (perf_counter_ns() - start)


async def _in_tasks_of_one_caller(case: Case, lists: Singles, operations: int) -> None:
    """A task for each operation, as the open loop has."""
    for single in islice(cycle(lists), operations // case.workload.callers):
        await asyncio.create_task(_one(case, single, 0, []))


async def opened(case: Case, starts: Sequence[int]) -> list[int]:
    """Nanoseconds from the intended start of each operation to its end."""
    latencies: list[int] = []
    gc.collect()
    gc.freeze()  # what this harness holds is not for the collector to look through while the clock runs
    if case.workload.in_memory:
        await _in_line(case, starts, latencies)
    else:
        await _in_tasks(case, starts, latencies)
    return latencies


async def _in_line(case: Case, starts: Sequence[int], latencies: list[int]) -> None:
    """What never suspends is served one after the other, like customers of one till."""
    work, store, clock = case.workload.body.work, case.store, perf_counter_ns
    lists = [single for caller in singles(case) for single in caller]
    begin = clock()
    for number, start in enumerate(starts):
        due = begin + start
        single = lists[number % len(lists)]
        while clock() < due:
            pass
        await work(store, single)
        latencies.append(clock() - due)


async def _in_tasks(case: Case, starts: Sequence[int], latencies: list[int]) -> None:
    """What waits for a server overlaps. The loop turns without a nap: timers of a loop are a millisecond coarse."""
    lists = [single for caller in singles(case) for single in caller]
    waiting: set[asyncio.Task[None]] = set()
    begin = perf_counter_ns()
    number = 0
    while number < len(starts):
        now = perf_counter_ns() - begin
        while number < len(starts) and starts[number] <= now:
            single = lists[number % len(lists)]
            task = asyncio.create_task(_one(case, single, begin + starts[number], latencies))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
            number += 1
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)


async def _one(case: Case, single: list[str], due: int, latencies: list[int]) -> None:
    await case.workload.body.work(case.store, single)
    latencies.append(perf_counter_ns() - due)
