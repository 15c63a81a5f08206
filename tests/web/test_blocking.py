"""Blocking calls: each of the manager's, from any thread, before and after a fork, up to the end of the process."""

from __future__ import annotations

import asyncio
import errno
import inspect
import math
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.exceptions import MetadataError, NotSent, OutcomeUnknown, StorageError
from chuk_sessions.providers import redis
from chuk_sessions.web import loop_thread
from chuk_sessions.web.blocking import SyncSessionManager, call_timeout, check_threads, run, run_for
from tests.support.failing_provider import failing_factory
from tests.web.conftest import on_memory

ROOT = Path(__file__).parents[2]
SLOW = re.compile(r"Executing <.*> took \d+\.\d+ seconds$")
OTHER_NAMES = {"aclose": "close", "__aenter__": "__enter__", "__aexit__": "__exit__"}
# Attributes of the manager that a program sets before it makes blocking calls, if it must set them.
DATA = {"sandbox_id", "session_factory", "default_ttl_hours", "strict", "manager"}


@pytest.fixture
def sessions(web_manager: SessionManager) -> SyncSessionManager:
    return SyncSessionManager(web_manager)


def run_program(text: str, *arguments: str) -> str:
    """Run a program that ends by itself. Return what it printed; nothing may be on its stderr.

    But for what asyncio says of slow callbacks in its debug mode: so they are on a busy machine.
    """
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", text, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    told = [line for line in done.stderr.splitlines() if not SLOW.match(line)]
    assert (done.returncode, told) == (0, [])
    return done.stdout


def test_every_call_of_the_manager_is_there() -> None:
    """With the same arguments and the same result, and its description."""
    for name, method in inspect.getmembers(SessionManager, callable):
        if name.startswith("_") and name not in OTHER_NAMES:
            continue
        mine = getattr(SyncSessionManager, OTHER_NAMES.get(name, name))
        theirs, ours = inspect.signature(method), inspect.signature(mine)
        assert str(ours).replace("Iterator[", "AsyncIterator[") == str(theirs), name
        assert not inspect.iscoroutinefunction(mine)
        if name not in OTHER_NAMES:
            assert mine.__doc__ == method.__doc__, name
    names = {name for name in vars(SyncSessionManager) if not name.startswith("_")}
    assert names - DATA - set(OTHER_NAMES.values()) <= set(dir(SessionManager))


def test_the_life_of_a_session(sessions: SyncSessionManager) -> None:
    """Each call does what the manager's does."""
    with sessions:
        one = sessions.allocate_session(user_id="alice", custom_metadata={"a": 1})
        assert sessions.validate_session(one)
        assert sessions.update_session_metadata(one, {"b": 2}, remove=["a"])
        assert sessions.increment_session_metadata(one, "b", 3) == 5
        assert (sessions.extend_session_ttl(one, 1), sessions.set_session_ttl(one, 2)) == (True, True)
        new = sessions.renew_session(one, custom_metadata={"c": 3})
        assert new is not None
        opened = sessions.open_session(new, owner="alice")
        assert opened is not None
        assert opened["custom_metadata"] == {"b": 5, "c": 3}
        found = sessions.get_session_metadata(new)
        assert found is not None
        assert sessions.get_session_info(new) == found.to_dict() | {"last_accessed": opened["last_accessed"]}
        others = sessions.allocate_sessions([{"user_id": "alice"}, {"user_id": "bob"}, {"nonsense": 1}])
        ids = [each for each in others if isinstance(each, str)]
        assert (len(ids), type(others[2])) == (2, TypeError)
        assert sessions.validate_sessions([*ids, "unknown"]) == [True, True, False]
        assert len(sessions.list_user_sessions("alice")) == 2
        assert {each["session_id"] for each in sessions.iter_sessions(batch=2)} == {new, *ids}
        assert {each["session_id"] for each in sessions.iter_user_sessions("alice", batch=1)} == {new, ids[0]}
        assert sessions.count_sessions() == 3
        assert sessions.delete_user_sessions("alice", keep=new) == 1
        assert sessions.delete_sessions(ids) == [False, True]
        assert (sessions.delete_session(new), sessions.delete_session(new)) == (True, False)
        assert sessions.cleanup_expired_sessions() == 0
        prefix = sessions.get_canonical_prefix("x")
        assert (prefix, sessions.get_session_prefix_pattern()) == ("grid/shop/x/", "grid/shop/")
        key = sessions.generate_artifact_key("x", "a")
        parsed = sessions.parse_grid_key(key)
        assert parsed is not None
        assert parsed["session_id"] == "x"
        assert sessions.get_cache_stats()["sandbox_id"] == "shop"


def test_the_attributes(sessions: SyncSessionManager) -> None:
    """Are those of the manager."""
    manager = sessions.manager
    assert (sessions.sandbox_id, sessions.default_ttl_hours, sessions.strict) == ("shop", 24, True)
    assert sessions.session_factory is manager.session_factory
    assert repr(sessions) == f"SyncSessionManager({manager!r})"


@pytest.mark.parametrize(("bad", "error"), [({"manager": "shop"}, TypeError), ({"timeout": 0}, ValueError)])
def test_arguments_out_of_range(bad: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(bad))):
        SyncSessionManager(**{"manager": on_memory(), **bad})


def test_errors_come_to_the_caller(sessions: SyncSessionManager) -> None:
    """As the manager raises them, also in the middle of an iteration."""
    with pytest.raises(MetadataError):
        sessions.allocate_session(custom_metadata={"a": object()})
    with pytest.raises(ValueError, match="batch"):
        next(sessions.iter_sessions(batch=0))
    down = SyncSessionManager(SessionManager("shop", failing_factory(NotSent("down")), strict=True))
    for call in (down.validate_session, down.delete_session, down.open_session):
        with pytest.raises(StorageError, match="down"):
            call("x")


def test_an_iteration_gives_what_it_found_before_an_error() -> None:
    class Broken(SessionManager):
        async def iter_user_sessions(self, user_id: str, batch: int = 500) -> AsyncIterator[dict[str, Any]]:
            yield {"session_id": "one"}
            raise StorageError("away")

    found = SyncSessionManager(Broken("shop")).iter_user_sessions("alice")
    assert next(found) == {"session_id": "one"}
    with pytest.raises(StorageError, match="away"):
        next(found)


def test_twenty_threads(sessions: SyncSessionManager) -> None:
    """Write fifty different keys of one session at the same time; all are there."""
    one = sessions.allocate_session()
    with ThreadPoolExecutor(20) as pool:
        assert all(pool.map(lambda n: sessions.update_session_metadata(one, {f"k{n}": n}), range(50)))
        counts = {*pool.map(lambda _: sessions.increment_session_metadata(one, "count"), range(50))}
    info = sessions.get_session_info(one)
    assert info is not None
    assert info["custom_metadata"] == {f"k{n}": n for n in range(50)} | {"count": 50}
    assert counts == {*range(1, 51)}


def test_on_memory_no_thread_is_needed() -> None:
    """The call runs in the thread of the caller, and lets other tasks run where there are none."""

    async def where() -> int:
        await asyncio.sleep(0)
        return threading.get_ident()

    assert run_for(on_memory(), where()) == threading.get_ident()
    assert run(where()) != threading.get_ident()


def test_a_call_in_the_loop_itself() -> None:
    """Would wait for itself for ever: an error."""

    async def ask() -> None:
        run(asyncio.sleep(0))

    with pytest.raises(RuntimeError, match="await the manager"):
        run(ask())


async def test_a_call_in_another_loop(sessions: SyncSessionManager) -> None:
    """Holds that loop up, and works."""
    assert sessions.validate_session(sessions.allocate_session())


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


def test_a_call_that_takes_too_long() -> None:
    """Is cancelled; nobody knows what it has done."""
    watched = Watched()
    with pytest.raises(StorageError, match=r"0\.05 s") as caught:
        run(watched.wait(), 0.05)
    assert isinstance(caught.value.__cause__, OutcomeUnknown)
    assert watched.cancelled.wait(10)


def test_a_call_that_is_given_up_before_it_has_begun() -> None:
    """Because the loop is held up; it never begins then, and nothing complains that it was not awaited."""
    run(asyncio.sleep(0))
    thread, go_on = loop_thread._current, threading.Event()
    assert thread is not None
    thread.loop.call_soon_threadsafe(go_on.wait)
    call = asyncio.sleep(0, "answer")
    with pytest.raises(StorageError):
        run(call, 0.01)
    go_on.set()
    run(asyncio.sleep(0))
    assert inspect.getcoroutinestate(call) == inspect.CORO_CLOSED


def test_a_call_that_may_take_as_long_as_it_takes() -> None:
    for timeout in (None, 1e300, math.inf):
        assert run(asyncio.sleep(0, "answer"), timeout) == "answer"


def test_an_interrupted_caller() -> None:
    """Is free at once, and its call is cancelled: as by Ctrl-C, or the soft time limit of a task."""
    watched = Watched()

    def interrupt() -> None:
        watched.begun.wait(10)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins without it
    try:
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            run(watched.wait(), 30)
    finally:
        signal.signal(signal.SIGINT, before)
    thread.join()
    assert watched.cancelled.wait(10)


def test_how_long_a_call_waits() -> None:
    """Twice as long as the client at most, and a second."""
    urls = {"redis://h": 11.0, "redis://h?socket_timeout=0.5": 2.0, "nonsense://h": 11.0}
    for url, seconds in urls.items():
        assert call_timeout(SessionManager("shop", redis.factory(url))) == seconds
    assert call_timeout(on_memory()) == 11.0


@pytest.mark.parametrize("option", [{}, {"enable-threads": None}, {"threads": b"0"}, {"threads": b"1"}])
def test_uwsgi_without_threads(monkeypatch: pytest.MonkeyPatch, option: dict[str, Any]) -> None:
    """Is told at the start; `test_servers` starts a real one."""
    monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(opt=option))
    with pytest.raises(RuntimeError, match="--enable-threads"):
        SyncSessionManager(on_memory())
    for good in ({"enable-threads": True}, {"threads": b"4"}, {"threads": [b"1", b"2"]}):
        monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(opt=good))
        check_threads()


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The loop of the calls: uvloop's if it is installed."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not installed")
    else:
        monkeypatch.setitem(sys.modules, "uvloop", None)
    return str(request.param)


def test_the_loop_of_the_calls(loop: str) -> None:
    async def module() -> str:
        return type(asyncio.get_running_loop()).__module__

    assert run(module()).partition(".")[0] == loop


def test_a_fork_after_use(redis_url: str, loop: str) -> None:
    """The child makes connections of its own; parent and child go on, each with right answers."""
    sessions = SyncSessionManager(SessionManager("shop", redis.factory(redis_url), strict=True))
    mine = sessions.allocate_session(custom_metadata={"of": "parent"})
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        ok = b"no"
        try:
            theirs = sessions.allocate_session(custom_metadata={"of": "child"})
            for _ in range(20):
                info, other = sessions.get_session_info(theirs), sessions.get_session_info(mine)
                assert info is not None
                assert other is not None
                assert (info["custom_metadata"]["of"], other["custom_metadata"]["of"]) == ("child", "parent")
            ok = b"ok"
        finally:
            os.write(writer, ok)
            os._exit(0)
    for _ in range(20):
        info = sessions.get_session_info(mine)
        assert info is not None
        assert info["custom_metadata"] == {"of": "parent"}
    assert os.read(reader, 2) == b"ok"
    assert os.waitpid(child, 0)[1] == 0
    os.close(reader)
    os.close(writer)
    assert sessions.count_sessions() == 2


def test_a_fork_without_the_hooks_of_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """As uWSGI forks: the other process id tells."""
    assert run(asyncio.sleep(0, "one")) == "one"
    before = loop_thread._current
    assert before is not None
    monkeypatch.setattr(before, "pid", -1)
    assert run(asyncio.sleep(0, "two")) == "two"
    assert loop_thread._current is not before
    before.close(10)


PROGRAMS = {
    "ends": "print(sessions.count_sessions())",
    "ends by an error that it catches": """
try:
    sessions.allocate_session(custom_metadata={"a": object()})
except Exception:
    print(sessions.count_sessions())
""",
    "ends with a call under way": """
from chuk_sessions.web.blocking import run
import asyncio, threading
def wait():
    try:
        run(asyncio.sleep(60))
    except RuntimeError:
        pass
threading.Thread(target=wait, daemon=True).start()
print(sessions.count_sessions())
""",
    "uses them at its end": """
import atexit
atexit.register(lambda: print(sessions.count_sessions()))
sessions.validate_session("x")
""",
    "used them before its last function": """
import atexit
sessions.validate_session("x")
atexit.register(lambda: print(sessions.count_sessions()))
""",
    "forks and both end": """
import os
sessions.validate_session("x")
child = os.fork()
if child:
    os.waitpid(child, 0)
    print(sessions.count_sessions())
else:
    sessions.validate_session("x")
""",
}


RUNS = [*((name, "asyncio") for name in PROGRAMS), *((name, "uvloop") for name in ("ends", "forks and both end"))]


@pytest.mark.redis
@pytest.mark.parametrize(("name", "loop"), RUNS)
def test_a_program_ends(redis_url: str, name: str, loop: str) -> None:
    """At once and without a word."""
    if loop == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not installed")
    begin = f"""
import sys
if "{loop}" == "asyncio":
    sys.modules["uvloop"] = None
from chuk_sessions import SessionManager
from chuk_sessions.providers import redis
from chuk_sessions.web.blocking import SyncSessionManager
sessions = SyncSessionManager(SessionManager("shop", redis.factory(sys.argv[1]), strict=True))
"""
    assert run_program(begin + PROGRAMS[name], redis_url) == "0\n"


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
        run(asyncio.sleep(60), 0.01)


def test_too_many_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Are a failure of the storage, as in asynchronous programs, and no hang; the next call may begin."""

    def refuse() -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    call = asyncio.sleep(0)
    with monkeypatch.context() as refusing:
        refusing.setattr(loop_thread, "_loop_factory", lambda: refuse)
        with pytest.raises(StorageError, match="Too many open files"):
            run(call, 5)
    assert inspect.getcoroutinestate(call) == inspect.CORO_CLOSED
    run(asyncio.sleep(0), 5)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no such timer")
def test_a_handler_while_the_thread_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own call does not wait for the one that it interrupted."""
    make, answers = loop_thread.LoopThread, []

    def interrupted() -> loop_thread.LoopThread:
        monkeypatch.setattr(loop_thread, "LoopThread", make)
        signal.raise_signal(signal.SIGUSR1)
        return make()

    def handle(number: int, frame: object) -> None:
        answers.append(run(asyncio.sleep(0, "handler"), 5))

    monkeypatch.setattr(loop_thread, "LoopThread", interrupted)
    before = signal.signal(signal.SIGUSR1, handle)
    try:
        answers.append(run(asyncio.sleep(0, "caller"), 5))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert answers == ["handler", "caller"]
