"""The fixtures of the contract: those that the author of a store overrides, and those that the tests use."""

from __future__ import annotations

import time as real
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, ClassVar, Protocol, TypeVar, cast

import pytest
import pytest_asyncio

from chuk_sessions.ids import new_session_id
from chuk_sessions.models import SessionRecord
from chuk_sessions.stores import (
    CompleteStore,
    InProcess,
    Renewable,
    SessionStore,
    StoreWrapper,
    UserIndexed,
    Walkable,
    can,
)
from chuk_sessions.testing.clock import PATIENCE, PAUSE, Clock, time_passes

__all__ = [
    "BOX",
    "HOUR",
    "InProcessStore",
    "MakeUnreadable",
    "OpenStore",
    "StoreFixtures",
    "Time",
    "has",
    "ids_of",
    "log_in",
    "read",
]

T = TypeVar("T")
OpenStore = Callable[[str], SessionStore]
MakeUnreadable = Callable[[str, str], Awaitable[None]]

BOX = "box"  # the sandbox of most tests
HOUR = 3600.0


class InProcessStore(SessionStore, InProcess, Protocol):
    """A store that holds its sessions in this process."""


class Time:
    """The time of the store under test. It is moved if there is a clock to move; else the test waits."""

    def __init__(self, clock: Clock | None) -> None:
        self._clock = clock

    def now(self) -> float:
        """Return the time in seconds since the epoch, or the time of the clock if there is one."""
        return real.time() if self._clock is None else self._clock()

    async def passes(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        if self._clock is None:
            await time_passes(seconds)
        else:
            self._clock.move(seconds)

    async def until(self, condition: Callable[[], Awaitable[object]], patience: float = PATIENCE) -> float:
        """Wait until ``condition()`` is true; return the seconds it took. AssertionError after ``patience`` seconds."""
        begin = self.now()
        while not await condition():
            assert self.now() < begin + patience, f"not within {patience} s"
            await self.passes(PAUSE)
        return self.now() - begin

    async def suffices(self, attempt: Callable[[float], Awaitable[float | None]], seconds: float) -> float:
        """Call ``attempt(seconds)``, which must do something before a session ends that lives so long.

        It returns None, or since when the session that it did not find was to live so long. That session may have ended
        because the machine was busy: then it is called again, with four times as many seconds. AssertionError if the
        session ended too early. Return the seconds that were enough.
        """
        while (since := await attempt(seconds)) is not None:
            lived = self.now() - since
            assert lived >= 0.9 * seconds, f"a session that was to live for {seconds} s ended after {lived} s at most"
            seconds *= 4
        return seconds


class StoreFixtures:
    """The fixtures. ``open_store`` must be overridden; ``clock`` and ``make_unreadable`` may be."""

    clock_skew: ClassVar[float] = 0.001
    """Seconds by which the clocks of the storage's servers may differ from the tests' clock and from each other."""

    @pytest.fixture
    def open_store(self) -> OpenStore:
        """Override this: return a function that opens the store of a sandbox by the sandbox's name.

        Within one test all stores share one storage, which is empty when the test begins.
        """
        pytest.fail(
            f"{type(self).__name__} lacks the fixture open_store, which gives a function from a sandbox's name to the"
            " store of its sessions",
            pytrace=False,
        )

    @pytest.fixture
    def clock(self) -> Clock | None:
        """Override this if the store takes a clock: the tests then move it. Without a clock they wait."""
        return None

    @pytest.fixture
    def make_unreadable(self) -> MakeUnreadable | None:
        """Override this if records are kept outside the process: return a coroutine function ``(sandbox, session_id)``.

        The function makes the stored record unreadable for this version, as a record of a later version is.
        """
        return None

    @pytest.fixture
    def time(self, clock: Clock | None) -> Time:
        """The time of the store under test."""
        return Time(clock)

    @pytest.fixture
    def moved(self, clock: Clock | None) -> Clock:
        """The clock, for tests that depend on an exact instant. They are skipped if the store has no clock."""
        if clock is None:
            pytest.skip("the time of the store cannot be moved")
        return clock

    @pytest_asyncio.fixture
    async def open_sandbox(self, open_store: OpenStore) -> AsyncIterator[OpenStore]:
        """``open_store``; its stores are closed after the test."""
        opened: list[SessionStore] = []

        def open_and_remember(sandbox_id: str) -> SessionStore:
            opened.append(open_store(sandbox_id))
            return opened[-1]

        yield open_and_remember
        for store in opened:
            await store.aclose()

    @pytest.fixture
    def store(self, open_sandbox: OpenStore) -> SessionStore:
        """The sessions of one sandbox."""
        return open_sandbox(BOX)

    @pytest.fixture
    def open_user_indexed(self, open_sandbox: OpenStore) -> Callable[[str], CompleteStore]:
        """``open_sandbox``, for stores that know the sessions of a user."""
        return _with_capability(open_sandbox, UserIndexed)

    @pytest.fixture
    def user_store(self, open_user_indexed: Callable[[str], CompleteStore]) -> CompleteStore:
        """A store that knows the sessions of a user."""
        return open_user_indexed(BOX)

    @pytest.fixture
    def renewable_store(self, open_sandbox: OpenStore) -> CompleteStore:
        """A store that can give a session a new id."""
        return _with_capability(open_sandbox, Renewable)(BOX)

    @pytest.fixture
    def open_walkable(self, open_sandbox: OpenStore) -> Callable[[str], CompleteStore]:
        """``open_sandbox``, for stores that can list all their sessions."""
        return _with_capability(open_sandbox, Walkable)

    @pytest.fixture
    def walkable_store(self, open_walkable: Callable[[str], CompleteStore]) -> CompleteStore:
        """A store that can list all its sessions."""
        return open_walkable(BOX)

    @pytest.fixture
    def process_store(self, open_sandbox: OpenStore) -> InProcessStore:
        """A store that holds its sessions in this process."""
        return cast(InProcessStore, _with_capability(open_sandbox, InProcess)(BOX))


def has(store: SessionStore, capability: type) -> bool:
    """Tell whether a store has the capability; a wrapper has the capabilities of the wrapped store."""
    while isinstance(store, StoreWrapper):
        store = store.store
    return can(store, capability)


def _with_capability(open_sandbox: OpenStore, capability: type) -> Callable[[str], CompleteStore]:
    if not has(open_sandbox(BOX), capability):
        pytest.skip(f"the store is not {capability.__name__}")
    return cast(Callable[[str], CompleteStore], open_sandbox)


async def read(store: SessionStore, session_id: str = "id") -> SessionRecord:
    """Return the record of a session that must exist."""
    record = await store.read(session_id)
    assert record is not None
    return record


async def log_in(
    store: SessionStore,
    user_id: str | None = "alice",
    session_id: str | None = None,
    lifetime: float = HOUR,
    metadata: dict[str, Any] | None = None,
    **options: Any,
) -> str:
    """Create a session that must not exist yet; by default its id has the form that ``SessionManager`` gives ids."""
    if session_id is None:
        session_id = new_session_id(BOX, user_id, real.time())
    assert await store.create(session_id, user_id, lifetime, metadata or {}, **options) is None
    return session_id


async def ids_of(store: UserIndexed, user_id: str = "alice") -> list[str]:
    """Return the ids of a user's sessions as the store lists them."""
    return [session_id for session_id, _ in await store.list_user(user_id)]
