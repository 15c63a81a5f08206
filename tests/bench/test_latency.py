"""Latency passes: every operation is timed, and the open loop counts what a stall makes others wait."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from benchmarks.adapters import adapter
from benchmarks.latency import loops
from benchmarks.latency.__main__ import MEMORY, REDIS, main
from benchmarks.latency.loops import Idle, capacity, closed, intended_starts
from benchmarks.latency.loops import opened as open_loop
from benchmarks.latency.page import MODES, rank, table
from benchmarks.latency.run import latency
from benchmarks.measure.timing import QUANTILES
from benchmarks.workloads.bodies import Body
from benchmarks.workloads.case import Case, Kind, Workload, opened
from benchmarks.workloads.registry import WORKLOADS
from tests.bench.samples import Opener
from tests.support.servers import Server

STALL = 20_000_000


class Ticking:
    """In the place of the clock: a reading takes 100 ns, and nothing else takes any time unless it says so."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        self.now += 100
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Ticking:
    """The clock of the loops."""
    ticking = Ticking()
    monkeypatch.setattr(loops, "perf_counter_ns", ticking)
    return ticking


class Stalling(Body):
    """Its first operation takes 20 ms, as a garbage collection might; the others take no time."""

    def __init__(self, clock: Ticking) -> None:
        self.clock = clock
        self.stalled = False

    async def work(self, store: Any, items: list[str]) -> None:
        if not self.stalled:
            self.stalled = True
            self.clock.now += STALL


async def stalled_case(clock: Ticking, kind: Kind) -> Case:
    case = Case(Workload("stalling", "a stall", Stalling(clock), kind=kind, items=10), None)
    await case.prepare()
    return case


async def test_every_operation_of_every_caller_is_timed() -> None:
    """Callers times items, as often as fits."""
    async with opened(Workload("idle", "nothing", Idle(), callers=3, items=5), Opener(None)) as case:
        assert len(await closed(case, 45)) == 45
        assert len(await closed(case, 1)) == 15
        assert min(await closed(case, 45)) > 0


@pytest.mark.parametrize("kind", ["memory", "redis"])
async def test_the_open_loop_counts_what_a_stall_makes_others_wait(clock: Ticking, kind: Kind) -> None:
    """Ten operations are meant to begin within the stall: all are late. The closed loop sees one slow operation."""
    starts = [number * 1_000_000 for number in range(10)]
    late = await open_loop(await stalled_case(clock, kind), starts)
    assert [round(ns / 1e6) for ns in sorted(late, reverse=True)] == list(range(20, 10, -1))
    alone = await closed(await stalled_case(clock, kind), 10)
    assert [round(ns / 1e6) for ns in alone] == [20] + [0] * 9


def test_intended_starts_are_random_with_the_given_rate() -> None:
    """The same for the same seed, never running back."""
    starts = intended_starts(10_000, 1_000_000, 1)
    assert starts == sorted(starts)
    assert starts == intended_starts(10_000, 1_000_000, 1) != intended_starts(10_000, 1_000_000, 2)
    assert starts[-1] == pytest.approx(10_000 * 1_000, rel=0.1)
    assert len({later - earlier for earlier, later in pairwise(starts)}) > 1_000


@pytest.mark.parametrize("name", MEMORY)
def test_a_run_has_all_quantiles_of_all_loops(name: str) -> None:
    """In order, and with a capacity to take shares of."""
    found = latency(workload=name, loop="asyncio", urls={}, placement="free", operations=500, seed=1)
    assert found.pop("capacity") > 0
    assert set(found) == {"floor", *MODES}
    for quantiles in found.values():
        values = [quantiles[name] for name in QUANTILES]
        assert 0 < values[0] <= values[-1]
        assert values == sorted(values)


@pytest.mark.parametrize("name", REDIS)
def test_a_run_on_redis_has_them_too(name: str, redis_server: Server) -> None:
    """Its operations overlap: each is a task."""
    urls = {"redis": redis_server.url}
    found = latency(workload=name, loop="asyncio", urls=urls, placement="free", operations=500, seed=1)
    assert found["capacity"] > 0
    assert all(found[mode]["max"] >= found[mode]["p50"] > 0 for mode in MODES)


async def test_capacity_counts_what_was_run(clock: Ticking) -> None:
    """Three callers cannot share a hundred operations; ninety-nine are run and counted, in a little over 20 ms."""
    body = Stalling(clock)
    async with opened(Workload("stalling", "a stall", body, kind="redis", callers=3, items=5), Opener(None)) as case:
        assert await capacity(case, 100) == pytest.approx(99 / 0.02, rel=0.01)


async def test_latency_leaves_the_store_as_a_block_does() -> None:
    """The workload's own check still holds."""
    async with opened(WORKLOADS["manager.memory.update"], adapter("chuk", {})) as case:
        await closed(case, 1_000)
        await case.check()


@pytest.mark.slow
def test_a_quick_run_writes_json_and_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every row has its figures."""
    assert main(["--quick", "--no-redis", "--out", str(tmp_path)]) == 0
    assert "launch 1 of 1, workload 1 of 4: memory.get on asyncio" in capsys.readouterr().out
    found = json.loads((tmp_path / "latency.json").read_text())
    assert [run["workload"] for run in found["runs"]] == list(MEMORY)
    text = (tmp_path / "LATENCY.md").read_text()
    assert text.startswith("# Latency\n")
    assert text.count("open 80%") == len(MEMORY)


def test_the_longest_wait_is_the_worst_of_all_processes() -> None:
    """A median of maxima is no maximum; the other quantiles are medians over processes."""
    run = {"processes": [{"closed": {"p99": p99, "max": most}} for p99, most in ((1.0, 9.0), (2.0, 70.0), (3.0, 8.0))]}
    assert rank(run, "closed", "p99") == 2.0
    assert rank(run, "closed", "max") == 70.0


def test_the_page_says_on_which_cores_it_was_measured() -> None:
    """Of older results, which do not say it, the server had a core of its own."""
    results = {"runs": [], "servers": {"redis": {}}}
    assert "a processor core each" in str(table(results))
    assert "share one processor core" in str(table(results | {"placement": "shared"}))
    assert "core" not in table({"runs": [], "servers": {}}).caption
