"""Blocking calls in the threads of their callers: what goes over their own connection, and each fault that ends it."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.exceptions import OutcomeUnknown, ProviderError, ReadOnlyError, StorageError
from chuk_sessions.instrumentation import SessionMetrics
from chuk_sessions.providers import redis
from chuk_sessions.redis_client import batch, scripts
from chuk_sessions.redis_client import direct as direct_module
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.commands import LARGE, Argument, Reply, pack
from chuk_sessions.redis_client.direct import Direct, direct_of
from chuk_sessions.redis_client.socket_wire import SocketWire, WireError
from chuk_sessions.web import loop_thread
from chuk_sessions.web.blocking import SyncSessionManager, run, run_commands
from tests.support.helpers import wait_until
from tests.support.interruptions import interruptions, keyboard_interrupt
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer, Server
from tests.support.wire import forget_direct

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("no_pause")]

ID, DATA = "session-1", {"user": "alice", "cart": [1, 2]}


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost connection is replaced with the next call."""
    monkeypatch.setattr(direct_module, "PAUSE", 0.0)


def blocking(url: str, **options: Any) -> SyncSessionManager:
    return SyncSessionManager(SessionManager("box", redis.factory(url), strict=True, **options))


def client_of(sessions: SyncSessionManager) -> Client:
    client: Client = sessions.session_factory._client
    return client


def server_of(sessions: SyncSessionManager) -> Direct:
    found = direct_of(client_of(sessions))
    assert found is not None
    return found


def opened(sessions: SyncSessionManager) -> Direct:
    """What serves the calls, once it has its connection."""
    server = server_of(sessions)

    def is_open() -> bool:
        sessions.validate_session(ID)
        return server._wire is not None

    wait_until(is_open)
    return server


@pytest.fixture
def sessions(own_server: RedisServer) -> SyncSessionManager:
    """With a session, on a server of its own."""
    made = blocking(f"{own_server.url}?socket_timeout=1&reconnect_grace=0.1")
    made.allocate_session(ID, custom_metadata=DATA)
    return made


def seen(sessions: SyncSessionManager, session_id: str = ID) -> Any:
    info = sessions.get_session_info(session_id)
    return None if info is None else info["custom_metadata"]


def test_each_call_of_commands(sessions: SyncSessionManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the results that it has in an event loop, with aliases too, and needs none."""
    alias = sessions.allocate_session(custom_metadata={"n": 1})
    new = sessions.renew_session(alias, grace_seconds=60)
    server = opened(sessions)
    monkeypatch.setattr(loop_thread, "_current", None)
    monkeypatch.setattr(loop_thread, "_start", None)  # a call in the loop would raise TypeError
    for turn, each in enumerate((ID, ID, alias, new)):
        written = server.written
        assert sessions.validate_session(each or "")
        info = sessions.open_session(each or "")
        assert info is not None
        assert info == {**(sessions.get_session_info(each or "") or {}), "last_accessed": info["last_accessed"]}
        assert info["session_id"] == (each if each == ID else new)
        assert sessions.update_session_metadata(each or "", {"n": 4}, remove=["cart"])
        assert sessions.increment_session_metadata(each or "", "n", 3) == 7
        metadata = sessions.get_session_metadata(each or "")
        assert metadata is not None
        assert metadata.custom_metadata["n"] == 7
        if turn:  # the server knows the scripts
            assert server.written - written == (12 if each == alias else 6)
    for none in ("unknown", "x/y"):
        assert not sessions.validate_session(none)
        assert sessions.open_session(none) is sessions.get_session_info(none) is None
        assert not sessions.update_session_metadata(none, {"a": 1})
        assert sessions.increment_session_metadata(none, "n") is None
    with pytest.raises(ValueError, match="at most 1024 bytes"):
        sessions.validate_session("x" * 2000)


def test_commands_have_no_numbers(sessions: SyncSessionManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """To write one as text may run a signal handler, and hiredis crashes if that raises."""
    touchy = blocking(client_of(sessions)._url, touch_interval=60)
    packed = []

    def checked(args: tuple[Argument, ...]) -> bytes:
        packed.append(args)
        return pack(args)

    for module in (direct_module, batch, scripts):
        monkeypatch.setattr(module, "pack", checked)
    for each in (sessions, touchy):
        opened(each)
        each.open_session(ID)
        each.get_session_info(ID)
        each.update_session_metadata(ID, {"n": 1}, remove=["cart"])
        each.increment_session_metadata(ID, "n", 3)
    assert len(packed) > 10
    assert {type(each) for args in packed for each in args} <= {bytes, str}


def test_a_touch_interval(own_server: RedisServer) -> None:
    """Reads without a write while none is due: the time of the server is known after the first touch."""
    sessions = blocking(own_server.url, touch_interval=60)
    sessions.allocate_session(ID, custom_metadata=DATA)
    server = opened(sessions)
    assert [sessions.validate_session(ID) for _ in range(3)] == [True] * 3
    assert server.clock.now() is not None
    own_server.command("CONFIG", "RESETSTAT")
    assert sessions.validate_session(ID)
    assert sessions.open_session(ID) is not None
    calls = str(own_server.command("INFO", "commandstats"))
    assert "hmget" in calls.lower()
    assert "evalsha" not in calls.lower()
    kill_connections(own_server)
    assert sessions.get_session_info(ID) is not None
    assert server.clock.now() is None  # the next server may have another time


def test_a_server_that_was_flushed_of_its_scripts(sessions: SyncSessionManager, own_server: RedisServer) -> None:
    """Gets their sources."""
    server = opened(sessions)
    own_server.command("SCRIPT", "FLUSH")
    written = server.written
    assert sessions.update_session_metadata(ID, {"n": 1})
    assert sessions.open_session(ID) is not None
    assert server.written - written == 4
    assert seen(sessions) == {**DATA, "n": 1}


def kill_connections(server: Server) -> None:
    server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def test_connections_that_the_server_has_closed(own_server: RedisServer) -> None:
    """Get no command: a change is made once, and nothing fails."""
    sessions = blocking(own_server.url)
    sessions.allocate_session(ID)
    for expected in range(1, 4):
        opened(sessions)
        kill_connections(own_server)
        assert sessions.increment_session_metadata(ID, "n") == expected


def test_a_reply_that_nobody_asked_for() -> None:
    """Is not taken for the reply to the next command, and neither is one that came too late."""
    for said, reply in ((b"+first\r\n+second\r\n", b"first"), (b"+first\r\n+sec", b"first"), (b"+fi", None)):
        ours, theirs = socket.socketpair()
        wire = SocketWire(ours)
        theirs.sendall(said)
        if reply is None:
            with pytest.raises(WireError):
                wire.exchange(b"", 0.001)
        else:
            assert wire.exchange(b"", 1) == reply
        assert wire.is_amiss()
        theirs.close()
        wire.close()


def test_a_reply_that_comes_with_a_push() -> None:
    """Is found after it, and so is the rest of a reply in pieces."""
    for pieces in ([b">2\r\n+a\r\n+b\r\n+OK\r\n"], [b">1\r\n", b"+a\r\n>1\r\n+b\r\n+O", b"K\r\n"]):
        ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)  # each piece is read alone
        wire = SocketWire(ours)
        for piece in pieces:
            theirs.sendall(piece)
        assert wire.exchange(b"x", 0.1) == b"OK"
        assert not wire.is_amiss()
        theirs.close()
        wire.close()


def test_a_server_that_dies_and_comes_back(sessions: SyncSessionManager, own_server: RedisServer) -> None:
    """Fails like in an event loop meanwhile."""
    server = opened(sessions)
    own_server.kill()
    for _ in range(3):
        with pytest.raises(StorageError):
            sessions.update_session_metadata(ID, {"n": 1})
        with pytest.raises(StorageError):
            sessions.validate_session(ID)
    own_server.restart()

    def is_back() -> bool:
        try:
            return not sessions.validate_session("none")
        except StorageError:
            return False

    wait_until(is_back)
    assert opened(sessions) is server


def test_a_server_that_hangs(own_server: RedisServer) -> None:
    """The outcome of a change is unknown; a read is asked once more, and fails too."""
    sessions = blocking(f"{own_server.url}?socket_timeout=0.4&reconnect_grace=0.1")
    sessions.allocate_session(ID, custom_metadata=DATA)
    calls: list[Callable[[], bool]] = [
        lambda: sessions.update_session_metadata(ID, {"n": 1}),
        lambda: sessions.validate_session(ID),
    ]
    for call in calls:
        server = opened(sessions)
        own_server.pause()
        with pytest.raises(StorageError) as failure:
            call()
        own_server.resume()
        assert isinstance(failure.value.__cause__, ProviderError)
        assert server._wire is None
        wait_until(lambda: _is_up(sessions))
    assert server.timeouts == 1


def _is_up(sessions: SyncSessionManager) -> bool:
    try:
        return sessions.validate_session(ID)
    except StorageError:
        return False


@pytest.mark.parametrize("is_quiet", [True, False])
async def test_a_connection_that_a_middlebox_forgot(own_server: RedisServer, is_quiet: bool) -> None:
    """After a quiet second nothing is lost, as it must answer first. Before that a read is asked once more."""
    async with Proxy(own_server.host, own_server.port) as proxy:
        sessions = blocking(f"{proxy.url}?socket_timeout=1")
        await asyncio.to_thread(sessions.allocate_session, ID, custom_metadata={"n": 0})
        of_the_loop = set(proxy._links)
        server = await asyncio.to_thread(opened, sessions)
        assert server._wire is not None
        proxy._forgotten |= proxy._links - of_the_loop
        if is_quiet:
            server._wire.used -= 10
            assert await asyncio.to_thread(sessions.increment_session_metadata, ID, "n") == 1
        else:
            assert await asyncio.to_thread(seen, sessions) == {"n": 0}
        assert server._wire is None
        await asyncio.to_thread(opened, sessions)
        assert await asyncio.to_thread(sessions.increment_session_metadata, ID, "n") == 1 + is_quiet
        await asyncio.to_thread(loop_thread._close_at_exit)
        forget_direct()


def test_a_quiet_connection_that_is_well(sessions: SyncSessionManager, own_server: RedisServer) -> None:
    """Answers a PING, and is used."""
    server = opened(sessions)
    wire = server._wire
    assert wire is not None
    own_server.command("CONFIG", "RESETSTAT")
    wire.used -= 10
    assert sessions.validate_session(ID)
    assert server._wire is wire
    assert "cmdstat_ping:calls=1" in str(own_server.command("INFO", "commandstats"))


def test_the_time_that_a_ping_took(sessions: SyncSessionManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is part of the time of the call."""
    server, limits, exchange = opened(sessions), [], SocketWire.exchange

    def slow_ping(wire: SocketWire, command: bytes, seconds: float) -> Reply:
        reply = exchange(wire, command, seconds)
        limits.append(seconds)
        if command == direct_module.PING:
            wire.used += 0.2
        return reply

    monkeypatch.setattr(SocketWire, "exchange", slow_ping)
    assert server._wire is not None
    server._wire.used -= 10
    assert sessions.update_session_metadata(ID, {"n": 1})
    assert limits[0] <= 0.25
    assert limits[1] <= 0.8


def test_a_server_that_became_a_replica(sessions: SyncSessionManager, own_server: RedisServer) -> None:
    """Refuses changes, with the error of an event loop, and may have another connection."""
    server = opened(sessions)
    own_server.command("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(StorageError) as failure:
        sessions.update_session_metadata(ID, {"n": 1})
    assert isinstance(failure.value.__cause__, ReadOnlyError)
    assert server._wire is None
    own_server.command("REPLICAOF", "NO", "ONE")
    assert sessions.update_session_metadata(ID, {"n": 1})


def test_a_value_too_large_for_a_shared_connection(sessions: SyncSessionManager) -> None:
    """Goes by the event loop, which has a lane for it; one over the bound is refused."""
    server = opened(sessions)
    written = server.written
    assert sessions.update_session_metadata(ID, {"large": "x" * (LARGE + 1)})
    assert server.written == written
    assert len(seen(sessions)["large"]) == LARGE + 1


@pytest.mark.filterwarnings("ignore:coroutine '.*' was never awaited")  # the exception came before it began
@pytest.mark.parametrize("call", ["increment", "read"])
def test_an_exception_at_every_step(sessions: SyncSessionManager, call: str) -> None:
    """Ends the call. The next one gets the answer to its own question, and a change is made at most once."""
    calls: dict[str, Callable[[], Any]] = {
        "increment": lambda: sessions.increment_session_metadata(ID, "n"),
        "read": lambda: sessions.open_session("unknown"),
    }
    server = opened(sessions)
    before = 0
    for interruption in interruptions():
        with interruption:
            calls[call]()
        assert asyncio.events._get_running_loop() is None
        assert not server._turn.locked()
        now = seen(sessions).get("n", 0)
        assert before <= now <= before + 1
        before = now
        opened(sessions)
    gc.collect()  # here, where the warning of what has not begun is expected


def test_an_interrupted_caller(sessions: SyncSessionManager, own_server: RedisServer) -> None:
    """Is free at once; the late reply reaches nobody."""
    server = opened(sessions)
    keyboard_interrupt(lambda: sessions.get_session_info(ID), server._turn.locked, own_server)
    assert server._wire is None
    assert asyncio.run(asyncio.sleep(0, "free")) == "free"
    assert seen(sessions) == DATA


def test_a_signal_handler_with_an_event_loop(sessions: SyncSessionManager, own_server: RedisServer) -> None:
    """May run it while a call waits, and may make calls."""
    server = opened(sessions)
    results: list[Any] = []

    def handle(*_: object) -> None:
        own_server.resume()
        results.append(asyncio.run(asyncio.sleep(0, "free")))
        results.append(sessions.validate_session("unknown"))

    def interrupt() -> None:
        wait_until(lambda: server._wire is not None and server._wire._is_amiss)  # it waits for a reply
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handle)
    thread = threading.Thread(target=interrupt)
    own_server.pause()
    try:
        thread.start()
        assert seen(sessions) == DATA
    finally:
        own_server.resume()
        thread.join()
        signal.signal(signal.SIGUSR1, before)
    assert results == ["free", False]


@pytest.mark.parametrize("step", ["acquire", "_set_running_loop"])
def test_an_exception_when_a_step_is_done(sessions: SyncSessionManager, step: str) -> None:
    """Leaves no running loop, and lets the next call in: a handler may raise when a function of C has returned."""
    server, numbers = opened(sessions), sessions.session_factory.stats()
    run_of_direct = Direct.run.__code__

    def raise_at_the_end(frame: FrameType, event: str, called: Any) -> None:
        is_it = event == "c_return" and called.__name__ == step and frame.f_code is run_of_direct
        if is_it and asyncio.events._get_running_loop() is None:
            raise KeyboardInterrupt

    sys.setprofile(raise_at_the_end)
    try:
        with pytest.raises(KeyboardInterrupt):
            sessions.validate_session(ID)
    finally:
        sys.setprofile(None)
    assert asyncio.events._get_running_loop() is None
    assert not opened(sessions)._turn.locked()
    assert (server_of(sessions) is server) == (step != "acquire")
    assert sessions.session_factory.stats()["keys_per_script"] == numbers["keys_per_script"]


def test_many_threads(sessions: SyncSessionManager) -> None:
    """Each gets its own answers, over the one connection or in the loop."""
    ids = [sessions.allocate_session(custom_metadata={"of": number}) for number in range(8)]
    server = opened(sessions)
    written = server.written

    def work(number: int) -> int:
        for _ in range(50):
            assert seen(sessions, ids[number])["of"] == number
            sessions.increment_session_metadata(ids[number], "n")
        return int(seen(sessions, ids[number])["n"])

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [50] * 8
    assert server.written > written


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("has_hooks", [True, False])
def test_a_fork(sessions: SyncSessionManager, has_hooks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child makes a connection of its own; without the hooks of Python the process id tells."""
    server = opened(sessions)
    if not has_hooks:
        monkeypatch.setattr(server, "pid", -1)
        assert opened(sessions) is not server
        return
    child = os.fork()
    if child == 0:
        code = 1
        try:
            for _ in range(50):
                assert seen(sessions) == DATA
            code = 0 if opened(sessions) is not server else 2
        finally:
            os._exit(code)
    for _ in range(50):
        assert sessions.open_session("unknown") is None
    assert os.waitpid(child, 0)[1] == 0
    assert opened(sessions) is server


def test_the_numbers(sessions: SyncSessionManager, own_server: RedisServer) -> None:
    """Count these commands too."""
    server = opened(sessions)
    factory = sessions.session_factory
    before, of_server = factory.stats(), factory.server_stats()
    for _ in range(5):
        sessions.validate_session(ID)
    (name,) = of_server
    now = factory.server_stats()[name]
    assert (now.state, now.commands - of_server[name].commands, now.scripts - of_server[name].scripts) == ("up", 5, 5)
    assert set(factory.stats()) == set(before)
    assert factory.stats()["in_flight"] == 0
    assert repr(server) == f"<Direct {own_server.host}:{own_server.port} open>"


def test_a_client_that_is_gone(own_server: RedisServer) -> None:
    """Closes its connection."""
    factory = redis.RedisFactory(Client(f"{own_server.url}?client_name=gone"))
    sessions = SyncSessionManager(SessionManager("box", factory, strict=True))
    opened(sessions)
    loop_thread._close_at_exit()
    wait_until(lambda: str(own_server.command("CLIENT", "LIST")).count("name=gone") == 1)
    del factory, sessions
    gc.collect()
    wait_until(lambda: "name=gone" not in str(own_server.command("CLIENT", "LIST")))


@pytest.mark.parametrize(
    "options",
    [{"timings": True}, {"credentials": lambda: ("default", "")}],
)
def test_what_is_left_to_the_event_loop(own_server: RedisServer, options: dict[str, Any]) -> None:
    """Measured round trips, logins that change; TLS, Sentinels and a cluster; metrics; a shorter time; a loop here."""
    factory = redis.factory(own_server.url, **options)
    assert direct_of(factory._client) is None


@pytest.mark.parametrize("url", ["rediss://h", "redis://h?cluster=true", "redis+sentinel://h:1/master"])
def test_urls_that_are_left_to_the_event_loop(url: str) -> None:
    """TLS, a cluster, Sentinels."""
    assert direct_of(redis.factory(url)._client) is None


GREEN_SOCKETS = """
import gevent.monkey
gevent.monkey.patch_all(thread=False)
import sys
from chuk_sessions import SessionManager
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.direct import direct_of
from chuk_sessions.web.blocking import SyncSessionManager
sessions = SyncSessionManager(SessionManager("box", redis.factory(sys.argv[1]), strict=True))
assert not sessions.validate_session("unknown")
assert direct_of(sessions.session_factory._client) is None
"""


def test_sockets_of_gevent_are_left_to_the_event_loop(own_server: RedisServer) -> None:
    """They can be used only in the thread that made them, as where threads are real and sockets are not."""
    pytest.importorskip("gevent", reason="its sockets are tested")
    subprocess.run([sys.executable, "-c", GREEN_SOCKETS, own_server.url], check=True, timeout=60)


async def test_calls_that_are_left_to_the_event_loop(sessions: SyncSessionManager, own_server: RedisServer) -> None:
    """In a thread with a running loop; with metrics; with a time that is too short."""
    server = await asyncio.to_thread(opened, sessions)
    written = server.written
    assert seen(sessions) == DATA
    manager = SessionManager("box", redis.factory(client_of(sessions)._url), strict=True)
    metered = SessionManager("box", manager.session_factory, strict=True, metrics=SessionMetrics())
    for each in (SyncSessionManager(metered), SyncSessionManager(sessions.manager, timeout=1)):
        assert await asyncio.to_thread(seen, each) == DATA
    assert server.written == written
    assert await asyncio.to_thread(seen, sessions) == DATA
    assert server.written == written + 1


def test_a_manager_with_methods_of_its_own(sessions: SyncSessionManager) -> None:
    """May await anything in them."""

    class Audited(SessionManager):
        async def validate_session(self, session_id: str) -> bool:
            await asyncio.sleep(0)
            return await super().validate_session(session_id)

    audited = SyncSessionManager(Audited("box", sessions.session_factory, strict=True))
    opened(sessions)
    assert audited.validate_session(ID)


def test_a_coroutine_that_waits(sessions: SyncSessionManager) -> None:
    """Is refused, as nobody would wake it."""
    opened(sessions)

    async def wait() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="waits for something else"):
        run_commands(sessions.manager, wait())
    assert seen(sessions) == DATA
    assert run(asyncio.sleep(0, "free")) == "free"


def test_a_call_that_never_began(sessions: SyncSessionManager) -> None:
    """Does not keep the next one from opening the connection."""
    server = server_of(sessions)

    def refuse(call: Coroutine[Any, Any, Any]) -> Any:
        call.close()
        raise StorageError("too many open files")

    with pytest.raises(StorageError):
        server.run(sessions.manager.validate_session(ID), refuse)
    assert opened(sessions) is server


def test_a_server_that_takes_no_more_clients(sessions: SyncSessionManager, own_server: RedisServer) -> None:
    """The calls go on in the loop, and the attempts become rare."""
    assert sessions.validate_session(ID)
    server = server_of(sessions)
    wait_until(lambda: not server._is_opening)
    server._drop()
    own_server.command("CONFIG", "SET", "maxclients", "1")
    server._pause, server._next_attempt = 100.0, 0.0
    assert sessions.validate_session(ID)
    wait_until(lambda: not server._is_opening)
    assert server._wire is None
    assert server._pause == direct_module.MAX_PAUSE
    assert sessions.validate_session(ID)
    assert not server._is_opening


def test_too_many_open_files(own_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls go on in the loop, and no connection is left over."""

    def fail(*_: object) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    sessions = blocking(f"{own_server.url}?client_name=files")
    monkeypatch.setattr(socket, "fromfd", fail)
    assert not sessions.validate_session(ID)
    server = server_of(sessions)
    wait_until(lambda: server._next_attempt > 0)
    wait_until(lambda: str(own_server.command("CLIENT", "LIST")).count("name=files") == 1)
    assert server._wire is None
    assert not sessions.validate_session(ID)


def test_unknown_outcomes_are_told_as_such(sessions: SyncSessionManager, own_server: RedisServer) -> None:
    """A connection that is lost after a change was sent."""
    opened(sessions)
    own_server.pause()

    def kill() -> None:
        wait_until(server_of(sessions)._turn.locked)
        own_server.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(StorageError) as failure:
        sessions.update_session_metadata(ID, {"n": 1})
    thread.join()
    assert isinstance(failure.value.__cause__, OutcomeUnknown)
