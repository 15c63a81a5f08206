"""Runs workloads of the registry as pytest-benchmark cases: ``pytest benchmarks/bench`` alone, or from ``__main__``."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest

from benchmarks.adapters import adapter
from benchmarks.measure import servers, timing
from benchmarks.measure.event_loops import loops_for
from benchmarks.measure.placement import PLACEMENTS, Placement, placed
from benchmarks.measure.scale import FULL, QUICK, Scale
from benchmarks.measure.timing import run_block
from benchmarks.worker import loop_factory
from benchmarks.workloads.bodies import Cycle
from benchmarks.workloads.case import Adapter, Case, Workload, opened
from benchmarks.workloads.registry import WORKLOADS

Measure = Callable[[str, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("chuk-sessions benchmarks")
    group.addoption("--bench-quick", action="store_true", help="few blocks: shows that all works, measures little")
    group.addoption("--bench-no-redis", action="store_true", help="memory only")
    group.addoption("--bench-placement", choices=PLACEMENTS, default="free", help="cores of Redis and its client")
    group.addoption("--bench-redis-url", metavar="URL", help="run the Redis cases there, not on servers of our own")


def cases(*names: str) -> pytest.MarkDecorator:
    """These workloads, each on every loop that matters for it."""
    params = [(name, loop) for name in names for loop in loops_for(WORKLOADS[name])]
    return pytest.mark.parametrize(("name", "loop"), params, ids=[f"{name}-{loop}" for name, loop in params])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what this run cannot do."""
    without = config.getoption("--bench-no-redis")
    given = config.getoption("--bench-redis-url")
    kept = []
    for item in items:
        workload = WORKLOADS[_params(item)["name"]]
        if not (without and not workload.in_memory) and not (given and workload.kind == "redis-aof"):
            kept.append(item)
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def _params(item: pytest.Item) -> dict[str, Any]:
    assert isinstance(item, pytest.Function)
    return item.callspec.params


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> None:
    """Progress: which case of which table."""
    session = item.session
    title = str(item.name).removeprefix("test_")
    done = session.items.index(item) + 1
    reporter = item.config.pluginmanager.get_plugin("terminalreporter")
    if reporter:
        reporter.write_line(f"  case {done:>2} of {len(session.items)}: {title}")


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """The progress line has said it: no dot for what passed."""
    return ("passed", "", "") if report.passed and report.when == "call" else None


@pytest.fixture(scope="session")
def urls(request: pytest.FixtureRequest) -> Iterator[Mapping[str, str]]:
    """The servers of this run; none are started for memory alone."""
    option = request.config.getoption
    kinds = () if option("--bench-no-redis") else tuple(servers.OPTIONS)
    with servers.running(option("--bench-placement"), kinds, option("--bench-redis-url")) as running:
        yield running.urls


@pytest.fixture
def measure(benchmark: Any, request: pytest.FixtureRequest, urls: Mapping[str, str]) -> Measure:
    """Measure a workload of ours on a loop; pytest-benchmark keeps the rounds, each of them one block."""
    scale = QUICK if request.config.getoption("--bench-quick") else FULL
    placement: Placement = request.config.getoption("--bench-placement")
    return partial(_measure, benchmark, scale, placement, urls)


def _measure(benchmark: Any, scale: Scale, placement: Placement, urls: Mapping[str, str], name: str, loop: str) -> None:
    workload = WORKLOADS[name]
    cores = placed("free" if workload.in_memory else placement)
    with cores, asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        stack = AsyncExitStack()
        try:
            _run(benchmark, scale, runner, stack, workload, adapter("chuk", urls))
        finally:
            runner.run(stack.aclose())
    benchmark.extra_info |= {"workload": name, "loop": loop, "operations": workload.operations}


def _run(
    benchmark: Any, scale: Scale, runner: asyncio.Runner, stack: AsyncExitStack, workload: Workload, library: Adapter
) -> None:
    """Rounds of the workload; before each, a block of the one beside it, so that both see the same machine."""
    case: Case = runner.run(stack.enter_async_context(opened(workload, library)))
    beside: list[float] = []
    if workload.beside:
        other: Case = runner.run(stack.enter_async_context(opened(WORKLOADS[workload.beside], library)))

    def setup() -> None:
        if workload.beside:
            beside.append(runner.run(run_block(other)) / other.workload.operations)

    rounds = scale.memory_rounds if workload.in_memory else scale.redis_rounds
    benchmark.pedantic(lambda: runner.run(run_block(case)), setup=setup, rounds=rounds, warmup_rounds=1, iterations=1)
    if beside:
        benchmark.extra_info["beside_ns"] = statistics.median(beside)
    if isinstance(workload.body, Cycle):
        benchmark.extra_info["latency_ns"] = runner.run(_latencies(case, scale.latency_runs))


async def _latencies(case: Case, runs: int) -> dict[str, dict[str, float]]:
    cycles: list[int] = []
    calls: list[int] = []
    for _ in range(runs):
        more_cycles, more_calls = await case.latencies()
        cycles += more_cycles
        calls += more_calls
    return {"cycle": timing.quantiles(cycles), "call": timing.quantiles(calls)}
