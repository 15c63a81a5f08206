"""Many sessions in memory: gone through without a copy of them all, and never long without a turn for others."""

from __future__ import annotations

import asyncio
import random
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.providers import memory
from chuk_sessions.providers.memory.session import StoredSession
from chuk_sessions.providers.memory.walk import PART, Walk

MANY = 3 * PART + 100


def stored(name: str) -> tuple[StoredSession, float, float]:
    return StoredSession(name, None, 0.0, 1.0, 0.0, "{}"), 1.0, 1.0


@pytest.mark.parametrize("seed", range(20))
def test_what_is_there_all_the_while_comes(seed: int) -> None:
    """Whatever is removed, added, made anew under its name, or given another name between two parts."""
    chance = random.Random(seed)
    items: dict[Any, Any] = {f"{n}": stored(f"{n}") for n in range(MANY)}
    staying = {entry[0] for name, entry in items.items() if int(name) % 4}
    going = [name for name in items if not int(name) % 4]
    chance.shuffle(going)
    walk, seen = Walk(items), list[StoredSession]()
    while part := walk.part():
        assert len(part) <= PART
        seen += part
        for _ in range(chance.choice((0, 1, 10, 100))):
            if going:
                name = going.pop()
                entry = items.pop(name)
                if chance.random() < 0.3:
                    items[name] = stored(name)
                elif chance.random() < 0.3:
                    items["new-" + name] = entry
    assert staying <= set(seen)
    assert len(seen) <= 3 * MANY


def test_all_parts_that_were_seen_are_removed() -> None:
    """Nothing is left to go by: what comes next is the beginning."""
    items: dict[Any, Any] = {f"{n}": stored(f"{n}") for n in range(MANY)}
    walk = Walk(items)
    for session in [*walk.part(), *walk.part()]:
        del items[session.session_id]
    left = [*items]
    assert [session.session_id for session in [*walk.part(), *walk.part()]] == left
    assert walk.part() == []


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
    "count": lambda manager, ids: manager.count_sessions(),
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
