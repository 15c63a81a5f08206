"""Each reply in turn of a call of several steps has a shape that is none of its command: an error of the storage."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import hiredis
import pytest

from chuk_sessions import ProviderError, SessionError, SessionManager
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.client import Client
from tests.support import published
from tests.support.peer import peer
from tests.support.places import texts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.support.servers import Server

pytestmark = [pytest.mark.redis, pytest.mark.slow]
REPLIES = {
    "an integer": b":7\r\n",
    "a text": b"$3\r\nabc\r\n",
    "nothing": b"$-1\r\n",
    "an empty list": b"*0\r\n",
    "a list of an integer": b"*1\r\n:1\r\n",
    "lists": b"*2\r\n$1\r\n7\r\n*1\r\n$1\r\nx\r\n",
}
MOST = 30  # steps


async def all_of(pages: AsyncIterator[Any]) -> None:
    async for _ in pages:
        pass


Calls = dict[str, "Callable[[SessionManager], Awaitable[Any]]"]
CALLS: Calls = {
    "allocate": lambda manager: manager.allocate_session(user_id="alice"),
    "allocate a chosen id": lambda manager: manager.allocate_session("new", "alice"),
    "allocate an alias": lambda manager: manager.allocate_session("alias", "alice"),
    "validate": lambda manager: manager.validate_session("alias"),
    "open": lambda manager: manager.open_session("alias", owner="alice"),
    "info": lambda manager: manager.get_session_info("alias"),
    "update": lambda manager: manager.update_session_metadata("alias", {"a": 1}, remove=["b"]),
    "count": lambda manager: manager.increment_session_metadata("alias", "n"),
    "extend": lambda manager: manager.extend_session_ttl("id", 1),
    "set a later deadline": lambda manager: manager.set_session_ttl("id", 50),
    "set an earlier deadline": lambda manager: manager.set_session_ttl("id", 0.5),
    "renew": lambda manager: manager.renew_session("id"),
    "renew an alias": lambda manager: manager.renew_session("alias", 60, custom_metadata={"a": 1}),
    "give to a user": lambda manager: manager.renew_session("nobody", user_id="alice"),
    "give with a grace": lambda manager: manager.renew_session("nobody", 60, user_id="alice", custom_metadata={"a": 1}),
    "give to its user": lambda manager: manager.renew_session("alias", 60, user_id="alice"),
    "delete": lambda manager: manager.delete_session("id"),
    "delete an alias": lambda manager: manager.delete_session("alias"),
    "list": lambda manager: manager.list_user_sessions("alice"),
    "list by pages": lambda manager: all_of(manager.iter_user_sessions("alice", batch=2)),
    "end": lambda manager: manager.delete_user_sessions("alice", keep="id"),
    "end thoroughly": lambda manager: manager.delete_user_sessions("alice", thorough=True),
    "all": lambda manager: all_of(manager.iter_sessions()),
    "how many": lambda manager: manager.count_sessions(),
}
LEGACY: Calls = {
    "take over": lambda manager: manager.validate_session("old"),
    "take over and open": lambda manager: manager.open_session("old"),
    "take over and renew": lambda manager: manager.renew_session("old", 60, user_id="alice"),
    "take over and set a deadline": lambda manager: manager.set_session_ttl("old", 1),
    "delete": lambda manager: manager.delete_session("old"),
    "delete ours": lambda manager: manager.delete_session("id"),
    "allocate": lambda manager: manager.allocate_session("old", "alice"),
    "end": lambda manager: manager.delete_user_sessions("alice"),
}


def twice(call: Callable[[SessionManager], Awaitable[Any]]) -> Callable[[SessionManager], Awaitable[Any]]:
    async def both(manager: SessionManager) -> None:
        await call(manager)
        await call(manager)

    return both


# With a touch interval the second call is a plain read.
PLAIN: Calls = {
    "validate": twice(lambda manager: manager.validate_session("id")),
    "validate an alias": twice(CALLS["validate"]),
    "open": twice(lambda manager: manager.open_session("id", owner="alice")),
    "open an alias": twice(CALLS["open"]),
}


class Relay:
    """Answers what a server answers, but for one command that is not PING."""

    def __init__(self, server: Server, at: int, reply: bytes) -> None:
        self._socket = socket.create_connection((server.host, server.port))
        self._reader = hiredis.Reader()
        self._at = at
        self._reply = reply
        self.commands = 0

    def close(self) -> None:
        self._socket.close()

    def __call__(self, data: bytes) -> bytes:
        self._reader.feed(data)
        answers = []
        while (command := self._reader.gets()) is not False:
            answer = self._ask(hiredis.pack_command(tuple(command)))
            if command[0].upper() != b"PING":
                self.commands += 1
                if self.commands == self._at:
                    answer = self._reply
            answers.append(answer)
        return b"".join(answers)

    def _ask(self, command: bytes) -> bytes:
        self._socket.sendall(command)
        reader, answer = hiredis.Reader(), b""
        while True:
            data = self._socket.recv(1 << 16)
            answer += data
            reader.feed(data)
            if reader.gets() is not False:
                return answer


async def prepare(server: Server, url: str) -> list[tuple[str, ...]]:
    """Three sessions, and one as published versions store it; the commands that put them back."""
    manager = SessionManager("box", redis.factory(url), strict=True)
    await manager.allocate_sessions(
        [
            {"session_id": "id", "user_id": "alice"},
            {"session_id": "alias", "user_id": "alice"},
            {"session_id": "nobody"},
        ]
    )
    await manager.renew_session("alias", 60)
    published.put(server, "old", user_id=None)
    lives = [(key, str(max(0, int(str(server.command("PTTL", key)))))) for key in texts(server, "KEYS", "*")]
    return [("FLUSHALL",), *(("RESTORE", key, left, str(server.command("DUMP", key))) for key, left in lives)]


async def outcome_of(
    call: Callable[[SessionManager], Awaitable[Any]], relay: Relay, touch_interval: float
) -> Exception | None:
    """What it raised that is no error of the storage."""
    async with peer(relay) as address:
        url = f"redis://{address}?socket_timeout=2"
        manager = SessionManager(
            "box", redis.factory(url), strict=True, max_sessions_per_user=2, touch_interval=touch_interval
        )
        try:
            async with asyncio.timeout(60):  # only what hangs takes so long
                await call(manager)
        except (SessionError, ProviderError):
            return None
        except Exception as exc:
            return exc
    return None


async def try_all(server: Server, url: str, calls: Calls, name: str, touch_interval: float = 0) -> None:
    wrong = []
    put_back = await prepare(server, url)
    for what, call in calls.items():
        for at in range(1, MOST):
            server.commands(*put_back)
            relay = Relay(server, at, REPLIES[name])
            error = await outcome_of(call, relay, touch_interval)
            relay.close()
            if error is not None:
                wrong.append((what, at, repr(error)))
            if relay.commands < at:
                break
        else:
            wrong.append((what, MOST, "has more steps"))
    assert wrong == []


@pytest.mark.parametrize("name", REPLIES)
async def test_every_call(redis_server: Server, redis_url: str, name: str) -> None:
    await try_all(redis_server, redis_url, CALLS, name)


@pytest.mark.parametrize("name", REPLIES)
async def test_plain_reads(redis_server: Server, redis_url: str, name: str) -> None:
    await try_all(redis_server, redis_url, PLAIN, name, touch_interval=60)


@pytest.mark.usefixtures("legacy_read")
@pytest.mark.parametrize("name", REPLIES)
async def test_every_call_that_reads_published_sessions(redis_server: Server, redis_url: str, name: str) -> None:
    await try_all(redis_server, redis_url, LEGACY, name)


@pytest.mark.usefixtures("legacy_read")
@pytest.mark.parametrize("name", REPLIES)
async def test_every_call_whose_keys_are_apart(
    redis_server: Server, redis_url: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """As in a cluster."""
    monkeypatch.setattr(Client, "is_together", lambda *_: False)
    calls = LEGACY | {what: call for what, call in CALLS.items() if what.startswith("give")}
    await try_all(redis_server, redis_url, calls, name)
