"""How many sessions and values have expired, and how many were evicted, however they were removed."""

from __future__ import annotations

import gc

from chuk_sessions import SessionManager
from chuk_sessions.providers import memory
from chuk_sessions.providers.memory.expiring_map import ExpiringMap
from chuk_sessions.testing import Clock


def bounded(clock: Clock, most: int | None = None) -> memory.MemoryStore:
    return memory.MemoryStore(max_items=most, clock=clock, wall_clock=clock)


async def test_expired_values() -> None:
    """A sweep, a writer, and a call that finds a key expired count each key once."""
    clock = Clock()
    items = ExpiringMap(clock)
    for number in range(300):
        await items.setex(f"k{number}", 10, number)
    clock.move(20)
    assert sum(items.sweep()) == items.expired == 300
    await items.setex("a", 10, 1)
    clock.move(20)
    await items.setex("b", 10, 2)  # a writer reclaims
    assert items.expired == 301


async def test_evicted_values() -> None:
    """A key that makes room before its deadline was evicted; after it, it has expired."""
    clock = Clock()
    items = ExpiringMap(clock, max_items=2)
    for key, ttl in (("long", 100), ("short", 10), ("other", 50)):
        await items.setex(key, ttl, key)
    assert (items.expired, items.evicted, await items.get("short")) == (0, 1, None)
    clock.move(60)
    await items.setex("new", 100, 1)
    assert (items.expired, items.evicted) == (1, 1)
    assert sorted(map(str, items.items)) == ["long", "new"]


async def test_deleted_is_neither() -> None:
    clock = Clock()
    items = ExpiringMap(clock)
    await items.setex("a", 10, 1)
    await items.setex("a", 20, 2)
    await items.delete("a")
    clock.move(60)
    assert sum(items.sweep()) == items.expired == items.evicted == 0


async def test_stats_of_a_store() -> None:
    """Sessions of all sandboxes, and values; aliases are no sessions."""
    clock = Clock()
    factory = memory.factory(bounded(clock, 3))
    managers = [SessionManager(name, factory) for name in ("one", "two")]
    for manager in managers:
        session_id = await manager.allocate_session(user_id="alice", ttl_hours=1)
        await manager.renew_session(session_id, grace_seconds=600)
    async with factory() as values:
        await values.setex("key", 60, "value")
    assert factory.stats() == {"sessions": 2, "items": 1, "expired": 0, "evicted": 0}
    for _ in range(3):
        await managers[0].allocate_session(ttl_hours=2)
    assert factory.stats() == {"sessions": 4, "items": 1, "expired": 0, "evicted": 1}
    clock.move(3601)
    assert [await manager.cleanup_expired_sessions() for manager in managers] == [0, 1]
    assert factory.stats()["expired"] == 1


async def test_a_sandbox_that_was_forgotten_still_counts() -> None:
    """Counters never run backwards."""
    clock = Clock()
    store = bounded(clock)
    manager = SessionManager("box", memory.factory(store))
    await manager.allocate_session(ttl_hours=1)
    clock.move(3602)
    assert await manager.cleanup_expired_sessions() == 1
    assert store.stats()["expired"] == 1
    del manager
    gc.collect()
    assert list(store._sessions) == []
    assert store.stats() == {"sessions": 0, "items": 0, "expired": 1, "evicted": 0}


async def test_who_was_evicted() -> None:
    """The owner of a map learns which of its values ended, and how."""
    clock = Clock()
    items = ExpiringMap(clock, max_items=1)
    ended: list[tuple[object, bool]] = []
    items.on_end = lambda value, evicted: ended.append((value, evicted))
    await items.setex("a", 100, "first")
    await items.setex("b", 100, "second")
    clock.move(102)
    assert sum(items.sweep()) == 1
    assert ended == [("first", True), ("second", False)]
