"""``SessionMetrics``: every operation is counted once, with its outcome; nothing else about a store changes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import MetadataError, SessionManager, StorageError, exceptions
from chuk_sessions.instrumentation import SessionMetrics
from chuk_sessions.instrumentation.metrics import KINDS, OPERATIONS, CountingStore, TimingStore, kind_of
from chuk_sessions.providers import memory, redis
from chuk_sessions.providers.memory.store import MemorySessionStore
from chuk_sessions.providers.redis.store import RedisSessionStore
from chuk_sessions.stores import StoreWrapper, stack
from chuk_sessions.testing import Clock, StoreContract
from tests.support import custom_provider
from tests.support.failing_provider import failing_factory

if TYPE_CHECKING:
    from chuk_sessions.stores import CompleteStore


class TestCounted(StoreContract):
    """A store that is counted keeps its promises."""

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def open_store(self, clock: Clock) -> Any:
        factory = memory.factory(memory.MemoryStore(clock=clock, wall_clock=clock))
        metrics = SessionMetrics()
        return lambda sandbox_id: metrics.wrap(factory.session_store(sandbox_id), sandbox_id)


def manager_with(metrics: SessionMetrics, factory: Any = None, **options: Any) -> SessionManager:
    return SessionManager("box", factory or memory.factory(memory.MemoryStore()), metrics=metrics, **options)


async def use_everything(manager: SessionManager) -> None:
    """Each operation once at least, each outcome where there are two."""
    session_id = await manager.allocate_session("mine", user_id="alice")
    await manager.allocate_session("mine", user_id="alice")
    for name in (session_id, "unknown"):
        await manager.validate_session(name)
        await manager.open_session(name)
        await manager.get_session_info(name)
        await manager.update_session_metadata(name, {"a": 1})
        await manager.increment_session_metadata(name, "n", 0)
        await manager.extend_session_ttl(name, 1)
    session_id = await manager.renew_session(session_id) or ""
    await manager.renew_session("unknown")
    await manager.list_user_sessions("alice")
    assert [info["session_id"] async for info in manager.iter_user_sessions("alice")] == [session_id]
    assert [info["session_id"] async for info in manager.iter_sessions()] == [session_id]
    assert await manager.count_sessions() == 1
    assert await manager.delete_sessions([session_id, "unknown"]) == [True, False]
    assert not await manager.delete_session("unknown")
    assert await manager.delete_user_sessions("alice") == 0


async def test_every_operation_and_outcome() -> None:
    """An increment to 0, an empty list and a count of 0 are no missing session."""
    metrics = SessionMetrics()
    assert metrics.stats() == {}
    await use_everything(manager_with(metrics))
    once = {"found": 1, "missing": 1, "error": 0}
    assert metrics.stats() == {
        "create": {"created": 1, "existing": 1, "error": 0},
        **dict.fromkeys(("read", "touch", "open", "update", "increment", "extend", "renew"), once),
        "delete": {"found": 1, "missing": 2, "error": 0},
        "list_user": {"found": 2, "missing": 0, "error": 0},
        **dict.fromkeys(("delete_user", "pages", "count"), once | {"missing": 0}),
    }
    assert set(metrics.stats()) == set(OPERATIONS)


async def test_several_managers_share_one() -> None:
    """Their numbers add up, unless each sandbox counts apart."""
    together, apart = SessionMetrics(), SessionMetrics(by_sandbox=True)
    for metrics in (together, apart):
        for name in ("one", "two"):
            manager = SessionManager(name, memory.factory(memory.MemoryStore()), metrics=metrics)
            await manager.allocate_session()
            manager.sandbox_id = "three"
            await manager.validate_session("unknown")
    assert together.stats() == apart.stats()
    assert [(sandbox, name) for sandbox, name, _ in together.tallies()] == [("", "create"), ("", "touch")]
    assert sorted((sandbox, name, tally.missing) for sandbox, name, tally in apart.tallies()) == [
        ("one", "create", 1),
        ("three", "touch", 2),
        ("two", "create", 1),
    ]


async def test_so_many_sandboxes_and_no_more() -> None:
    """The hundred and first counts as ``other``, and so do all after it."""
    metrics = SessionMetrics(by_sandbox=True)
    factory = memory.factory(memory.MemoryStore())
    for number in range(103):
        await SessionManager(f"box-{number}", factory, metrics=metrics).validate_session("unknown")
    tallies = {sandbox: tally.missing for sandbox, _, tally in metrics.tallies()}
    assert len(tallies) == 101
    assert (tallies["box-99"], tallies["other"]) == (1, 3)
    await SessionManager("box-5", factory, metrics=metrics).validate_session("unknown")
    assert {sandbox: tally.missing for sandbox, _, tally in metrics.tallies()}["box-5"] == 2


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (exceptions.NotSent("a"), "not_sent"),
        (exceptions.OutcomeUnknown("a"), "outcome_unknown"),
        (exceptions.LoadingError("a"), "loading"),
        (exceptions.NoPermissionError("a"), "no_permission"),
        (exceptions.OutOfMemoryError("a"), "out_of_memory"),
        (exceptions.ReadOnlyError("a"), "read_only"),
        (exceptions.WrongTypeError("a"), "wrong_type"),
        (exceptions.ServerError("MISCONF a"), "server"),
        (exceptions.ProviderError("a"), "other"),
        (MetadataError("a"), "other"),
        (ValueError("a"), "other"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_kinds_of_errors(error: Exception, kind: str) -> None:
    assert kind_of(error) == kind
    assert kind in KINDS


async def test_errors() -> None:
    """A failure of the storage counts whether the manager raises it or not; and so does an argument it refuses."""
    metrics = SessionMetrics()
    manager = manager_with(metrics, failing_factory(exceptions.NotSent("away")))
    assert not await manager.validate_session("id")
    with pytest.raises(StorageError):
        await manager.allocate_session()
    assert await manager.delete_sessions(["id"]) != [True]
    refusing = manager_with(metrics)
    with pytest.raises(MetadataError):
        await refusing.update_session_metadata("unknown", {"a": object()})
    assert {name: outcomes["error"] for name, outcomes in metrics.stats().items()} == {
        **dict.fromkeys(("touch", "create", "delete", "update"), 1)
    }
    errors = {name: {kind for kind, number in tally.errors.items() if number} for _, name, tally in metrics.tallies()}
    assert errors == {"touch": {"not_sent"}, "create": {"not_sent"}, "delete": {"not_sent"}, "update": {"other"}}


async def test_a_cancelled_operation_is_not_counted() -> None:
    """The caller has given up; what became of the operation is not known."""
    metrics = SessionMetrics()

    class Slow(StoreWrapper):
        async def touch(self, session_id: str, interval: float) -> bool:
            await asyncio.Event().wait()
            return True

    manager = manager_with(metrics, stack(memory.factory(memory.MemoryStore()), Slow))
    task = asyncio.create_task(manager.validate_session("id"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert metrics.stats() == {}


async def test_times_are_measured_where_there_is_something_to_measure() -> None:
    """In memory no clock is looked at, whatever wrapper is around the store."""
    for factory, expected in (
        (memory.factory(memory.MemoryStore()), CountingStore),
        (stack(memory.factory(memory.MemoryStore()), StoreWrapper), CountingStore),
        (custom_provider.factory(), TimingStore),
    ):
        metrics = SessionMetrics()
        manager = manager_with(metrics, factory)
        assert type(manager._store) is expected
        await manager.validate_session("unknown")
        await manager.delete_sessions(["unknown", "another"])
        counts = [sum(tally.times.counts) for _, _, tally in metrics.tallies() if tally.times is not None]
        assert counts == ([1, 2] if expected is TimingStore else [])


async def test_without_metrics_the_store_is_bare() -> None:
    """The object is chosen when the manager is made: an operation pays nothing for what is off."""
    manager = SessionManager("box", memory.factory(memory.MemoryStore()))
    assert type(manager._store) is MemorySessionStore
    manager.sandbox_id = "other"
    assert type(manager._store) is MemorySessionStore
    on_redis = SessionManager("box", redis.factory("redis://localhost"))
    assert type(on_redis._store) is RedisSessionStore
    assert "_delete" not in vars(on_redis._store)


async def test_figures_of_the_process_stay() -> None:
    """A sweep and the cache figures are those of the store within."""
    manager = manager_with(SessionMetrics(), memory.factory(memory.MemoryStore(max_items=7)))
    await manager.allocate_session()
    assert (manager.get_cache_stats()["cached_sessions"], manager.get_cache_stats()["max_cache_size"]) == (1, 7)
    assert await manager.cleanup_expired_sessions() == 0


def test_refused_arguments() -> None:
    with pytest.raises(TypeError, match="metrics must be a SessionMetrics, got dict"):
        manager_with({})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="by_sandbox must be a bool"):
        SessionMetrics(by_sandbox="yes")  # type: ignore[arg-type]


async def test_a_store_of_ones_own() -> None:
    """What it lacks is refused as without metrics; the sessions of a user are one page then."""
    store: CompleteStore = memory.factory(memory.MemoryStore()).session_store("box")
    counted = SessionMetrics().wrap(StoreWrapper(store), "box")
    await counted.create("id", "alice", 60, {})
    assert [len(page) async for page in counted.user_pages("alice", 10)] == [1]
