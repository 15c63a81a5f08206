"""A workload, and a workload on an open store: what is run, how often, and how many operations that is."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from benchmarks.workloads.bodies import Body, Cycle, sample

# seldom: with a touch_interval; near: with a near cache too; web: strict and with opaque ids, as browsers need it
Layer = Literal["provider", "manager", "seldom", "near", "web"]
Kind = Literal[
    "memory",
    "memory-clock",
    "memory-counted",
    "redis",
    "redis-aof",
    "redis-tls",
    "redis-cluster",
    "redis-far",
    "redis-timed",
]

KINDS: dict[Kind, str] = {
    "memory": "Memory",
    "memory-clock": "Memory with a clock that the workload moves",
    "memory-counted": "Memory, with metrics",
    "redis": "Redis",
    "redis-aof": "Redis, appendonly everysec",
    "redis-tls": "Redis over TLS",
    "redis-cluster": "Redis Cluster, 3 masters",
    "redis-far": "Redis behind a proxy that adds 0.3 ms each way",
    "redis-timed": "Redis, with round trips measured",
}


class Adapter(Protocol):
    """A library under test."""

    def open(self, layer: Layer, kind: Kind) -> AbstractAsyncContextManager[Any]:
        """Its provider or its session manager, on a store of this kind."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One thing to measure.

    A run is ``callers`` concurrent callers, each with ``items`` items of its own that it works through ``passes``
    times; a block is ``repeats`` runs, reset in between.
    """

    name: str
    operation: str  # what one operation is
    body: Body
    layer: Layer = "provider"
    kind: Kind = "memory"
    callers: int = 1
    items: int = 1_000
    passes: int = 1
    repeats: int = 1
    unit: str = "call"
    beside: str = ""  # the workload whose time is taken off to get the overhead of this one
    shuffled: bool = False  # stored in one random order, worked on in another: no item is near the one before

    @property
    def in_memory(self) -> bool:
        """Whether it needs no server."""
        return self.kind.startswith("memory")

    @property
    def operations(self) -> int:
        """Operations of one block."""
        return self.callers * self.items * self.passes * self.repeats


class Case:
    """A workload on a store that is open."""

    def __init__(self, workload: Workload, store: Any, prefix: str = "bench") -> None:
        self.workload = workload
        self.store = store
        self._items = [
            [f"{prefix}:{caller:03d}:{item:06d}" for item in range(workload.items)]
            for caller in range(workload.callers)
        ]
        if workload.shuffled:
            for items in self._items:
                random.Random(1).shuffle(items)
        self._work = self._items

    @property
    def items(self) -> list[list[str]]:
        """The items of each caller."""
        return self._items

    async def prepare(self) -> None:
        """Once, before the first run."""
        await self._each(self.workload.body.prepare)
        if self.workload.passes > 1:
            self._work = [items * self.workload.passes for items in self._items]
        if self.workload.shuffled:
            self._work = [random.Random(2).sample(items, len(items)) for items in self._work]

    async def reset(self) -> None:
        """Before every run."""
        await self._each(self.workload.body.reset)

    async def run(self) -> None:
        """All callers, concurrently."""
        work, store = self.workload.body.work, self.store
        if len(self._work) == 1:
            await work(store, self._work[0])
        else:
            await asyncio.gather(*[work(store, items) for items in self._work])

    async def check(self) -> None:
        """AssertionError if the last run did not do its work."""
        for items in sample(self._items):
            await self.workload.body.check(self.store, items)

    async def clean(self) -> None:
        """Leave the store as it was."""
        await self._each(self.workload.body.clean)

    async def latencies(self) -> tuple[list[int], list[int]]:
        """A run with a clock around every operation: nanoseconds of each cycle, and of each call in it."""
        body = self.workload.body
        assert isinstance(body, Cycle)
        cycles: list[int] = []
        calls: list[int] = []
        await asyncio.gather(*[body.latencies(self.store, items, cycles, calls) for items in self._work])
        return cycles, calls

    async def _each(self, step: Callable[[Any, list[str]], Any]) -> None:
        for items in self._items:
            await step(self.store, items)


@asynccontextmanager
async def opened(workload: Workload, adapter: Adapter, prefix: str = "bench") -> AsyncIterator[Case]:
    """The workload, ready to run. Processes that use one server at the same time need prefixes of their own."""
    async with adapter.open(workload.layer, workload.kind) as store:
        case = Case(workload, store, prefix)
        await case.prepare()
        try:
            yield case
        finally:
            await case.clean()
