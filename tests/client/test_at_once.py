"""The calls of a request that are made without a coroutine: each reply, and each fault, as the general way has it."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from types import FrameType
from typing import Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.exceptions import MetadataError, OutcomeUnknown, ReadOnlyError, ServerError, StorageError
from chuk_sessions.models import SessionRecord
from chuk_sessions.providers import memory, redis
from chuk_sessions.providers.redis import at_once
from chuk_sessions.providers.redis.store import RedisSessionStore
from chuk_sessions.redis_client import direct as direct_module
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.commands import LARGE
from chuk_sessions.redis_client.direct import Direct, direct_of
from chuk_sessions.redis_client.watchdog import clock
from chuk_sessions.web import blocking, loop_thread
from chuk_sessions.web.blocking import SyncSessionManager, open_at_once, update_at_once
from tests.support.helpers import wait_until
from tests.support.interruptions import interruptions, keyboard_interrupt
from tests.support.servers import RedisServer

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("no_pause")]

ID, DATA = "session-1", {"user": "alice", "cart": [1, 2]}


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost connection is replaced with the next call."""
    monkeypatch.setattr(direct_module, "PAUSE", 0.0)


def key_of(server: RedisServer) -> str:
    """The key of the session."""
    keys: Any = server.command("KEYS", "session:*")
    (key,) = map(str, keys)
    return key


def made(server: RedisServer, **options: Any) -> SessionManager:
    """A manager with a session, on a server of its own."""
    url = f"{server.url}?socket_timeout=1&reconnect_grace=0.1"
    manager = SessionManager("box", redis.factory(url), strict=True, **options)
    SyncSessionManager(manager).allocate_session(ID, user_id="alice", custom_metadata=DATA)
    return manager


@pytest.fixture
def manager(own_server: RedisServer) -> SessionManager:
    return made(own_server)


def opened(manager: SessionManager) -> Direct:
    """What serves the calls, once it has its connection, and knows the time on the server."""
    server = direct_of(manager.session_factory._client)
    assert server is not None

    def is_open() -> bool:
        assert open_at_once(manager, ID) is not None
        return server._wire is not None

    wait_until(is_open)
    assert open_at_once(manager, ID) is not None
    return server


def seen(manager: SessionManager, session_id: str = ID) -> Any:
    found = open_at_once(manager, session_id)
    return None if found is None else found.metadata


def no_coroutines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that takes a coroutine, or the event loop, fails."""
    for owner, name in ((Direct, "run"), (loop_thread, "_start"), (loop_thread, "_current")):
        monkeypatch.setattr(owner, name, None)


def times_of(record: SessionRecord | None) -> Any:
    assert record is not None
    return replace(record, accessed=0.0)


@pytest.mark.parametrize("interval", [0, 60])
def test_the_usual_case(own_server: RedisServer, interval: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes one command and no coroutine, and finds what the general way finds."""
    manager = made(own_server, touch_interval=interval)
    server, general = opened(manager), SyncSessionManager(manager)
    expected = times_of(general._commands(manager._open_record(ID)))
    numbers = server.servers()
    assert update_at_once(manager, ID, DATA)  # the server may lack the script
    written = server.written
    with monkeypatch.context() as patch:
        no_coroutines(patch)
        assert times_of(open_at_once(manager, ID)) == expected
        assert update_at_once(manager, ID, {"n": 1, "cart": [3], "é": None})
        assert not update_at_once(manager, "unknown", {"n": 1})
    assert server.written == written + 3
    (now,), (before,) = server.servers().values(), numbers.values()
    assert now.scripts - before.scripts == (0 if interval else 1)
    assert seen(manager) == DATA | {"n": 1, "cart": [3], "é": None}
    assert open_at_once(manager, "unknown") is None
    assert general.get_session_info(ID) is not None


@pytest.mark.parametrize("interval", [0, 60])
def test_an_alias(own_server: RedisServer, interval: float) -> None:
    """Is followed: one command more, for both calls; the record has the id that is valid now."""
    manager = made(own_server, touch_interval=interval)
    new = SyncSessionManager(manager).renew_session(ID, grace_seconds=60)
    assert new is not None
    server = opened(manager)
    assert update_at_once(manager, ID, {"n": 0})  # the server may lack the scripts
    written = server.written
    found = open_at_once(manager, ID)
    assert found is not None
    assert (found.current_id, found.metadata) == (new, DATA | {"n": 0})
    assert server.written == written + 2
    assert update_at_once(manager, ID, {"n": 1})
    assert server.written == written + 4
    assert seen(manager, new) == DATA | {"n": 1}


def test_a_session_that_is_due(own_server: RedisServer) -> None:
    """Is touched by a script after the plain read, and not again within the interval."""
    manager = made(own_server, touch_interval=60)
    server = opened(manager)
    key = key_of(own_server)
    before = int(str(own_server.command("HGET", key, "accessed")))
    own_server.command("HSET", key, "accessed", str(before - 61_000_000))
    written = server.written
    assert seen(manager) == DATA
    assert server.written == written + 2
    assert int(str(own_server.command("HGET", key, "accessed"))) >= before
    assert seen(manager) == DATA
    assert server.written == written + 3


def test_an_idle_session(own_server: RedisServer) -> None:
    """The script replies in another form, and the session lives on."""
    manager = made(own_server, idle_ttl_minutes=1)
    opened(manager)
    found = open_at_once(manager, ID)
    assert found is not None
    assert (found.metadata, found.idle) == (DATA, 60)
    assert update_at_once(manager, ID, {"n": 1})
    assert seen(manager) == DATA | {"n": 1}


@pytest.mark.parametrize("interval", [0, 60])
@pytest.mark.parametrize(
    "command", [("SET", "x"), ("HSET", "v", "9", "m:a", "1", "created", "1"), ("HSET", "m:a", "{")]
)
def test_what_cannot_be_read(own_server: RedisServer, interval: float, command: tuple[str, ...]) -> None:
    """Counts as absent, and is left alone."""
    manager = made(own_server, touch_interval=interval)
    opened(manager)
    key = key_of(own_server)
    if command[0] == "SET":
        own_server.command("DEL", key)
    own_server.command(command[0], key, *command[1:])
    before = own_server.command("DUMP", key) if command[0] == "SET" else None
    assert open_at_once(manager, ID) is None
    if command[-1] != "{":
        assert not update_at_once(manager, ID, {"n": 1})
    assert before is None or own_server.command("DUMP", key) == before


@pytest.mark.parametrize("interval", [0, 60])
def test_a_server_that_was_flushed_of_its_scripts(own_server: RedisServer, interval: float) -> None:
    """Gets the source."""
    manager = made(own_server, touch_interval=interval)
    opened(manager)
    own_server.command("SCRIPT", "FLUSH")
    assert seen(manager) == DATA
    own_server.command("SCRIPT", "FLUSH")
    assert update_at_once(manager, ID, {"n": 1})
    assert seen(manager) == DATA | {"n": 1}


def test_the_rest_of_a_call_has_the_age_of_the_call(
    manager: SessionManager, own_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script that the server lacks does not give the call its whole time once more."""
    ages: list[float] = []
    server = opened(manager)
    own_server.command("SCRIPT", "FLUSH")
    times = iter([0.0])  # when the call began: long ago
    monkeypatch.setattr(at_once, "clock", lambda: next(times, clock()))

    async def update(store: Any, *args: Any, call: Any) -> bool:
        ages.append(server.watchdog.tick - call[1])
        return True

    monkeypatch.setattr(RedisSessionStore, "update", update)
    assert update_at_once(manager, ID, {"n": 1})
    assert ages[0] >= int(clock() * 1000) - 10_000


def test_what_cannot_be_stored(manager: SessionManager) -> None:
    """Is refused before anything is sent."""
    server = opened(manager)
    written = server.written
    with pytest.raises(MetadataError, match="custom_metadata"):
        update_at_once(manager, ID, {"n": 1, "object": object()})
    assert server.written == written


def test_a_large_value_and_removed_keys(manager: SessionManager) -> None:
    """Go the general way."""
    opened(manager)
    assert update_at_once(manager, ID, {"large": "x" * (LARGE + 1)})
    assert update_at_once(manager, ID, {"n": 1}, ["large", "cart"])
    assert seen(manager) == {"user": "alice", "n": 1}


def test_a_connection_in_use(manager: SessionManager) -> None:
    """Is left alone: the call is made in the event loop."""
    server = opened(manager)
    written = server.written
    with server._turn:
        assert update_at_once(manager, ID, {"n": 1})
        assert seen(manager) == DATA | {"n": 1}
    assert server.written == written


async def test_a_thread_with_a_running_loop(manager: SessionManager) -> None:
    """Makes the call in the loop of blocking calls too."""
    server = await asyncio.to_thread(opened, manager)
    written = server.written
    assert update_at_once(manager, ID, {"n": 1})
    assert seen(manager) == DATA | {"n": 1}
    assert server.written == written


def test_a_server_that_dies_and_comes_back(manager: SessionManager, own_server: RedisServer) -> None:
    """Both calls say so, and go on when it is back."""
    opened(manager)
    own_server.kill()
    for _ in range(2):
        with pytest.raises(StorageError, match="could not update"):
            update_at_once(manager, ID, {"n": 1})
        with pytest.raises(StorageError, match="could not open"):
            open_at_once(manager, ID)
    own_server.restart()

    def is_back() -> bool:
        try:
            return open_at_once(manager, ID) is None
        except StorageError:
            return False

    wait_until(is_back)
    assert not update_at_once(manager, ID, {"n": 1})


def test_a_server_that_hangs(manager: SessionManager, own_server: RedisServer) -> None:
    """The outcome of a change is unknown then."""
    server = opened(manager)
    own_server.pause()
    with pytest.raises(StorageError) as failure:
        update_at_once(manager, ID, {"n": 1})
    own_server.resume()
    assert isinstance(failure.value.__cause__, OutcomeUnknown)
    assert server._wire is None
    assert not server._turn.locked()


def test_a_manager_that_gets_another_store_meanwhile(manager: SessionManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends each call on the store where the call has begun."""
    opened(manager)
    factory = manager.session_factory

    def found(client: Client) -> Direct | None:
        manager.session_factory = memory.factory()
        return direct_of(client)

    monkeypatch.setattr(blocking, "_finder", lambda: found)
    assert update_at_once(manager, ID, {"n": 1})
    manager.session_factory = factory
    assert seen(manager) == DATA | {"n": 1}
    assert open_at_once(manager, ID) is None  # in memory


def test_a_timeout_of_a_year(own_server: RedisServer) -> None:
    """Is longer than poll can wait, and does no harm."""
    manager = SessionManager("box", redis.factory(f"{own_server.url}?socket_timeout=31536000"), strict=True)
    SyncSessionManager(manager).allocate_session(ID, user_id="alice", custom_metadata=DATA)
    opened(manager)
    assert update_at_once(manager, ID, {"n": 1})
    assert seen(manager) == DATA | {"n": 1}


def test_an_error_reply_is_not_kept(manager: SessionManager, own_server: RedisServer) -> None:
    """By itself: its traceback has frames that hold the metadata."""
    opened(manager)
    gc.collect()
    gc.disable()
    before = len(server_errors())
    try:
        for call in (lambda: update_at_once(manager, ID, {"n": 1}), lambda: open_at_once(manager, ID)):
            own_server.command("SCRIPT", "FLUSH")
            assert call()
        assert len(server_errors()) == before
    finally:
        gc.enable()


def server_errors() -> list[object]:
    """Those in this process. Proxies of others may answer for their ``__class__``, or fail: their type is asked."""
    return [each for each in gc.get_objects() if issubclass(type(each), ServerError)]


def test_a_server_that_became_a_replica(manager: SessionManager, own_server: RedisServer) -> None:
    """Refuses changes, and may have another connection."""
    server = opened(manager)
    own_server.command("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(StorageError) as failure:
        update_at_once(manager, ID, {"n": 1})
    assert isinstance(failure.value.__cause__, ReadOnlyError)
    assert server._wire is None
    own_server.command("REPLICAOF", "NO", "ONE")


@pytest.mark.filterwarnings("ignore:coroutine '.*' was never awaited")  # the exception came before it began
@pytest.mark.parametrize("call", ["update", "open"])
def test_an_exception_at_every_step(manager: SessionManager, call: str) -> None:
    """Ends the call. The next one gets the answer to its own question, and a change is made whole or not at all."""
    server = opened(manager)
    for number, interruption in enumerate(interruptions()):
        calls: dict[str, Callable[[], Any]] = {
            "update": lambda number=number: update_at_once(manager, ID, {"a": number, "b": number}),  # type: ignore[misc]
            "open": lambda: open_at_once(manager, "unknown"),
        }
        with interruption:
            calls[call]()
        assert asyncio.events._get_running_loop() is None
        assert not server._turn.locked()
        now = seen(manager)
        assert now.get("a") == now.get("b")
        opened(manager)
    gc.collect()  # here, where the warning of what has not begun is expected


def test_an_interrupted_caller(manager: SessionManager, own_server: RedisServer) -> None:
    """Is free at once; the late reply reaches nobody."""
    server = opened(manager)
    keyboard_interrupt(
        lambda: update_at_once(manager, ID, {"n": 1}),
        lambda: server._wire is not None and server._wire._is_amiss,
        own_server,
    )
    assert server._wire is None
    assert open_at_once(manager, "unknown") is None
    assert seen(manager) in (DATA, DATA | {"n": 1})


def test_an_exception_when_the_turn_was_taken(manager: SessionManager) -> None:
    """Lets the next call in, over another connection."""
    server = opened(manager)

    def raise_at_the_end(frame: FrameType, event: str, called: Any) -> None:
        if event == "c_return" and called.__name__ == "acquire" and frame.f_code is Direct.command.__code__:
            raise KeyboardInterrupt

    sys.setprofile(raise_at_the_end)
    try:
        with pytest.raises(KeyboardInterrupt):
            open_at_once(manager, ID)
    finally:
        sys.setprofile(None)
    assert opened(manager) is not server


def test_the_bytes_of_a_change(manager: SessionManager, own_server: RedisServer) -> None:
    """Are those of the general way."""
    opened(manager)
    data = {"text": "é\n", "none": None, "n": 2**70, "nested": {"a": [1.5, float("inf")]}, "key é": True}
    assert update_at_once(manager, ID, data)
    key = key_of(own_server)
    at_once_: Any = own_server.command("HMGET", key, *(f"m:{name}" for name in data))
    assert SyncSessionManager(manager).update_session_metadata(ID, data)
    assert own_server.command("HMGET", key, *(f"m:{name}" for name in data)) == at_once_
    assert json.loads(at_once_[3]) == data["nested"]
