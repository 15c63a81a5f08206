"""The contract of `SessionStore` where time can be moved: memory, and the adapter over a custom provider."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chuk_sessions.providers import memory
from chuk_sessions.stores.keyvalue import KeyValueStore
from chuk_sessions.stores.wrapper import StoreWrapper
from tests.support import custom_provider
from tests.support.helpers import Clock

if TYPE_CHECKING:
    from chuk_sessions.stores.contract import SessionStore


@pytest.fixture
def clock() -> Clock:
    """Both the wall clock and the one that rules expiry."""
    return Clock()


@pytest.fixture(params=["memory", "custom"])
def store(request: pytest.FixtureRequest, clock: Clock) -> SessionStore:
    if request.param == "custom":
        return KeyValueStore(custom_provider.factory(), "box", wall_clock=clock)
    return memory.factory(memory.MemoryStore(clock=clock, wall_clock=clock)).session_store("box")


async def accessed(store: SessionStore) -> float:
    record = await store.read("id")
    assert record is not None
    return record.accessed


async def test_accessed_follows_the_clock(store: SessionStore, clock: Clock) -> None:
    """To the number, for each operation that touches; reading does not."""
    await store.create("id", None, 3600, {})
    assert await accessed(store) == 1000
    clock.move(1)
    await store.read("id")
    assert await accessed(store) == 1000
    await store.touch("id", 0)
    assert await accessed(store) == 1001
    clock.move(1)
    await store.update("id", {}, False)
    assert await accessed(store) == 1002
    clock.move(1)
    await store.extend("id", 1)
    assert await accessed(store) == 1003
    clock.move(1)
    await store.create("id", None, 1, {})
    assert await accessed(store) == 1004


async def test_accessed_never_runs_backwards(store: SessionStore, clock: Clock) -> None:
    """A clock that is set back leaves it where it was, whatever the operation and the interval."""
    await store.create("id", None, 3600, {})
    clock.move(-500)
    for interval in (0, 1, 600):
        assert await store.touch("id", interval) is True
    await store.update("id", {"a": 1}, False)
    await store.update("id", {"a": 2}, True)
    await store.extend("id", 1)
    await store.create("id", None, 3600, {})
    assert await accessed(store) == 1000


async def test_touch_interval_to_the_second(store: SessionStore, clock: Clock) -> None:
    """Written once `accessed` is at least the interval old, not before."""
    await store.create("id", None, 3600, {})
    clock.move(9.5)
    assert await store.touch("id", 10) is True
    assert await accessed(store) == 1000
    clock.move(0.5)
    assert await store.touch("id", 10) is True
    assert await accessed(store) == 1010


async def test_expiry_to_the_instant(store: SessionStore, clock: Clock) -> None:
    """Alive just before the deadline, not found at it."""
    await store.create("id", None, 10.5, {})
    clock.now = 1010.499
    assert await store.touch("id", 0) is True
    clock.now = 1010.5
    assert await store.read("id") is None
    assert await store.touch("id", 0) is False
    assert await store.touch("id", 60) is False
    assert await store.update("id", {}, False) is False
    assert await store.extend("id", 60) is False
    assert await store.delete("id") is False


async def test_extension_to_the_instant(store: SessionStore, clock: Clock) -> None:
    """The new deadline is the old one and the extension, whenever it is asked for."""
    await store.create("id", None, 10, {})
    clock.move(9)
    await store.extend("id", 5)
    clock.now = 1014.999
    assert await store.touch("id", 0) is True
    clock.now = 1015
    assert await store.touch("id", 0) is False


async def test_sweep_on_memory(clock: Clock) -> None:
    """Sweeping counts what expired, removes it once, and leaves the others; so does counting."""
    store = memory.factory(memory.MemoryStore(clock=clock, wall_clock=clock)).session_store("box")
    for number in range(1000):
        await store.create(f"short-{number}", None, 5.5, {})
        await store.create(f"long-{number}", None, 500, {})
    assert await store.sweep() == 0
    assert store.cached() == 2000
    clock.now = 1005.5
    assert await store.sweep() == 1000
    assert await store.sweep() == 0
    assert store.cached() == 1000
    assert await store.touch("long-7", 0) is True


async def test_cached_leaves_out_what_has_expired(clock: Clock) -> None:
    """Also without a sweep, and also within the second that is running."""
    store = memory.factory(memory.MemoryStore(clock=clock, wall_clock=clock)).session_store("box")
    await store.create("short", None, 0.5, {})
    await store.create("long", None, 500, {})
    assert store.cached() == 2
    clock.move(0.5)
    assert store.cached() == 1


async def test_nothing_is_cached_or_swept_by_the_adapter(clock: Clock) -> None:
    store = StoreWrapper(KeyValueStore(custom_provider.factory(), "box", wall_clock=clock))
    await store.create("id", None, 1, {})
    assert store.cached() == 0
    clock.move(2)
    assert await store.sweep() == 0


async def test_max_items_bounds_each_sandbox(clock: Clock) -> None:
    """A full sandbox gives up what would expire first, never the session just made, nor one of another sandbox."""
    factory = memory.factory(memory.MemoryStore(max_items=2, clock=clock, wall_clock=clock))
    mine, theirs = factory.session_store("mine"), factory.session_store("theirs")
    await theirs.create("id", None, 1, {})
    for name, lifetime in (("long", 500), ("short", 100), ("shortest", 50)):
        await mine.create(name, None, lifetime, {})
    assert [await mine.touch(name, 0) for name in ("long", "short", "shortest")] == [True, False, True]
    assert await theirs.touch("id", 0) is True


async def test_the_adapter_gives_the_provider_whole_seconds(clock: Clock) -> None:
    """Rounded up, so that the storage never forgets a session before its deadline; never zero."""
    data: custom_provider.Data = {}
    ttls: list[int] = []

    class Recorder(custom_provider.CustomSession):
        async def setex(self, key: str, ttl: int, value: str) -> None:
            ttls.append(ttl)
            await super().setex(key, ttl, value)

        async def __aenter__(self) -> Recorder:
            return self

        async def __aexit__(self, *_: object) -> None:
            await self.close()

    store = KeyValueStore(lambda: Recorder(data), "box", wall_clock=clock)
    await store.create("id", None, 0.25, {})
    await store.extend("id", 10)
    clock.move(0.25)
    await store.touch("id", 0)
    assert ttls == [1, 11, 10]


async def test_the_adapter_drops_a_session_that_expires_while_it_is_written() -> None:
    """A provider is never given a lifetime of zero: the record goes instead."""

    class TickingClock(Clock):
        def __call__(self) -> float:
            self.move(0.5)
            return self.now

    data: custom_provider.Data = {}
    store = KeyValueStore(custom_provider.factory(data), "box", wall_clock=TickingClock())
    await store.create("id", None, 2, {})
    assert len(data) == 1
    assert await store.touch("id", 0) is True  # it was alive when it was asked for
    assert data == {}
    assert await store.touch("id", 0) is False
