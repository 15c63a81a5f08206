"""Many sessions in memory: gone through without a copy of them all, and never long without a turn for others."""

from __future__ import annotations

import asyncio
import random
import tracemalloc
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.providers import memory
from chuk_sessions.providers.memory import store as store_module
from chuk_sessions.providers.memory.session import StoredSession
from chuk_sessions.providers.memory.session_map import SessionMap
from chuk_sessions.providers.memory.walk import PART, Walk
from tests.support.helpers import Clock

MANY = 3 * PART + 100


def stored(items: SessionMap, name: str, lifetime: float) -> StoredSession:
    session = StoredSession.of(name, None, 0.0, 1.0, "{}")
    assert items.add(name, lifetime, session) is None
    return session


def filled(number: int, lifetime: Callable[[], float]) -> SessionMap:
    items = SessionMap(Clock(0.0))
    for n in range(number):
        stored(items, f"{n}", lifetime())
    return items


def remove(items: SessionMap, name: str) -> None:
    with pytest.raises(StopIteration):
        items.delete(name).send(None)


@pytest.mark.parametrize("spread", [0.5, 300, 100_000])
@pytest.mark.parametrize("seed", range(10))
def test_what_is_there_all_the_while_comes(seed: int, spread: float) -> None:
    """Whatever is removed, added, postponed, filed anew or made anew under its name between two parts."""
    chance = random.Random(seed)
    items = filled(MANY, lambda: 1 + chance.random() * spread)
    staying = {session for name, session in items.items.items() if int(str(name)) % 4}
    for name, session in list(items.items.items()):
        if int(str(name)) % 4:
            session.bound = 1e6  # they are filed anew when their buckets come up
    going = [str(name) for name in items.items if not int(str(name)) % 4]
    chance.shuffle(going)
    walk, seen = Walk(items), list[StoredSession]()
    while (part := walk.part()) is not None:
        assert len(part) <= PART
        seen += part
        for _ in range(chance.choice((0, 1, 10, 100))):
            if going:
                name = going.pop()
                remove(items, name)
                if chance.random() < 0.3:
                    stored(items, name, chance.random() * spread + 1)
                elif chance.random() < 0.3:
                    stored(items, "new-" + name, chance.random() * spread + 1)
        assert isinstance(items.clock, Clock)
        items.clock.move(chance.choice((0, 0.1, 0.01)) * spread)
        items.reclaim(chance.choice((0, 10, 500)), items.clock.now)
    assert staying <= set(seen)
    assert len(seen) <= 3 * MANY


def test_a_map_that_does_not_change_is_gone_through_once() -> None:
    """Stale filings do not come, and an empty map has no part."""
    items = filled(MANY, lambda: 5000)
    for n in range(0, MANY, 2):
        remove(items, f"{n}")
    walk, seen = Walk(items), list[str]()
    while (part := walk.part()) is not None:
        seen += [session.session_id for session in part]
    assert sorted(seen) == sorted(map(str, items.items))
    assert Walk(SessionMap()).part() is None


async def test_sessions_that_are_filed_anew_are_counted_once() -> None:
    """As they are when their bucket comes up: here all of them, in the middle of the count."""
    clock = Clock(1000.0)
    store = memory.MemoryStore(clock=clock)
    sessions, items = memory.factory(store).session_store("box"), store.sessions("box")[0]
    for n in range(MANY):
        await sessions.create(f"{n}", None, 5402 + n % 60, {})
    await sessions.create("expired", None, 5400.5, {})
    clock.now = 6401.2  # a bucket of 64 seconds begins at 6400

    async def sweep() -> None:
        while items.due <= clock.now:
            items.reclaim(100, clock.now)
            await asyncio.sleep(0)

    counted, _ = await asyncio.gather(sessions.count(), sweep())
    assert counted == await sessions.count() == MANY


def test_a_part_looks_at_no_more_than_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many sessions there are, and however many filings are stale."""
    looked = 0

    def sessions(self: Walk, filings: list[object]) -> list[StoredSession]:
        nonlocal looked
        looked += len(filings) // 2
        return original(self, filings)

    original = Walk._sessions
    monkeypatch.setattr(Walk, "_sessions", sessions)
    items = filled(20 * PART, lambda: 5000)
    for n in range(8 * PART):
        remove(items, f"{n}")
    walk, parts = Walk(items), 0
    while walk.part() is not None:
        parts += 1
        assert looked <= PART
        looked = 0
    assert parts >= 12


def test_deadlines_far_apart_are_not_looked_for_among_all_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """8,000 sessions that end within two years took 4 seconds, and held the loop for 120 ms at a time."""
    looks = 0

    def seconds(self: SessionMap) -> list[int]:
        nonlocal looks
        looks += 1
        return original(self)

    original = SessionMap.seconds
    monkeypatch.setattr(SessionMap, "seconds", seconds)
    lifetimes = iter(range(3600, 10**9, 3600))
    items = filled(MANY, lambda: next(lifetimes))
    walk, seen, parts = Walk(items), set[str](), 0
    while (part := walk.part()) is not None:
        seen.update(session.session_id for session in part)
        parts += 1
        if parts <= 3:
            stored(items, f"new-{parts}", 5_000_000 + 5000 * parts)  # opens another bucket
    assert {str(n) for n in range(MANY)} <= seen
    assert {"new-1", "new-2", "new-3"} <= seen
    assert looks <= 4


async def test_sessions_that_end_are_freed_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not all of them when the last one has ended: for 100,000, that held the loop for 8 ms."""
    freed = 0

    class Session(StoredSession):
        __slots__ = ()

        def __del__(self) -> None:
            nonlocal freed
            freed += 1

    monkeypatch.setattr(store_module, "StoredSession", Session)
    store = memory.factory(store=memory.MemoryStore()).session_store("box")
    for n in range(2_000):
        await store.create(f"{n}", "alice", 60, {})
    steps = [0]

    async def other() -> None:
        while freed < 2_000:
            steps.append(freed)
            await asyncio.sleep(0)
        steps.append(freed)

    task = asyncio.create_task(other())
    assert await store.delete_user("alice", frozenset()) == 2_000
    await task
    assert max(after - before for before, after in pairwise(steps)) <= 500


async def many(number: int) -> tuple[SessionManager, list[str]]:
    manager = SessionManager("box", memory.factory())
    await manager.delete_user_sessions("alice")
    made = await manager.allocate_sessions([{"user_id": "alice", "custom_metadata": {"n": n}} for n in range(number)])
    return manager, [str(each) for each in made]


async def test_going_through_all_copies_nothing_large() -> None:
    """A batch of one of 20,000 sessions, by the memory that this takes."""
    manager = SessionManager("box", memory.factory(store=memory.MemoryStore()))
    await manager.allocate_sessions([{"user_id": "alice"}] * 20_000)
    tracemalloc.start()
    try:
        seen = 0
        async for _ in manager._store.pages(1):  # what the manager makes of them has caches
            seen += 1
            if seen == 5000:
                break
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 150_000  # eight bytes for each of them would be as much


Call = Callable[[SessionManager, list[str]], Awaitable[object]]
CALLS: dict[str, Call] = {
    "allocate": lambda manager, ids: manager.allocate_sessions([{"user_id": "bob"}] * len(ids)),
    "validate": lambda manager, ids: manager.validate_sessions(ids),
    "delete": lambda manager, ids: manager.delete_sessions(ids),
    "list": lambda manager, ids: manager.list_user_sessions("alice"),
    "end all": lambda manager, ids: manager.delete_user_sessions("alice"),
}


@pytest.mark.parametrize("name", CALLS)
async def test_others_have_a_turn_while_many_sessions_are_gone_through(name: str) -> None:
    """At least one for some hundred sessions; a call that held the loop would give three or four in all."""
    manager, ids = await many(5_000)
    turns, over = 0, False

    async def other() -> None:
        nonlocal turns
        while not over:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await CALLS[name](manager, ids)
    over = True
    await task
    assert turns >= len(ids) // PART
    await manager.delete_user_sessions("alice")
    await manager.delete_user_sessions("bob")


async def test_sessions_that_come_out_of_order_are_listed_oldest_first() -> None:
    """Those of nobody are listed for a user when they are given to him, whenever they were created."""
    manager = SessionManager("box", memory.factory(store=memory.MemoryStore()))
    ids = [await manager.allocate_session(user_id="alice" if n % 3 else None) for n in range(1000)]
    for number in range(0, 1000, 3):
        ids[number] = await manager.renew_session(ids[number], user_id="alice") or ""
    created = [info["created_at"] for info in await manager.list_user_sessions("alice")]
    assert len(created) == 1000
    assert created == sorted(created)
