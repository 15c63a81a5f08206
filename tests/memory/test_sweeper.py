"""The event loop's timer removes what has expired, also when nobody uses the store."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.providers import memory
from tests.memory.test_expiring_map import run
from tests.support.helpers import Clock, eventually

if TYPE_CHECKING:
    from chuk_sessions.providers.memory.expiring_map import ExpiringMap


class Timers:
    """Stands for a loop's `call_later`: keeps the calls, and fires what is due when time is moved."""

    def __init__(self, clock: Clock, loop: asyncio.AbstractEventLoop) -> None:
        self.clock = clock
        self.loop = loop
        self.naps: list[float] = []
        self.pending: list[tuple[float, Any, tuple[Any, ...], asyncio.TimerHandle]] = []
        self.loop.call_later = self.call_later  # type: ignore[method-assign, assignment]

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(self.loop.time() + delay, callback, args, self.loop)
        self.naps.append(delay)
        self.pending.append((self.clock.now + delay, callback, args, handle))
        return handle

    def move(self, seconds: float) -> None:
        self.clock.move(seconds)
        due = [timer for timer in self.pending if timer[0] <= self.clock.now]
        self.pending = [timer for timer in self.pending if timer[0] > self.clock.now]
        for _, callback, args, handle in due:
            if not handle.cancelled():
                callback(*args)


async def fill(items: ExpiringMap, count: int, ttl: float, prefix: str = "key") -> None:
    for number in range(count):
        await items.setex(f"{prefix}-{number}", ttl, "value")


async def test_idle_store_empties_itself() -> None:
    """Nobody reads or writes: what expired is gone within about a second, what lives stays."""
    store = memory.MemoryStore()
    await fill(store.values, 2000, 0.05)
    await fill(store.values, 10, 60, "long")
    await eventually(lambda: len(store.values) == 10, patience=5)


async def test_idle_sessions_go_too() -> None:
    store = memory.MemoryStore()
    manager = SessionManager("box", memory.factory(store))
    for _ in range(100):
        await manager.allocate_session(ttl_hours=0.05 / 3600)
    kept = await manager.allocate_session()
    await eventually(lambda: len(store.sessions("box")[0]) == 1, patience=5)
    assert await manager.validate_session(kept) is True


async def test_slices_with_pauses_between() -> None:
    """A long sweep is cut into slices, and others run between two of them."""
    clock = Clock(0.0)
    store = memory.MemoryStore(clock=clock)
    timers = Timers(clock, asyncio.get_running_loop())
    await fill(store.values, 1000, 0.5)
    left = []
    timers.move(1.0)
    while timers.pending:
        left.append(len(store.values))
        timers.move(timers.naps[-1])
    assert left == [1000 - 256, 1000 - 512, 1000 - 768]
    assert len(store.values) == 0
    assert min(timers.naps) >= 0.001


async def test_a_timer_for_the_first_deadline() -> None:
    """Writing arms a timer only for a sooner deadline than the one it waits for; the older one then does nothing."""
    clock = Clock(0.0)
    store = memory.MemoryStore(clock=clock)
    timers = Timers(clock, asyncio.get_running_loop())
    for ttl in (100.5, 100.6, 200.0, 300.0, 50.5, 60.0):
        await store.values.setex(ttl, ttl, "value")
    assert timers.naps == [101.0, 51.0]
    timers.move(51)
    assert len(store.values) == 5
    timers.move(10)
    assert len(store.values) == 4
    timers.move(40)
    assert len(store.values) == 2
    assert timers.naps == [101.0, 51.0, 10.0, 40.0, 100.0]


async def test_one_timer_at_most() -> None:
    """However often a sooner deadline comes: the timer for the later one is cancelled."""
    clock = Clock(0.0)
    store = memory.MemoryStore(clock=clock)
    timers = Timers(clock, asyncio.get_running_loop())
    for ttl in range(1000, 10, -1):
        await store.values.setex(ttl, ttl, "value")
    assert len(timers.naps) == 990
    assert [handle.cancelled() for _, _, _, handle in timers.pending].count(False) == 1


async def test_the_next_timer_is_armed_by_the_sweep() -> None:
    """One after the other, without a write in between; none when nothing is left."""
    clock = Clock(0.0)
    store = memory.MemoryStore(clock=clock)
    timers = Timers(clock, asyncio.get_running_loop())
    for ttl in (10.0, 20.0, 30.0):
        await store.values.setex(ttl, ttl, "value")
    left = []
    while timers.pending:
        timers.move(timers.pending[0][0] - clock.now)
        left.append(len(store.values))
    assert left == [2, 1, 0]
    assert timers.naps == [11.0, 10.0, 10.0]


async def test_it_looks_at_least_once_an_hour() -> None:
    """A far deadline may be moved by a clock that was suspended: no nap is longer than an hour."""
    clock = Clock(0.0)
    store = memory.MemoryStore(clock=clock)
    timers = Timers(clock, asyncio.get_running_loop())
    await store.values.setex("key", 10_000, "value")
    while len(store.values):
        timers.move(timers.pending[0][0] - clock.now)
    assert timers.naps[:2] == [3600.0, 3600.0]
    assert sum(timers.naps) == 10_001.0
    assert max(timers.naps) == 3600.0


def test_a_closed_loop_is_replaced() -> None:
    """A loop takes its timers along when it closes; the next loop's first new key arms anew, for the old keys too."""
    store = memory.MemoryStore()
    asyncio.run(fill(store.values, 100, 0.05, "first"))

    async def second() -> None:
        await store.values.setex("kept", 60, "value")
        await eventually(lambda: len(store.values) == 1, patience=5)

    asyncio.run(second())


@pytest.mark.parametrize("alive", [0, 1])
def test_either_of_two_loops_will_do(alive: int) -> None:
    """Each loop that wrote has a timer of its own, so that the other may end or stop."""
    clock = Clock(0.0)
    store = memory.MemoryStore(clock=clock)
    loops = [asyncio.new_event_loop(), asyncio.new_event_loop()]
    try:
        timers = [Timers(clock, loop) for loop in loops]
        for number, loop in enumerate(loops):
            loop.run_until_complete(fill(store.values, 1, 20.0 - number, f"by {number}"))
        while timers[alive].pending and clock.now < 100:
            timers[alive].move(1)
        assert len(store.values) == 0
    finally:
        for loop in loops:
            loop.close()


def test_opening_is_enough_after_a_loop_has_ended() -> None:
    """What an ended loop has left is swept by the loop that opens the store next, without a write."""
    store = memory.MemoryStore()
    asyncio.run(fill(store.values, 100, 0.05))

    async def second() -> None:
        async with memory.factory(store)():
            await eventually(lambda: len(store.values) == 0, patience=5)

    asyncio.run(second())


def test_a_store_filled_without_a_loop() -> None:
    """Where no loop runs there is no timer, and no error; writers reclaim."""
    clock = Clock(0.0)
    store = memory.MemoryStore(clock=clock)
    for number in range(10):
        run(store.values.setex(number, 1, "value"))
    clock.move(10)
    asyncio.run(store.values.setex("writer", 60, "value"))
    assert len(store.values) == 1


async def test_a_store_that_nobody_holds_is_freed() -> None:
    """Its timer does not keep it alive, and finds nothing to do when it fires."""
    clock = Clock(0.0)
    timers = Timers(clock, asyncio.get_running_loop())
    store = memory.MemoryStore(clock=clock)
    await store.values.setex("key", 1, "value")
    items = weakref.ref(store.values)
    del store
    gc.collect()
    assert items() is None
    timers.move(10)
    assert timers.pending == []


def test_two_threads_with_loops_of_their_own() -> None:
    """Each thread's loop uses the same store at the same time; everything expires in the end."""
    store = memory.MemoryStore()

    async def use(name: str) -> None:
        for number in range(2000):
            await store.values.setex(f"{name}-{number}", 0.05, "value")
        await store.values.setex(name, 60, "value")
        await eventually(lambda: len(store.values) <= 2, patience=5)
        assert await store.values.get(name) == "value"

    errors: list[BaseException] = []

    def work(name: str) -> None:
        try:
            asyncio.run(use(name))
        except BaseException as exc:  # raised below, in the main thread
            errors.append(exc)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
