"""Metrics for Prometheus: names, types, labels and buckets as documented; also where several processes serve."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.histogram import BOUNDS
from chuk_sessions.instrumentation import SessionMetrics
from chuk_sessions.instrumentation.families import FAMILIES, PREFIX, Source
from chuk_sessions.providers import memory, redis
from chuk_sessions.stores import StoreWrapper, stack
from chuk_sessions.testing import Clock
from tests.support.helpers import eventually
from tests.support.pages import page

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.servers import RedisServer

prometheus_client = pytest.importorskip("prometheus_client", reason="the extra prometheus is not installed")
from prometheus_client.parser import text_string_to_metric_families  # noqa: E402

from chuk_sessions.instrumentation import prometheus  # noqa: E402


def scraped(metrics: SessionMetrics, *factories: Any) -> dict[str, Any]:
    """What Prometheus gets, by the names of the families, read by the library's own parser."""
    registry = prometheus_client.CollectorRegistry()
    registry.register(prometheus.SessionCollector(metrics, *factories))
    text = prometheus_client.generate_latest(registry).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def samples(family: Any) -> dict[tuple[str, ...], float]:
    """By name and values of the labels in the order of their names."""
    return {
        (sample.name.removeprefix(PREFIX), *(value for _, value in sorted(sample.labels.items()))): sample.value
        for sample in family.samples
    }


async def test_names_types_and_labels() -> None:
    """All of the documented table, also before anything was counted; and no other."""
    collector = prometheus.SessionCollector(SessionMetrics())
    described = [(metric.name, metric.type, metric.samples) for metric in collector.describe()]
    assert described == [(PREFIX + family.name.removesuffix("_total"), family.kind, []) for family in FAMILIES]
    kinds = {"counter": "_total", "gauge": "", "histogram": "_seconds"}
    assert all(family.name.endswith(kinds[family.kind]) for family in FAMILIES)
    rows = page("docs/operate/observability.md").table("Names")
    assert [(name.removeprefix(PREFIX), kind, labels) for name, kind, labels, _ in rows] == [
        (family.name, family.kind, ", ".join(family.labels)) for family in FAMILIES
    ]


async def test_a_registry_refuses_a_second_collector() -> None:
    """By ``describe``: names that come twice are found without asking for values."""
    registry = prometheus_client.CollectorRegistry()
    registry.register(prometheus.SessionCollector(SessionMetrics()))
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        registry.register(prometheus.SessionCollector(SessionMetrics()))


async def test_sessions_in_memory() -> None:
    """Operations by outcome; sessions, values, and what has expired or was evicted; no durations."""
    clock = Clock()
    factory = memory.factory(memory.MemoryStore(clock=clock, wall_clock=clock, max_items=2))
    metrics = SessionMetrics()
    manager = SessionManager("box", factory, metrics=metrics)
    for _ in range(3):
        await manager.validate_session(await manager.allocate_session(ttl_hours=1))
    clock.move(3602)
    await manager.cleanup_expired_sessions()
    await manager.allocate_session()
    async with factory() as values:
        await values.setex("key", 60, "value")
    found = scraped(metrics, factory, stack(factory, StoreWrapper))
    operations = samples(found["chuk_sessions_operations"])
    assert operations["operations_total", "create", "created"] == 4
    assert operations["operations_total", "touch", "found"] == 3
    assert samples(found["chuk_sessions_memory_sessions"]) == {("memory_sessions",): 1}
    assert samples(found["chuk_sessions_memory_items"]) == {("memory_items",): 1}
    assert samples(found["chuk_sessions_memory_expired"]) == {("memory_expired_total",): 2}
    assert samples(found["chuk_sessions_memory_evicted"]) == {("memory_evicted_total",): 1}
    assert found["chuk_sessions_operation_duration_seconds"].samples == []


async def test_by_sandbox() -> None:
    metrics = SessionMetrics(by_sandbox=True)
    await SessionManager("box", memory.factory(memory.MemoryStore()), metrics=metrics).validate_session("unknown")
    (first, *_) = scraped(metrics)["chuk_sessions_operations"].samples
    assert first.labels == {"operation": "touch", "outcome": "found", "sandbox": "box"}
    assert ("operation_errors_total", "other", "touch", "box") in samples(
        scraped(metrics)["chuk_sessions_operation_errors"]
    )


@pytest.mark.redis
async def test_sessions_on_redis(own_server: RedisServer) -> None:
    """Durations by operation, numbers by server; an error by its kind, and a server that is not up."""
    factory = redis.factory(own_server.url + "?reconnect_grace=0", timings=True)
    metrics = SessionMetrics()
    manager = SessionManager("box", factory, metrics=metrics)
    await manager.validate_session(await manager.allocate_session())
    found = scraped(metrics, factory, redis.factory(own_server.url + "?reconnect_grace=0", timings=True))
    server = f"{own_server.host}:{own_server.port}"
    durations = samples(found["chuk_sessions_operation_duration_seconds"])
    assert durations["operation_duration_seconds_count", "touch"] == 1
    assert durations["operation_duration_seconds_bucket", "+Inf", "create"] == 1
    bounds = [name[1] for name in durations if name[0].endswith("bucket") and name[2] == "create"]
    assert bounds == [*map(str, BOUNDS), "+Inf"]
    trips = samples(found["chuk_sessions_redis_round_trip_seconds"])
    writes = samples(found["chuk_sessions_redis_writes"])["redis_writes_total", server]
    assert trips["redis_round_trip_seconds_count", server] == writes >= 2
    assert samples(found["chuk_sessions_redis_up"]) == {("redis_up", server): 1}
    assert samples(found["chuk_sessions_redis_in_flight_commands"]) == {("redis_in_flight_commands", server): 0}
    own_server.kill()
    await eventually(lambda: not factory.server_stats()[server].is_up)
    assert not await manager.validate_session("unknown")
    found = scraped(metrics, factory)
    errors = samples(found["chuk_sessions_operation_errors"])
    assert errors["operation_errors_total", "not_sent", "touch"] == 1
    assert samples(found["chuk_sessions_redis_up"]) == {("redis_up", server): 0}


@pytest.mark.redis
async def test_a_near_cache(redis_url: str) -> None:
    """Its hits and misses, and durations as of any session on Redis; without one there are no samples."""
    factory, metrics = redis.factory(redis_url), SessionMetrics()
    assert scraped(metrics, factory)["chuk_sessions_near_state"].samples == []
    manager = SessionManager("box", factory, metrics=metrics, near_cache=5, touch_interval=60)
    session_id = await manager.allocate_session()
    for _ in range(3):
        await manager.get_session_info(session_id)
    await eventually(lambda: factory.stats()["near_state"] == 2)
    found = scraped(metrics, factory)
    counted = {name: factory.stats()[f"near_{name}"] for name in ("hits", "misses", "fences")}
    shown = {name: samples(found[f"chuk_sessions_near_{name}"])[f"near_{name}_total",] for name in counted}
    assert shown == counted
    assert samples(found["chuk_sessions_near_state"]) == {("near_state",): 2}
    durations = samples(found["chuk_sessions_operation_duration_seconds"])
    assert durations["operation_duration_seconds_count", "read"] == 3


@pytest.mark.redis
def test_a_server_that_is_gone(redis_server: RedisServer, redis_url: str) -> None:
    """What it counted stays; it is neither up nor down, which would be an alert for ever."""
    factory = redis.factory(redis_url)
    with asyncio.Runner() as runner:
        runner.run(SessionManager("box", factory, strict=True).validate_session("unknown"))
    found = scraped(SessionMetrics(), factory)
    server = f"{redis_server.host}:{redis_server.port}"
    assert samples(found["chuk_sessions_redis_commands"])["redis_commands_total", server] >= 1
    assert found["chuk_sessions_redis_up"].samples == found["chuk_sessions_redis_waiting_commands"].samples == []


@pytest.mark.redis
async def test_copies_of_a_server_that_is_gone(redis_url: str) -> None:
    """Files of several processes cannot forget a value: it becomes one that says nothing."""
    factory = redis.factory(redis_url)
    await SessionManager("box", factory, strict=True).validate_session("unknown")
    source = Source(SessionMetrics(), [factory])
    copies = prometheus._Copies(source)
    up, waiting = (next(each for each in FAMILIES if each.figure == figure) for figure in ("is_up", "waiting"))
    rows = source.rows(up)
    assert (copies._gone(up, rows), copies._gone(waiting, source.rows(waiting))) == ([], [])
    assert copies._gone(up, []) == rows
    assert [value for _, value in copies._gone(waiting, [])] == [0]


async def test_a_copy_that_fails(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged once, and the copies go on."""
    copies = prometheus._Copies(Source(SessionMetrics(), []))
    with monkeypatch.context() as patched:
        patched.setattr(copies, "renew", _no_space)
        for _ in range(3):
            copies.try_to_renew()
    assert [record.name for record in caplog.records] == ["chuk_sessions.instrumentation.prometheus"]
    copies.try_to_renew()
    monkeypatch.setattr(copies, "renew", _no_space)
    copies.try_to_renew()
    assert len(caplog.records) == 2


def _no_space() -> None:
    raise OSError("no space left on device")


def test_what_is_refused() -> None:
    """A factory without numbers, metrics of another library, and a variable that makes a collector useless."""
    with pytest.raises(TypeError, match="a dict has no numbers to show"):
        prometheus.SessionCollector(SessionMetrics(), {})
    with pytest.raises(TypeError, match="metrics must be a SessionMetrics, got int"):
        prometheus.SessionCollector(1)  # type: ignore[arg-type]


def test_a_collector_is_refused_in_one_of_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the way out."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "/nowhere")
    with pytest.raises(RuntimeError, match=r"PROMETHEUS_MULTIPROC_DIR is set.*mirror\(.*interval=5"):
        prometheus.SessionCollector(SessionMetrics())


async def test_a_mirror_is_refused_where_it_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    with pytest.raises(RuntimeError, match="register a SessionCollector"):
        async with prometheus.mirror(SessionMetrics()):
            pass


WORKER = """
import asyncio, sys
from chuk_sessions import SessionManager
from chuk_sessions.instrumentation import SessionMetrics
from chuk_sessions.instrumentation.prometheus import mirror
from chuk_sessions.providers import memory
from tests.support import custom_provider

async def main():
    metrics, factory = SessionMetrics(), memory.factory()
    manager = SessionManager("box", factory, metrics=metrics)
    other = SessionManager("box", custom_provider.factory(), metrics=metrics)
    async with mirror(metrics, factory, interval=0.01):
        for _ in range(3):
            await manager.allocate_session()
            await other.validate_session("unknown")
            await asyncio.sleep(0.02)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""
READER = """
from prometheus_client import CollectorRegistry, generate_latest, multiprocess
registry = CollectorRegistry()
multiprocess.MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    return tmp_path


async def test_a_mirror_that_is_cancelled_at_its_end(folder: Path) -> None:
    """Whoever cancels the task gets what was asked for, also while the mirror ends."""
    inside, leave = asyncio.Event(), asyncio.Event()

    async def serve() -> None:
        async with prometheus.mirror(SessionMetrics()):
            inside.set()
            await leave.wait()

    serving = asyncio.create_task(serve())
    await inside.wait()
    leave.set()
    await asyncio.sleep(0)  # now it waits for its last step
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving


def test_two_processes_add_up(folder: Path) -> None:
    """Counters and buckets of both, each number once however often it was copied; gauges of those that live."""
    run = [sys.executable, "-c", WORKER]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(run, **pipes) as one, subprocess.Popen(run, **pipes) as two:
        for worker in (one, two):
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        text = subprocess.run([sys.executable, "-c", READER], capture_output=True, text=True, check=True).stdout
        for worker in (one, two):
            worker.communicate("")
            assert worker.returncode == 0
    lines = text.splitlines()
    assert 'chuk_sessions_operations_total{operation="create",outcome="created"} 6.0' in lines
    assert 'chuk_sessions_operation_duration_seconds_count{operation="touch"} 6.0' in lines
    assert 'chuk_sessions_operation_duration_seconds_bucket{le="+Inf",operation="touch"} 6.0' in lines
    assert "chuk_sessions_memory_sessions 6.0" in lines
