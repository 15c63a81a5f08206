"""The benchmarks measure what they say: blocks of known size, honest clocks, and work that was really done."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from time import perf_counter_ns
from typing import Any

import pytest

from benchmarks.adapters import adapter
from benchmarks.adapters.plain_dict import DictProvider
from benchmarks.bench.churn import churn
from benchmarks.bench.floors import FLOORS as FLOORS_OF_CALLS
from benchmarks.bench.floors import Floor
from benchmarks.bench.footprint import of_items
from benchmarks.bench.peers import MATCHES
from benchmarks.measure import timing
from benchmarks.measure.placement import placed, possible
from benchmarks.worker import blocks
from benchmarks.workloads.bodies import Body, Expiry, sample
from benchmarks.workloads.case import Workload, opened
from benchmarks.workloads.manager_bodies import METADATA
from benchmarks.workloads.registry import WORKLOADS
from tests.bench.samples import Opener

FLOORS = ("grid.f-string", "floor.await")
MEMORY = [name for name, workload in WORKLOADS.items() if workload.in_memory and name not in FLOORS]


class LazyProvider(DictProvider):
    """Claims to be fast because it does nothing."""

    async def setex(self, key: str, ttl: int, value: str) -> None:
        pass


class LazyDeleter(DictProvider):
    """Does not remove anything."""

    async def delete(self, key: str) -> bool:
        return True


class Sleepy(Body):
    """Takes 2 ms for what is timed and at least 20 ms for what is not."""

    async def reset(self, store: Any, items: list[str]) -> None:
        await asyncio.sleep(0.02)

    async def work(self, store: Any, items: list[str]) -> None:
        await asyncio.sleep(0.002)


class Counting(Body):
    """Counts its operations."""

    def __init__(self) -> None:
        self.count = 0

    async def work(self, store: Any, items: list[str]) -> None:
        self.count += len(items)


@pytest.mark.parametrize("name", WORKLOADS)
def test_blocks_are_large_enough(name: str) -> None:
    """10,000 awaits in memory; on Redis 2,000 with many callers and 100 with few."""
    workload = WORKLOADS[name]
    calls = 3 if workload.unit == "cycle" else 1
    least = 10_000 if workload.in_memory else 2_000 if workload.callers >= 50 else 100
    assert workload.operations * calls >= least
    assert workload.name == name


async def test_a_block_runs_as_many_operations_as_it_says() -> None:
    """Callers times items times passes times repeats."""
    body = Counting()
    workload = Workload("counting", "nothing", body, callers=3, items=5, passes=7, repeats=2)
    async with opened(workload, Opener(None)) as case:
        await timing.run_block(case)
    assert body.count == workload.operations == 210


async def test_only_the_operations_are_timed() -> None:
    """Resetting is outside of what the block reports and of what pytest-benchmark's clock sees."""
    before, start = timing.stopwatch(), perf_counter_ns()
    async with opened(Workload("sleepy", "a nap", Sleepy(), repeats=2), Opener(None)) as case:
        spent = await timing.run_block(case)
    assert 0 < spent <= perf_counter_ns() - start - 2 * 20e6
    assert timing.stopwatch() - before == pytest.approx(spent * 1e-9)


@pytest.mark.parametrize("name", MEMORY)
async def test_every_memory_workload_does_its_work(name: str) -> None:
    """One block of this version passes its own check, and leaves the shared store as it was."""
    workload = WORKLOADS[name]
    if workload.shuffled:
        workload = replace(workload, items=1_000)  # as the rest does: what it takes at its size is for the benchmark
    async with opened(workload, adapter("chuk", {})) as case:
        assert await timing.run_block(case) > 0


@pytest.mark.parametrize("floor", FLOORS_OF_CALLS, ids=lambda floor: floor.call)
async def test_the_least_does_the_work_of_the_calls_that_it_is_a_floor_of(floor: Floor) -> None:
    """Its block passes the check of this version, and the users of the sessions are let go with them."""
    workload = replace(WORKLOADS[floor.goal.workload], items=1_000)
    async with opened(workload, adapter("least_sessions", {})) as case:
        assert await timing.run_block(case) > 0
    assert (case.store._sessions, case.store._users) == ({}, {})


async def test_the_least_tells_as_much_as_this_version() -> None:
    """The same keys with texts of the same form, so that no time is won by saying less."""
    infos = []
    for library in ("chuk", "least_sessions"):
        async with adapter(library, {}).open("manager", "memory") as manager:
            session_id = await manager.allocate_session(user_id="user-1", custom_metadata=METADATA)
            info = await manager.get_session_info(session_id)
            infos.append(info)
            assert await manager.validate_session(session_id)
            assert (await manager.get_session_info(session_id))["last_accessed"] > info["created_at"]
            assert info["session_id"] == session_id
            assert info["session_id"].startswith("sess-user")
    ours, least = infos
    assert list(ours) == list(least)
    same = ("sandbox_id", "user_id", "status", "custom_metadata")
    assert [ours[key] for key in same] == [least[key] for key in same]
    times = [datetime.fromisoformat(info[key]) for info in infos for key in ("created_at", "expires_at")]
    assert times[1] - times[0] == times[3] - times[2] == timedelta(days=1)


async def test_shuffled_items_are_stored_in_one_order_and_worked_on_in_another() -> None:
    """The same in each process, and none beside the one that it was made beside."""

    class Noting(Counting):
        async def prepare(self, store: Any, items: list[str]) -> None:
            self.stored = list(items)

        async def work(self, store: Any, items: list[str]) -> None:
            self.worked = list(items)

    body = Noting()
    async with opened(Workload("noting", "nothing", body, shuffled=True), Opener(None)) as case:
        await timing.run_block(case)
    orders = [body.stored, body.worked, sorted(body.stored)]
    assert all(sorted(order) == orders[2] for order in orders)
    assert len({tuple(order) for order in orders}) == 3


async def test_every_block_has_sessions_to_delete() -> None:
    """To end what the block before has ended would look fast."""
    workload = replace(WORKLOADS["manager.memory.delete-of-100k"], items=50)
    async with opened(workload, adapter("chuk", {})) as case:
        for _ in range(2):
            await timing.run_block(case)
            await case.reset()
            assert await case.store.validate_sessions(case.items[0]) == [True] * 50


@pytest.mark.parametrize("name", ["memory.get", "memory.set-new", "memory.set-over", "memory.cycle.5"])
async def test_a_store_that_does_not_store_is_found_out(name: str) -> None:
    """A no-op cannot look fast."""
    async with opened(WORKLOADS[name], Opener(LazyProvider())) as case:
        with pytest.raises(AssertionError):
            await timing.run_block(case)


async def test_expiry_is_worked_off_as_it_happens() -> None:
    """On a clock that the workload moves: keys of the last second or two are held, and not all 10,000."""
    async with opened(WORKLOADS["memory.expiry"], adapter("chuk", {})) as case:
        await timing.run_block(case)
        assert Expiry.PER_SECOND <= len(case.store.provider) <= 3 * Expiry.PER_SECOND


@pytest.mark.parametrize("name", ["memory.delete", "memory.cycle.5"])
async def test_a_store_that_does_not_delete_is_found_out(name: str) -> None:
    """A delete that does nothing cannot look fast."""
    async with opened(WORKLOADS[name], Opener(LazyDeleter())) as case:
        with pytest.raises(AssertionError):
            await timing.run_block(case)


async def test_latencies_are_of_every_cycle_and_of_every_call() -> None:
    """5 workers of 100 cycles of 3 calls."""
    async with opened(WORKLOADS["memory.cycle.5"], adapter("chuk", {})) as case:
        cycles, calls = await case.latencies()
    assert (len(cycles), len(calls)) == (500, 1_500)
    assert sum(cycles) == sum(calls)


def test_quantiles_are_exact_ranks() -> None:
    """No interpolation: a quantile is a value that was measured."""
    values = [float(number) for number in range(1_000, 0, -1)]
    assert timing.quantiles(values) == {"p50": 500, "p95": 950, "p99": 990, "p99.9": 999, "max": 1_000}
    assert timing.quantile([7.0], 0.95) == 7.0
    with pytest.raises(ValueError, match="no quantile"):
        timing.quantile([], 0.5)
    with pytest.raises(ValueError, match="no quantile"):
        timing.quantile([1.0], 0)


def test_one_bad_block_or_process_does_not_move_the_figure() -> None:
    """The median over processes of their median blocks."""
    assert timing.typical([[10, 10, 900], [11, 11, 11], [500, 500, 500]]) == 11
    assert timing.spread([[10, 10], [12, 12]]) == pytest.approx(0.2)


def test_the_clock_has_a_floor() -> None:
    """Two readings in a row differ by something, and by less than a microsecond or two."""
    assert 0 < timing.timer_floor() < 5_000


def test_sample_spreads_over_all_items() -> None:
    """Some of many, all of few."""
    assert sample(list(range(100)))[-1] == 95
    assert sample([1, 2]) == [1, 2]


def test_a_worker_reports_blocks_per_operation() -> None:
    """At least as many blocks as asked for, in nanoseconds per operation."""
    sizes: dict[str, Any] = {"least": 2, "most": 3, "seconds": 0.0}
    answer = blocks(library="plain_dict", workloads=["memory.get"], loop="asyncio", urls={}, placement="free", **sizes)
    assert len(answer["memory.get"]) == 2
    assert all(1 < block < 10_000 for block in answer["memory.get"])


@pytest.mark.parametrize("store", ["memory", "dict"])
def test_churn_reports_memory_stall_and_stale_entries(store: str) -> None:
    """A small one of either side."""
    found = churn(store=store, keys=2_000, operations=20_000)
    assert found["peak_kib"] >= found["after_load_kib"] > 0
    assert 0 < found["longest_stall_ms"] < 1_000
    assert 0 <= found["most_stale_per_live"] < 4


def test_footprint_is_more_than_key_and_value() -> None:
    """And not absurdly more."""
    found = of_items(1_000)
    assert found["payload_bytes"] < found["bytes_per_item"] < 1_000


def test_every_match_plays_registered_workloads() -> None:
    """Whoever is compared is compared on something of the registry."""
    played: Iterator[str] = (name for match in MATCHES for names in match.workloads.values() for name in names)
    assert set(played) <= set(WORKLOADS)


def test_placement_ends_with_its_block() -> None:
    """Afterwards the process may run where it might before."""
    before = os.sched_getaffinity(0) if possible("shared") == "shared" else None
    with placed("shared"):
        pass
    with placed("free"):
        pass
    assert before is None or os.sched_getaffinity(0) == before


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system does not let a process choose")
def test_a_single_core_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """No table may then say that the server has a core of its own."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3})
    assert (possible("apart"), possible("shared"), possible("free")) == ("shared", "shared", "free")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5})
    assert (possible("apart"), possible("shared"), possible("free")) == ("apart", "shared", "free")
