"""The adapter over a user's own provider: what that provider may do wrong, and what is passed to it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import ProviderError
from chuk_sessions.stores import keyvalue
from chuk_sessions.stores.keyvalue import KeyValueStore
from chuk_sessions.stores.wrapper import StoreWrapper
from tests.support import custom_provider
from tests.support.custom_provider import CustomSession
from tests.support.helpers import Clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from chuk_sessions.provider import Factory
    from tests.support.custom_provider import Data


def factory_of(session: CustomSession, at_end: Callable[[], object] = int, hide: bool = False) -> Factory:
    """A factory that gives `session`, calls `at_end` afterwards, and may hide what goes wrong."""

    @asynccontextmanager
    async def _ctx() -> AsyncIterator[CustomSession]:
        try:
            yield session
        except Exception:
            if not hide:
                raise
        at_end()

    return _ctx


class Failing(CustomSession):
    """Fails as told in `get`."""

    def __init__(self, data: Data, error: BaseException | None = None) -> None:
        super().__init__(data)
        self.error = error

    async def get(self, key: str) -> str | None:
        if self.error is not None:
            raise self.error
        return await super().get(key)


def fail() -> None:
    raise OSError("cannot close")


async def test_it_opens_and_closes_the_provider_for_each_operation() -> None:
    closed: list[int] = []
    store = KeyValueStore(factory_of(CustomSession({}), lambda: closed.append(1)), "box")
    await store.create("id", None, 60, {})
    await store.touch("id", 0)
    await store.delete("id")
    assert len(closed) == 3


@pytest.mark.parametrize("error", [OSError("secret"), KeyError("secret"), TypeError("secret"), ZeroDivisionError()])
async def test_every_error_of_the_provider_is_a_provider_error(error: Exception) -> None:
    """With the kind of the error and the cause, not its words: they may hold a key or a password."""
    store = KeyValueStore(factory_of(Failing({}, error)), "box")
    with pytest.raises(ProviderError, match=type(error).__name__) as caught:
        await store.touch("id", 0)
    assert caught.value.__cause__ is error
    assert "secret" not in str(caught.value)


async def test_after_an_error_it_goes_on() -> None:
    """The turn is given back."""
    session = Failing({}, OSError())
    store = KeyValueStore(factory_of(session), "box")
    with pytest.raises(ProviderError):
        await store.create("id", None, 60, {})
    session.error = None
    assert await store.create("id", None, 60, {}) is None
    assert await store.touch("id", 0) is True


async def test_an_error_while_closing_does_not_undo_what_was_done(caplog: pytest.LogCaptureFixture) -> None:
    """The result counts; the log has the error."""
    store = KeyValueStore(factory_of(CustomSession({}), fail), "box")
    assert await store.create("id", "alice", 60, {}) is None
    assert await store.touch("id", 0) is True
    assert "OSError" in caplog.text


async def test_a_provider_that_hides_its_errors() -> None:
    """A context manager may swallow the error: then there is no result, which is an error all the same."""
    store = KeyValueStore(factory_of(Failing({}, OSError()), hide=True), "box")
    with pytest.raises(ProviderError, match="hid"):
        await store.touch("id", 0)


async def test_a_provider_that_cancels() -> None:
    """Some libraries cancel by themselves: nobody had given up, so it is a fault of the storage."""
    store = KeyValueStore(factory_of(Failing({}, asyncio.CancelledError())), "box")
    with pytest.raises(ProviderError, match="cancel"):
        await store.touch("id", 0)


async def test_a_caller_that_cancels() -> None:
    """Cancelled it is, and the next caller gets the turn."""
    waiting = asyncio.Event()

    class Slow(CustomSession):
        async def get(self, key: str) -> str | None:
            waiting.set()
            return await asyncio.Event().wait() if self.data is slow_data else await super().get(key)  # type: ignore[return-value]

    slow_data: Data = {}
    session = Slow(slow_data)
    store = KeyValueStore(factory_of(session), "box")
    task = asyncio.ensure_future(store.touch("id", 0))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    session.data = {}
    assert await store.create("id", None, 60, {}) is None


async def test_sessions_do_not_wait_for_each_other() -> None:
    """A slow call for one session holds up that session only."""
    gate = asyncio.Event()

    class SlowForOne(CustomSession):
        async def get(self, key: str) -> str | None:
            if key.endswith(":slow"):
                await gate.wait()
            return await super().get(key)

    store = KeyValueStore(factory_of(SlowForOne({})), "box")
    slow = asyncio.ensure_future(store.create("slow", None, 60, {}))
    assert await store.create("fast", None, 60, {}) is None
    assert not slow.done()
    gate.set()
    assert await slow is None


@pytest.mark.parametrize("convert", [str.encode, str], ids=["bytes", "str"])
async def test_a_provider_may_give_bytes(convert: Callable[[str], Any]) -> None:
    """As clients of Redis do unless told otherwise."""

    class Converting(CustomSession):
        async def get(self, key: str) -> str | None:
            text = await super().get(key)
            return None if text is None else convert(text)

    store = KeyValueStore(factory_of(Converting({})), "box")
    await store.create("id", "alice", 60, {"a": "ключ"})
    record = await store.read("id")
    assert record is not None
    assert record.metadata == {"a": "ключ"}


async def test_turns_are_not_kept() -> None:
    """A million sessions leave nothing of a million turns behind."""
    store = KeyValueStore(factory_of(CustomSession({})), "box")
    for number in range(100):
        await store.create(f"id-{number}", None, 60, {})
    assert len(keyvalue._turns) == 0


async def test_nothing_is_cached_or_swept() -> None:
    clock = Clock()
    store = StoreWrapper(KeyValueStore(custom_provider.factory(), "box", wall_clock=clock))
    await store.create("id", None, 1, {})
    assert store.cached() == 0
    clock.move(2)
    assert await store.sweep() == 0


async def test_the_provider_gets_whole_seconds() -> None:
    """Rounded up, so that the storage never forgets a session before its deadline; never zero."""
    clock = Clock()
    data: Data = {}
    ttls: list[int] = []

    class Recorder(CustomSession):
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


async def test_a_session_that_expires_while_it_is_written_is_dropped() -> None:
    """A provider is never given a lifetime of zero: the record goes instead."""

    class TickingClock(Clock):
        def __call__(self) -> float:
            self.move(0.5)
            return self.now

    data: Data = {}
    store = KeyValueStore(custom_provider.factory(data), "box", wall_clock=TickingClock())
    await store.create("id", None, 2, {})
    assert len(data) == 1
    assert await store.touch("id", 0) is True  # it was alive when it was asked for
    assert data == {}
    assert await store.touch("id", 0) is False
