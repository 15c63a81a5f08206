"""A forked child has a whole store, whatever threads of its parent were in the middle of."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.providers import memory
from chuk_sessions.providers.memory.at_once import calls_at_once
from chuk_sessions.providers.memory.expiring_map import SPARE_SECONDS
from chuk_sessions.providers.memory.store import MemorySessionStore
from chuk_sessions.providers.memory.user_index import UserIndex
from chuk_sessions.stores.wrapper import DONE
from tests.memory.test_expiring_map import check_filings
from tests.support.helpers import Clock, eventually

if TYPE_CHECKING:
    from chuk_sessions.providers.memory.expiring_map import ExpiringMap

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
CHILDREN = 60
PATIENCE = 20.0  # seconds that a child may take
KEYS, WRITES = 100, 60  # of the parent, and of a child
OK, WRONG, HUNG = "ok", "wrong", "hung"


def in_child(work: Callable[[], object]) -> str:
    """Fork, have the child do that, and say how it ended."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads, which is what this is about
        child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    until = time.monotonic() + PATIENCE
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return HUNG
        time.sleep(0.001)
    return OK if ended[1] == 0 else WRONG


class Load:
    """A thread that stores, replaces, deletes and reclaims values, and sessions with all their life, until stopped."""

    def __init__(self, store: memory.MemoryStore, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        # Here, and not in the thread: what a thread is importing at the fork no child of any program can import.
        self.manager = SessionManager("box", memory.factory(store))
        self._stop = False

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=lambda: asyncio.run(self._work()))
        thread.start()
        try:
            yield
        finally:
            self._stop = True
            thread.join()

    async def _work(self) -> None:
        values, manager = self.store.values, self.manager
        for number in count():
            if self._stop:
                return
            self.clock.move(0.05)
            await values.setex(f"key-{number % KEYS}", number % 7 + 0.5, "value")
            await values.setex(f"key-{number * 7 % KEYS}", 0.5, "value")
            await values.delete(f"key-{number * 3 % KEYS}")
            session_id = await manager.allocate_session(user_id=f"user-{number % 5}", ttl_hours=(number % 7 + 1) / 3600)
            if number % 3:
                await manager.renew_session(session_id, grace_seconds=1)
            else:
                await manager.delete_session(session_id)
            if number % 50 == 0:
                await asyncio.sleep(0)


async def live_a_whole_life(store: memory.MemoryStore, clock: Clock) -> None:
    """Everything works, all that the parent left goes when its time has come, and nothing of the child's is lost."""
    manager = SessionManager("box", memory.factory(store), strict=True)
    values, (sessions, users, aliases) = store.values, store.sessions("box")
    mine = await manager.allocate_session(user_id="alice")
    await values.setex("mine", 1e6, "value")
    clock.move(1000)
    for number in range(WRITES):
        await values.setex(f"child-{number}", 0.5, "value")
        await manager.allocate_session(user_id=f"user-{number % 5}", ttl_hours=0.5 / 3600)
        await manager.renew_session(await manager.allocate_session(ttl_hours=0.5 / 3600), grace_seconds=0.5)
    for items, held in ((values, WRITES + 1), (sessions, 2 * WRITES + 1), (aliases, WRITES)):
        assert len(items) == held  # what was left of the parent has been reclaimed by these writes
    clock.move(1000)
    for items, held in ((values, 1), (sessions, 1), (aliases, 0)):
        for _ in items.sweep():
            pass
        assert len(items) == held
        check_filings(items, SPARE_SECONDS)
    assert await values.get("mine") == "value"
    assert [info["session_id"] for info in await manager.list_user_sessions("alice")] == [mine]
    assert [session.session_id for session in users.all()] == [mine]
    assert await manager.delete_user_sessions("alice") == 1


@pytest.fixture
def untraced_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave coverage out of the children: it takes a second to begin in each, as it looks at all modules."""
    control = sys.modules.get("coverage.control")
    if control is not None:
        monkeypatch.setattr(control, "_start_process_coverage", lambda config_file: None)
        monkeypatch.setattr(os, "_exit", import_module("posix")._exit)


@pytest.mark.slow
@pytest.mark.parametrize("gil", [True, False], ids=["gil", "no-gil"])
def test_children_beside_a_writing_thread(
    gil: bool, request: pytest.FixtureRequest, frequent_switches: None, untraced_children: None
) -> None:
    """All of them can write, read and reclaim."""
    if not gil:
        request.getfixturevalue("no_gil")
    clock = Clock(1000.0)
    store = memory.MemoryStore(clock=clock)
    with Load(store, clock).running():
        ends = [in_child(lambda: asyncio.run(live_a_whole_life(store, clock))) for _ in range(CHILDREN)]
    assert {end: ends.count(end) for end in (OK, WRONG, HUNG)} == {OK: CHILDREN, WRONG: 0, HUNG: 0}


def hold(*locks: Any) -> tuple[threading.Thread, threading.Event]:
    """A thread that has these locks until the event is set."""
    held, release = threading.Event(), threading.Event()

    def run() -> None:
        for lock in locks:
            lock.acquire()
        held.set()
        release.wait()
        for lock in reversed(locks):
            lock.release()

    thread = threading.Thread(target=run)
    thread.start()
    assert held.wait(PATIENCE)
    return thread, release


@pytest.mark.parametrize("lock", ["_visiting", "_heap_lock"])
@pytest.mark.parametrize("which", ["values", "sessions", "aliases"])
def test_a_lock_that_a_thread_has(lock: str, which: str) -> None:
    """It stays in the parent."""
    clock = Clock(1000.0)
    store = memory.MemoryStore(clock=clock)
    sessions, _, aliases = store.sessions("box")
    items: ExpiringMap = {"values": store.values, "sessions": sessions, "aliases": aliases}[which]
    thread, release = hold(getattr(items, lock))
    try:
        assert in_child(lambda: asyncio.run(live_a_whole_life(store, clock))) == OK
    finally:
        release.set()
        thread.join()


def test_locks_of_a_store(no_gil: None) -> None:
    """Those that guard its operations where there is no GIL, and the one for opening a sandbox."""
    clock = Clock(1000.0)
    store = memory.MemoryStore(clock=clock)
    sessions: Any = store.sessions("box")[0]
    values: Any = store.values
    thread, release = hold(sessions.lock, values.lock, store._opening)
    try:
        assert in_child(lambda: asyncio.run(live_a_whole_life(store, clock))) == OK
    finally:
        release.set()
        thread.join()


def test_the_lock_of_the_shared_store() -> None:
    """A thread may be making it at the fork."""
    thread, release = hold(memory._making_shared)
    try:
        assert in_child(memory.factory) == OK
    finally:
        release.set()
        thread.join()


def test_a_key_that_was_not_filed_yet() -> None:
    """A thread has stored it, and was about to put it into the index."""
    clock = Clock(1000.0)
    store = memory.MemoryStore(clock=clock)
    store.values.items["key"] = ("value", 1001.0, 1001.0)

    async def reclaim() -> None:
        clock.move(100)
        await store.values.setex("other", 0.5, "value")
        clock.move(100)
        await store.values.setex("another", 60, "value")
        assert set(store.values.items) == {"another"}

    assert in_child(lambda: asyncio.run(reclaim())) == OK


def test_a_timer_of_the_parents_loop() -> None:
    """It does not stand for one of the child's."""
    store = memory.MemoryStore()

    async def fork_in_a_loop() -> str:
        await store.values.setex("key", 0.1, "value")
        return in_child(lambda: threading_run(wait_until_empty()))

    async def wait_until_empty() -> None:
        async with memory.factory(store)():
            await eventually(lambda: len(store.values) == 0, PATIENCE)

    assert asyncio.run(fork_in_a_loop()) == OK


def threading_run(work: Any) -> None:
    """Run it in a loop of another thread: that of the parent counts as running in this one."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work)
        except BaseException as exc:
            failed.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not failed


def test_a_child_that_does_nothing_with_it_pays_nothing() -> None:
    """The index is made anew when it is first needed, and not before."""
    clock = Clock(1000.0)
    store = memory.MemoryStore(clock=clock)
    asyncio.run(fill(store))
    before = store.values._buckets

    def look() -> None:
        assert asyncio.run(store.values.get("key-1")) == "value"
        assert store.values._buckets is before

    assert in_child(look) == OK


async def fill(store: memory.MemoryStore) -> None:
    for number in range(10):
        await store.values.setex(f"key-{number}", 60, "value")


@pytest.mark.parametrize("stored", ["after", "before"])
def test_the_index_is_made_anew_meanwhile(monkeypatch: pytest.MonkeyPatch, stored: str) -> None:
    """In a forked child, by another thread: it finds a session listed and not stored yet, and takes it out."""
    clock = Clock(1000.25)
    values = memory.MemoryStore(clock=clock, wall_clock=clock)
    store = MemorySessionStore(values, "box")
    found, go_on = threading.Event(), threading.Event()
    discard = UserIndex.discard

    def wait_and_discard(users: UserIndex[Any], session: Any) -> None:
        found.set()
        assert go_on.wait(PATIENCE)
        discard(users, session)

    other = threading.Thread(target=store._map.look_at_index)

    class Users(dict[str, Any]):
        def setdefault(self, key: str, default: Any = None) -> Any:
            result = super().setdefault(key, default)
            if not other.ident:
                if stored == "after":
                    go_on.set()
                other.start()
                assert found.wait(PATIENCE)
                if stored == "after":
                    other.join()
            return result

    store._users.one = Users()
    values._begin_in_child()
    asyncio.run(store.create("first", None, 3600, {}))
    monkeypatch.setattr(UserIndex, "discard", wait_and_discard)
    assert calls_at_once(store, "box").create("new", "dave", 3600, {}) is DONE
    go_on.set()
    other.join()
    assert [session_id for session_id, _ in asyncio.run(store.list_user("dave"))] == ["new"]
    monkeypatch.undo()
    asyncio.run(store.create("next", None, 3600, {}))
    check_filings(store._map, 1)


def test_no_session_is_created_at_once_while_the_index_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before the sessions of users agree with it: what is listed first would be taken out."""
    clock = Clock(1000.25)
    values = memory.MemoryStore(clock=clock, wall_clock=clock)
    store = MemorySessionStore(values, "box")
    asyncio.run(store.create("first", "dave", 3600, {}))
    values._begin_in_child()
    every, results = UserIndex.all, list[Any]()

    def all_and_create(users: UserIndex[Any]) -> list[Any]:
        results.append(calls_at_once(store, "box").create("new", "erin", 3600, {}))
        return every(users)

    monkeypatch.setattr(UserIndex, "all", all_and_create)
    store._map.look_at_index()
    monkeypatch.undo()
    created = results.pop()
    assert created is not DONE
    created.close()
    asyncio.run(store.create("next", None, 3600, {}))
    assert calls_at_once(store, "box").create("new", "erin", 3600, {}) is DONE
