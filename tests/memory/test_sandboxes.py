"""A sandbox takes memory while it has sessions, or somebody has it open; and not for ever."""

from __future__ import annotations

import asyncio
import gc
import threading
import tracemalloc
import weakref

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.providers import memory
from tests.support.helpers import eventually

MANY = 500


def manager_of(store: memory.MemoryStore, sandbox_id: str = "box") -> SessionManager:
    return SessionManager(sandbox_id, memory.factory(store))


async def test_it_goes_with_the_last_session() -> None:
    """Whoever had it open has gone by then, or goes later."""
    store = memory.MemoryStore()
    session_id = await manager_of(store).allocate_session(user_id="alice")
    assert list(store._sessions) == ["box"]
    assert await manager_of(store).delete_session(session_id)
    gc.collect()
    assert (store._sessions, store._opened) == ({}, {})


async def test_it_stays_while_it_is_open() -> None:
    """Two managers see the same sessions, whatever has come and gone before."""
    store = memory.MemoryStore()
    manager, other = manager_of(store), manager_of(store)
    await manager.delete_session(await manager.allocate_session())
    del manager
    gc.collect()
    session_id = await other.allocate_session()
    del other
    gc.collect()
    assert await manager_of(store).validate_session(session_id)


async def test_it_stays_while_it_has_a_session() -> None:
    """Though nobody has it open."""
    store = memory.MemoryStore()
    session_id = await manager_of(store).allocate_session()
    for _ in range(3):
        gc.collect()
        assert await manager_of(store).validate_session(session_id)


async def test_expired_sessions_and_aliases() -> None:
    """It goes when the sweep has removed the last of them."""
    store = memory.MemoryStore()
    manager = manager_of(store)
    for _ in range(3):
        await manager.renew_session(await manager.allocate_session(ttl_hours=0.1 / 3600), grace_seconds=0.2)
    del manager
    gc.collect()
    assert list(store._sessions) == ["box"]
    await eventually(lambda: store._sessions == {}, patience=10)


async def test_an_alias_keeps_it() -> None:
    """Its id must not be free before its time."""
    store = memory.MemoryStore()
    manager = manager_of(store)
    new_id = await manager.renew_session(await manager.allocate_session("old"), grace_seconds=60)
    assert new_id is not None
    assert await manager.delete_session(new_id)
    del manager
    gc.collect()
    assert list(store._sessions) == ["box"]


async def test_a_manager_that_is_given_another_sandbox() -> None:
    """Gives up the one that it had."""
    store = memory.MemoryStore()
    manager = manager_of(store)
    manager.sandbox_id = "other"
    gc.collect()
    assert list(store._sessions) == ["other"]


@pytest.mark.slow
async def test_nothing_stays_of_many() -> None:
    """But for a few bytes each that Python keeps."""
    store = memory.MemoryStore()

    async def use(name: str) -> None:
        manager = manager_of(store, name)
        await manager.delete_session(await manager.allocate_session())

    await use("warm")
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(MANY):
            await use(f"box-{number}")
        gc.collect()
        assert store._sessions == {}
        assert tracemalloc.get_traced_memory()[0] - before < 500 * MANY  # before: some 4,000 each
    finally:
        tracemalloc.stop()


async def test_a_store_is_not_held_by_its_sandboxes() -> None:
    """Nor by their finalizers and timers: it goes at once, and they find nobody."""
    store = memory.MemoryStore()
    manager = manager_of(store)
    await manager.allocate_session()
    there = weakref.ref(store)
    del store, manager
    gc.collect()
    assert there() is None


def test_threads_that_open_and_give_up(frequent_switches: None) -> None:
    """No session is lost, as none is stored in a sandbox that was forgotten."""
    store = memory.MemoryStore()
    lost: list[str] = []

    async def work() -> None:
        for _ in range(300):
            session_id = await manager_of(store).allocate_session()
            if not await manager_of(store).delete_session(session_id):
                lost.append(session_id)

    threads = [threading.Thread(target=lambda: asyncio.run(work())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lost == []
    gc.collect()
    assert store._sessions == {}
