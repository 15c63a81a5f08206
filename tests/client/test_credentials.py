"""Logins that come from a function: asked at each connection, so that a password may change while all goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.exceptions import NotSent, ProviderError
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.client import Client
from tests.support.helpers import eventually
from tests.support.listening import listening
from tests.support.servers import RedisServer

pytestmark = pytest.mark.redis


@pytest.fixture(scope="module")
def closed() -> Iterator[RedisServer]:
    """Asks for a login: the default user's or alice's."""
    with RedisServer(password="default's", users={"alice": "alice's"}) as server:
        yield server


async def asynchronous() -> tuple[str, str]:
    await asyncio.sleep(0)
    return "alice", "alice's"


def coroutine() -> Any:
    return asynchronous()


@pytest.mark.parametrize(
    ("credentials", "user"),
    [
        (lambda: "default's", b"default"),
        (lambda: (None, "default's"), b"default"),
        (lambda: ("default", "default's"), b"default"),
        (lambda: ("alice", "alice's"), b"alice"),
        (asynchronous, b"alice"),
        (coroutine, b"alice"),
    ],
    ids=["password", "no user", "pair", "user", "async", "awaitable"],
)
async def test_what_the_function_may_return(closed: RedisServer, credentials: Callable[[], Any], user: bytes) -> None:
    assert await Client(closed.url_for(), credentials).call(b"ACL", "WHOAMI") == user


@pytest.mark.parametrize(
    "answer", [None, 7, b"default's", ("alice",), ("alice", None), ("alice", "alice's", 1), ["alice"]]
)
async def test_what_it_may_not_return_is_an_error_that_does_not_show_it(closed: RedisServer, answer: Any) -> None:
    with pytest.raises(NotSent, match=r"must return a password or \(user, password\), as str") as caught:
        await Client(closed.url_for(), lambda: answer).call(b"PING")
    assert "alice" not in str(caught.value)


async def test_a_function_that_raises_is_an_error_that_names_the_kind_only(closed: RedisServer) -> None:
    def credentials() -> str:
        raise LookupError("the token hunter2 has expired")

    with pytest.raises(NotSent, match=rf"{closed.port}: the credentials callable raised LookupError") as caught:
        await Client(closed.url_for(), credentials).call(b"PING")
    assert "hunter2" not in str(caught.value)


async def test_a_function_that_raised_is_asked_again(closed: RedisServer) -> None:
    ready = False

    def credentials() -> str:
        if not ready:
            raise LookupError("not yet")
        return "default's"

    client = Client(closed.url_for(), credentials)
    with pytest.raises(NotSent, match="LookupError"):
        await client.call(b"PING")
    ready = True
    await eventually(lambda: " up " in repr(client))
    assert await client.call(b"PING") == b"PONG"


async def test_a_function_that_cancels_itself_has_failed(closed: RedisServer) -> None:
    """As one whose own scope of cancellation ends: the attempts to connect go on."""
    ready = False

    async def credentials() -> str:
        if not ready:
            raise asyncio.CancelledError
        return "default's"

    client = Client(closed.url_for(), credentials)
    with pytest.raises(NotSent, match="the credentials callable was cancelled, though nothing here did it"):
        await client.call(b"PING")
    ready = True
    await eventually(lambda: " up " in repr(client))
    assert await client.call(b"PING") == b"PONG"


async def test_a_function_that_never_returns_is_bounded_by_the_connect_timeout(closed: RedisServer) -> None:
    cancelled = asyncio.Event()

    async def credentials() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return ""

    client = Client(f"{closed.url_for()}?socket_connect_timeout=0.1", credentials)
    with pytest.raises(NotSent, match=r"within 0\.1 s"):
        await client.call(b"PING")
    assert cancelled.is_set()


@pytest.mark.parametrize("answers", [True, False], ids=["answers", "raises"])
async def test_a_function_that_will_not_be_cancelled_does_not_keep_a_client_that_closes(
    closed: RedisServer, answers: bool
) -> None:
    """Whether it answers all the same or raises something else: no connection is used or looked for any more."""
    asked = 0

    async def credentials() -> str:
        nonlocal asked
        asked += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not answers:
                raise LookupError("no token") from None
        return "default's"

    client = Client(closed.url_for(), credentials)
    waiting = asyncio.ensure_future(client.call(b"PING"))
    await eventually(lambda: asked)
    closing = asyncio.create_task(client.deployment().close())
    await eventually(closing.done)
    with pytest.raises(NotSent, match="was given up"):
        await waiting
    assert (asked, "closed" in repr(client)) == (1, True)


async def test_a_password_that_changes_is_used_by_the_next_connection(closed: RedisServer) -> None:
    """The old connection goes on, as the server lets it; when that is cut, the new password is there."""
    closed.command("ACL", "SETUSER", "rotating", "on", ">first", "~*", "+@all")
    password, asked = "first", 0

    def credentials() -> tuple[str, str]:
        nonlocal asked
        asked += 1
        return "rotating", password

    client = Client(closed.url_for(), credentials)
    await client.call(b"PING")
    closed.command("ACL", "SETUSER", "rotating", "resetpass", ">second")
    password = "second"
    assert await client.call(b"ACL", "WHOAMI") == b"rotating"
    assert asked == 1
    closed.command("CLIENT", "KILL", "USER", "rotating")
    await eventually(lambda: client.stats()["reconnects"] == 1)
    assert await client.call(b"ACL", "WHOAMI") == b"rotating"
    assert asked == 2


async def test_a_password_that_is_late_is_waited_for(closed: RedisServer) -> None:
    """The server knows the new one before the function does: attempts go on until it does."""
    closed.command("ACL", "SETUSER", "rotating", "reset", "on", ">first", "~*", "+@all")
    password = "first"
    client = Client(f"{closed.url_for()}?reconnect_grace=10", lambda: ("rotating", password))
    await client.call(b"PING")
    closed.command("ACL", "SETUSER", "rotating", "resetpass", ">second")
    closed.command("CLIENT", "KILL", "USER", "rotating")
    await eventually(lambda: "rotating" in str(closed.command("ACL", "LOG")))  # a refused login
    waiting = asyncio.ensure_future(client.call(b"ACL", "WHOAMI"))
    password = "second"
    assert await waiting == b"rotating"


async def test_a_password_in_the_url_besides_is_an_error(closed: RedisServer) -> None:
    with pytest.raises(ProviderError, match="only one can be used") as caught:
        await Client(closed.url, lambda: "default's").call(b"PING")
    assert "default's" not in str(caught.value)


async def test_factories_take_it_and_share_connections_if_it_is_the_same(closed: RedisServer) -> None:
    manager = SessionManager("box", redis.factory(closed.url_for(), credentials=asynchronous), strict=True)
    assert await manager.validate_session(await manager.allocate_session())
    first = redis.factory(closed.url_for(), credentials=asynchronous)
    assert first.stats() is not None
    same = {id(redis.factory(closed.url_for(), credentials=asynchronous)._client) for _ in range(2)}
    assert same == {id(first._client)}
    assert redis.factory(closed.url_for(), credentials=coroutine)._client is not first._client


async def test_a_connection_that_has_lost_its_login_is_made_anew(closed: RedisServer) -> None:
    """RESET takes the login from a real connection; no command of those behind it fails or is lost."""
    client = Client(closed.url_for("alice", "alice's"))
    await client.call(b"DEL", "n")
    number = await client.call(b"CLIENT", "ID")
    reset, *counts = await asyncio.gather(client.call(b"RESET"), *(client.call(b"INCR", "n") for _ in range(100)))
    assert reset == b"RESET"
    assert counts == list(range(1, 101))
    assert await client.call(b"ACL", "WHOAMI") == b"alice"
    assert await client.call(b"CLIENT", "ID") != number
    assert client.stats()["reconnects"] == 1


async def test_a_lost_login_that_is_not_given_again_is_told_within_the_deadline() -> None:
    """The password has changed meanwhile; the error is the server's about the login."""
    with RedisServer(users={"carol": "old"}) as server:
        client = Client(f"{server.url_for('carol', 'old')}?reconnect_grace=0.2")
        await client.call(b"PING")
        server.command("CONFIG", "SET", "requirepass", "secret")
        server.password = "secret"
        server.command("ACL", "SETUSER", "carol", "resetpass", ">new")
        _, lost = await asyncio.gather(client.call(b"RESET"), client.call(b"PING"), return_exceptions=True)
        assert isinstance(lost, NotSent)
        assert "WRONGPASS" in str(lost)
        server.command("ACL", "SETUSER", "carol", ">old")

        async def is_back() -> bool:
            return (await asyncio.gather(client.call(b"PING"), return_exceptions=True))[0] == b"PONG"

        await eventually(is_back)


async def test_a_server_that_takes_the_login_and_forgets_it_is_not_asked_for_ever() -> None:
    """Callers get its error, after one new connection and not after as many as fit into the deadline."""
    connections = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while line := await reader.readline():
            if line in (b"PING\r\n", b"AUTH\r\n"):
                writer.write(b"+OK\r\n")
            elif line == b"GET\r\n":
                writer.write(b"-NOAUTH Authentication required.\r\n")

    async with listening(answer) as address:
        client = Client(f"redis://:pw@{address}")
        results = await asyncio.gather(*(client.call(b"GET", "k") for _ in range(20)), return_exceptions=True)
        assert {getattr(result, "code", result) for result in results} == {"NOAUTH"}
        assert connections == 2
        await client.deployment().close()
