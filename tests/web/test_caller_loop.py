"""A loop that callers run themselves: in which thread a call runs, and what exceptions, forks and rests leave of it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.exceptions import OutcomeUnknown, StorageError
from chuk_sessions.providers import redis
from chuk_sessions.web import caller_loop, loop_thread
from chuk_sessions.web.blocking import SyncSessionManager
from chuk_sessions.web.loop_thread import run, run_here

pytestmark = [
    pytest.mark.usefixtures("loop_thread_ended"),
    pytest.mark.skipif(not caller_loop.can_be_run(), reason="callers run no loop where there is no epoll"),
]

LONG = 30.0  # seconds; no call takes them


async def thread_of_call() -> int:
    await asyncio.sleep(0)
    return threading.get_ident()


class Watched:
    """A coroutine that waits until it is cancelled."""

    def __init__(self) -> None:
        self.begun, self.cancelled = threading.Event(), threading.Event()

    async def wait(self) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


class Stop(Exception):
    """What a signal handler raises."""


class Signals:
    """Of the main thread, whose handler raises ``Stop`` once each time that it is armed."""

    is_armed = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.is_armed:
            self.is_armed = False
            raise Stop

    def send(self) -> None:
        """Send one, from any thread."""
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    def stops(self, call: Callable[[], object]) -> bool:
        """Tell whether a signal ended this call."""
        try:
            self.is_armed = True
            call()
            self.is_armed = False
        except Stop:
            return True
        return False


@pytest.fixture
def signals() -> Iterator[Signals]:
    made = Signals()
    before = signal.signal(signal.SIGUSR1, made)
    yield made
    signal.signal(signal.SIGUSR1, before)


def own_loop() -> caller_loop.CallerLoop:
    own = loop_thread._own
    assert own is not None
    return own


def test_a_lone_caller_runs_its_call() -> None:
    """In any thread, without another for it."""
    assert run_here(thread_of_call(), LONG) == threading.get_ident()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(run_here, thread_of_call(), LONG).result() == pool.submit(threading.get_ident).result()
    assert loop_thread._current is None


def test_a_second_caller_meanwhile() -> None:
    """Has its call run by the thread of the loop, as before."""
    watched = Watched()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(run_here, watched.wait(), 0.3)
        assert watched.begun.wait(10)
        found = run_here(thread_of_call(), LONG)
        assert found == run(thread_of_call()) != threading.get_ident()
        assert isinstance(first.exception(), StorageError)
    assert run_here(thread_of_call(), LONG) == threading.get_ident()


def test_a_caller_while_calls_are_in_the_thread() -> None:
    """Goes there too: their commands leave together."""
    watched = Watched()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(run, watched.wait(), 0.3)
        assert watched.begun.wait(10)
        while not (thread := loop_thread._current) or not thread.jobs:
            assert not first.done()
        assert run_here(thread_of_call(), LONG) != threading.get_ident()
        assert isinstance(first.exception(), StorageError)
    assert run_here(thread_of_call(), LONG) == threading.get_ident()


async def test_a_caller_in_an_event_loop() -> None:
    """Cannot run another in it."""
    assert run_here(thread_of_call(), LONG) != threading.get_ident()


def test_a_call_on_redis_runs_here(redis_url: str) -> None:
    """Unless the manager has a near cache, which one loop must keep."""
    options: dict[str, Any] = {"strict": True, "touch_interval": 60}
    sessions = SyncSessionManager(SessionManager("shop", redis.factory(redis_url), **options))
    session_id = sessions.allocate_session()
    assert sessions.validate_session(session_id)
    assert (loop_thread._current, own_loop().has_ended) == (None, False)
    near = SyncSessionManager(SessionManager("shop", redis.factory(redis_url), near_cache=1, **options))
    assert near.validate_session(session_id)
    assert loop_thread._current is not None


def test_a_call_that_takes_too_long() -> None:
    """Is cancelled, and the loop serves the next."""
    run_here(thread_of_call(), LONG)
    own, watched = own_loop(), Watched()
    with pytest.raises(StorageError, match=r"0\.01 s") as caught:
        run_here(watched.wait(), 0.01)
    assert isinstance(caught.value.__cause__, OutcomeUnknown)
    assert watched.cancelled.is_set()
    assert run_here(thread_of_call(), LONG) == threading.get_ident()
    assert own_loop() is own


def test_the_keeper_serves_timers() -> None:
    """That a call has left behind, though nobody calls; also those that come after it has gone to sleep."""
    for _ in range(2):
        served = threading.Event()

        async def leave(served: threading.Event = served) -> None:
            asyncio.get_running_loop().call_later(0.2, served.set)

        run_here(leave(), LONG)
        assert served.wait(10)


def test_the_keeper_serves_sockets(redis_url: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A connection that the server has closed is made anew before the next call."""
    factory = redis.factory(redis_url)
    sessions = SyncSessionManager(SessionManager("shop", factory, strict=True))
    session_id = sessions.allocate_session()
    for _ in range(3):
        run(_kill_others(redis_url))
        assert sessions.validate_session(session_id)


async def _kill_others(url: str) -> None:
    from chuk_sessions.redis_client.client import Client

    await Client(url).call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


@contextmanager
def sent_when_begun(watched: Watched) -> Iterator[None]:
    """Send signals to the main thread until it is through: one that comes right before a wait does not end it."""
    is_over = threading.Event()

    def send() -> None:
        watched.begun.wait(10)
        while not is_over.wait(0.01):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def assert_nothing_is_left() -> None:
    assert (asyncio._get_running_loop(), signal.pthread_sigmask(signal.SIG_BLOCK, ())) == (None, set())
    assert sys.get_asyncgen_hooks() == (None, None)


def test_calls_that_never_wait() -> None:
    """Do not keep the timers and the sockets of the loop waiting, however fast they come."""
    served = threading.Event()

    async def leave() -> None:
        loop, (near, far) = asyncio.get_running_loop(), socket.socketpair()
        near.setblocking(False)

        def read() -> None:
            loop.remove_reader(near)
            near.close()
            far.close()
            served.set()

        loop.add_reader(near, read)
        loop.call_later(0.01, far.send, b"x")

    async def nothing() -> None:
        pass

    run_here(leave(), LONG)
    deadline = time.monotonic() + 10
    while not served.is_set():
        run_here(nothing(), LONG)
        assert time.monotonic() < deadline


@pytest.mark.parametrize("number", [1, 200])
def test_timers_that_were_cancelled(number: int) -> None:
    """Are not waited for, neither before a call nor in one. Of many, asyncio makes a new list without them."""
    ended = threading.Event()

    async def leave() -> None:
        loop = asyncio.get_running_loop()
        for handle in [loop.call_later(0.01, int) for _ in range(number)]:
            handle.cancel()

    async def leave_and_wait() -> None:
        await leave()
        await asyncio.sleep(0.001)
        await asyncio.Event().wait()

    def call() -> None:
        run_here(leave(), LONG)
        deadline = time.monotonic() + 0.02  # without a pause in which the keeper would remove the timers
        while time.monotonic() < deadline:
            run_here(thread_of_call(), LONG)
        with pytest.raises(StorageError, match=r"0\.05 s"):
            run_here(leave_and_wait(), 0.05)
        ended.set()

    threading.Thread(target=call, daemon=True).start()
    assert ended.wait(10)


def test_where_no_thread_can_be_started(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As while Python 3.12 exits: each call has a loop of its own, and the same answers."""
    session_id = SyncSessionManager(SessionManager("shop", redis.factory(redis_url), strict=True)).allocate_session()
    loop_thread._close_at_exit()

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    sessions = SyncSessionManager(SessionManager("shop", redis.factory(redis_url), strict=True))
    assert (sessions.validate_session(session_id), sessions.count_sessions()) == (True, 1)
    with pytest.raises(StorageError, match=r"0\.01 s"):
        run(asyncio.sleep(LONG), 0.01)


def test_what_a_signal_handler_raises(signals: Signals) -> None:
    """Comes to the caller at once, its call is cancelled, and the next one begins anew."""
    run_here(thread_of_call(), LONG)
    own, watched = own_loop(), Watched()
    with sent_when_begun(watched):
        assert signals.stops(lambda: run_here(watched.wait(), LONG))
    assert watched.cancelled.wait(10)
    assert run_here(thread_of_call(), LONG)  # by the thread, if the keeper has not found out yet
    assert run_here(thread_of_call(), LONG) == threading.get_ident()
    assert own_loop() is not own
    assert_nothing_is_left()


@pytest.mark.filterwarnings("ignore:Exception ignored in. <coroutine")  # made by a caller who was stopped at once
def test_a_storm_of_signals(redis_url: str, signals: Signals) -> None:
    """Each ends a call or none. No answer is wrong, no other thread hears of it, and no lock is left."""
    sessions = SyncSessionManager(SessionManager("shop", redis.factory(redis_url), strict=True))
    ids = [sessions.allocate_session(custom_metadata={"n": n}) for n in range(3)]

    def read(n: int) -> None:
        info = sessions.get_session_info(ids[n])
        assert info is not None
        assert info["custom_metadata"] == {"n": n}

    def read_on(n: int) -> None:
        while not storming.done():
            read(n)

    def storm() -> None:
        for _ in range(60):
            signals.send()
            pause.wait(0.001)

    pause, stopped = threading.Event(), 0
    with turns_at_every_bytecode(), ThreadPoolExecutor(3) as pool:
        storming = pool.submit(storm)
        readers = [pool.submit(read_on, n) for n in range(2)]
        while not storming.done():
            stopped += signals.stops(lambda: read(2))
        for each in readers:
            each.result()
    assert stopped
    for _ in range(2):
        read(2)
    assert run_here(thread_of_call(), LONG) == threading.get_ident()
    assert_nothing_is_left()


@contextmanager
def turns_at_every_bytecode() -> Iterator[None]:
    """Let the interpreter switch between threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_a_handler_that_calls(redis_url: str) -> None:
    """In the middle of a call of the same thread: both get their answers."""
    sessions = SyncSessionManager(SessionManager("shop", redis.factory(redis_url), strict=True))
    found, watched = [], Watched()

    def ask(number: int, frame: FrameType | None) -> None:
        found.append(sessions.count_sessions())

    before = signal.signal(signal.SIGUSR1, ask)
    try:
        sessions.allocate_session()

        with sent_when_begun(watched), pytest.raises(StorageError):
            run_here(watched.wait(), 0.3)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert set(found) == {1}


def test_many_threads(redis_url: str) -> None:
    """That take turns at every bytecode: each gets its own answers, some after their time was up."""
    sessions = SyncSessionManager(SessionManager("shop", redis.factory(redis_url), strict=True))
    ids = [sessions.allocate_session(custom_metadata={"n": n}) for n in range(8)]

    def use(n: int) -> None:
        for turn in range(25):
            info = sessions.get_session_info(ids[n])
            assert info is not None
            assert info["custom_metadata"] == {"n": n}
            if turn % 5 == n % 5:
                with pytest.raises(StorageError):
                    run_here(asyncio.sleep(LONG), 0.001)

    with turns_at_every_bytecode(), ThreadPoolExecutor(8) as pool:
        for each in [pool.submit(use, n) for n in range(8)]:
            each.result()


def test_a_fork_while_another_thread_runs_the_loop(redis_url: str) -> None:
    """The child has a loop of its own, and the call of the parent goes on."""
    sessions = SyncSessionManager(SessionManager("shop", redis.factory(redis_url), strict=True))
    session_id, watched = sessions.allocate_session(), Watched()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(run_here, watched.wait(), 0.3)
        assert watched.begun.wait(10)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if sessions.validate_session(session_id) and own_loop().pid == os.getpid() else 2
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        assert sessions.validate_session(session_id)
        assert isinstance(first.exception(), StorageError)
