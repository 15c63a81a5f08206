"""What the memory store does beside the contract of stores: its bound, and a wall clock that is set."""

from __future__ import annotations

import pytest

from chuk_sessions.providers import memory
from chuk_sessions.providers.memory.store import MemorySessionStore
from tests.support.helpers import Clock


async def test_max_items_bounds_each_sandbox() -> None:
    """A full sandbox gives up what would expire first, never the session just made, nor one of another sandbox."""
    clock = Clock()
    factory = memory.factory(memory.MemoryStore(max_items=2, clock=clock, wall_clock=clock))
    mine, theirs = factory.session_store("mine"), factory.session_store("theirs")
    await theirs.create("id", None, 1, {})
    for name, lifetime in (("long", 500), ("short", 100), ("shortest", 50)):
        await mine.create(name, None, lifetime, {})
    assert [await mine.touch(name, 0) for name in ("long", "short", "shortest")] == [True, False, True]
    assert await theirs.touch("id", 0) is True


@pytest.mark.parametrize("jump", [-86_400, 86_400], ids=["back", "ahead"])
async def test_a_wall_clock_that_is_set_changes_no_idle_time(jump: float) -> None:
    """Expiry has a clock of its own: in use the session lives, and unused it ends."""
    clock, wall = 1_000.0, 1_700_000_000.0
    values = memory.MemoryStore(clock=lambda: clock, wall_clock=lambda: wall)
    store = MemorySessionStore(values, "box")
    await store.create("id", "alice", 3600, {}, idle=60)
    wall += jump
    for _ in range(10):
        clock, wall = clock + 30, wall + 30
        assert await store.touch("id", 10)
    clock += 59
    assert await store.touch("id", 10)
    clock += 61
    assert not await store.touch("id", 10)
    await store.create("id", "alice", 600, {}, idle=60)
    for _ in range(19):
        clock += 30
        assert await store.touch("id", 10)
    clock += 31
    assert not await store.touch("id", 10)
