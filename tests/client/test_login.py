"""Logins that are renewed while the connection goes on, at a server that closes a connection whose token has expired.

The server and the provider of tokens are of this process, and so is the time: see `tests.support.warp`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, cast

import pytest

from chuk_sessions.providers.redis import Login
from chuk_sessions.redis_client import commands, node
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.node import Node
from chuk_sessions.redis_client.renewal import BEGIN, Renewal
from tests.support.peer import peer
from tests.support.tokens import HOUR, LIFETIME, USER, IdentityProvider, TokenServer, now, traffic
from tests.support.warp import WarpLoop, until, warped

if TYPE_CHECKING:
    from collections.abc import Iterator


def node_of(client: Client) -> Node:
    return cast(Node, client.deployment())


def renewal_of(client: Client) -> Renewal | None:
    return node_of(client)._link._renewal


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.fixture(autouse=True)
def no_secret_is_told(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No line of the log has a token."""
    caplog.set_level(logging.DEBUG)
    yield
    assert "hunter" not in caplog.text


@pytest.mark.slow
@warped
async def test_an_hour_of_tokens_that_expire_and_no_call_fails(caplog: pytest.LogCaptureFixture) -> None:
    """A hundred renewals and more, at fifty callers of whom some always wait for a reply, over one connection."""
    async with TokenServer(IdentityProvider(LIFETIME), latency=1.0) as server:
        client = server.client()
        outcomes = await traffic(server, client, HOUR)
        assert set(outcomes) == {"counted"}
        assert outcomes["counted"] > 8_000
        assert client.stats()["login_renewals"] >= 100
        assert (server.cuts, len(server.links), client.stats()["reconnects"]) == (0, 1, 0)
    assert lines(caplog) == []


@warped
async def test_without_renewals_the_server_cuts_and_replies_are_lost() -> None:
    """The measure itself: the same token as a pair, which no client can renew in time."""
    async with TokenServer(IdentityProvider(LIFETIME), latency=1.0) as server:
        client = server.client(lambda: (USER, server.provider.token()))
        outcomes = await traffic(server, client, HOUR / 10)
        assert outcomes["OutcomeUnknown"]
        assert server.cuts >= 9
        assert client.stats()["login_renewals"] == 0


@warped
async def test_when_the_function_is_asked() -> None:
    """After 0.8 of the time, less up to a tenth of that; and the time counts from its last answer."""
    async with TokenServer(IdentityProvider(HOUR)) as server:
        client = server.client()
        await client.call(b"PING")
        for asked in range(1, 20):
            before = now()
            await until(lambda: server.provider.asked > asked, 5)  # noqa: B023
            assert BEGIN * 0.9 * HOUR - 10 <= now() - before <= BEGIN * HOUR + 10
            await asyncio.sleep(1)
        assert server.auths == 20


@pytest.mark.parametrize("renew_in", [0, -240.0])
@warped
async def test_a_login_that_should_have_been_renewed_already_has_a_second(renew_in: float) -> None:
    provider = IdentityProvider(HOUR)

    async def late() -> Login:
        return Login(USER, provider.token(), renew_in)

    async with TokenServer(provider) as server:
        client = server.client(late)
        await client.call(b"PING")
        await asyncio.sleep(60)
        assert 60 < client.stats()["login_renewals"] < 90
        assert client.stats()["reconnects"] == 0


@pytest.mark.parametrize("answer", [None, "pair", "password"])
@warped
async def test_a_login_without_an_end_is_never_renewed(answer: str | None) -> None:
    """Neither from the beginning, nor if it comes after one that ended."""
    provider = IdentityProvider(1000 * HOUR)

    async def endless() -> Any:
        token = provider.token()
        return {"pair": (USER, token), "password": token}.get(answer or "", Login(USER, token))

    async with TokenServer(provider) as server:
        client = server.client(endless)
        await client.call(b"PING")
        assert renewal_of(client) is None
        await asyncio.sleep(10 * HOUR)
        assert server.auths == 1
        provider.lifetime = HOUR
        client = server.client()
        await client.call(b"PING")
        provider.instead, provider.lifetime = endless, 1000 * HOUR
        await asyncio.sleep(10 * HOUR)
        assert (server.auths, client.stats()["login_renewals"], server.cuts) == (3, 1, 0)


@warped
async def test_one_timer_for_a_connection() -> None:
    """Between renewals, and while the function is asked; none is left when the client is closed."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, WarpLoop)

    def timers() -> list[Any]:
        scheduled: list[Any] = loop._scheduled  # type: ignore[attr-defined]
        of_renewals = [each for each in scheduled if isinstance(getattr(each._callback, "__self__", None), Renewal)]
        return [each for each in of_renewals if not each.cancelled()]

    provider = IdentityProvider(HOUR)

    async def slow() -> Login:
        await asyncio.sleep(200)
        return Login(USER, provider.token(), HOUR)

    async with TokenServer(provider) as server:
        client = server.client(slow, "&socket_connect_timeout=300&socket_timeout=300")
        assert timers() == []
        await client.call(b"PING")
        for _ in range(2 * 60):
            await asyncio.sleep(60)
            assert len(timers()) == 1
        assert server.auths == 3
        await client.deployment().close()
        assert timers() == []


@warped
async def test_what_a_renewal_costs() -> None:
    """One AUTH in one write, and nothing else: no command of a connection that is not used."""
    async with TokenServer(IdentityProvider(HOUR)) as server:
        client = server.client(options="&heartbeat=0")
        await client.call(b"ECHO", "x")
        writes = node_of(client).writes
        await asyncio.sleep(10 * HOUR)
        renewals = client.stats()["login_renewals"]
        assert renewals >= 12
        assert server.heard == {b"AUTH": 1 + renewals, b"PING": 1, b"ECHO": 1}
        assert node_of(client).writes == writes + renewals


@warped
async def test_the_connection_of_large_values_renews_its_login_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both connections are kept, though each outlives its token many times. Values are large from a kilobyte on."""
    for module in (commands, node):
        monkeypatch.setattr(module, "LARGE", 1000)
    async with TokenServer(IdentityProvider(LIFETIME), latency=0.5) as server:
        client = server.client()
        value = b"x" * 2000
        end = now() + 4 * LIFETIME

        async def echo() -> None:
            while now() < end:
                assert await client.call(b"ECHO", value) == value

        await asyncio.gather(*(echo() for _ in range(3)))
        assert (len(server.links), server.cuts, client.stats()["reconnects"]) == (2, 0, 0)
        assert client.stats()["login_renewals"] >= node_of(client)._link.login_renewals + 4


# -- meanwhile -------------------------------------------------------------------------------------------------


@warped
async def test_callers_that_give_up_while_the_login_is_renewed() -> None:
    """The replies of the others are theirs."""
    async with TokenServer(IdentityProvider(LIFETIME), latency=1.0) as server:
        client = server.client()
        await client.call(b"PING")
        for number in range(300):
            calls = [client.call(b"ECHO", f"{number}-{each}") for each in range(10)]
            await asyncio.sleep(0.3 * (number % 4))
            for call in calls[::2]:
                call.cancel()
            assert await asyncio.gather(*calls[1::2]) == [f"{number}-{each}".encode() for each in range(1, 10, 2)]
        assert client.stats()["login_renewals"] > 5
        assert (server.cuts, len(server.links)) == (0, 1)


@pytest.mark.parametrize("waiting_for", ["the function", "the server"])
@warped
async def test_a_client_that_is_closed_while_the_login_is_renewed(waiting_for: str) -> None:
    """Neither the function nor a task goes on."""
    provider, cancelled = IdentityProvider(HOUR), asyncio.Event()

    async def never() -> object:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1)  # to clear up
            cancelled.set()
        return ""

    async with TokenServer(provider, latency=1.5) as server:
        client = server.client()
        await client.call(b"PING")
        if waiting_for == "the function":
            provider.instead = never
            await until(lambda: provider.asked > 1)
            await asyncio.sleep(1)
        else:
            await until(lambda: server.auths > 1)
        await client.deployment().close()
        assert cancelled.is_set() == (waiting_for == "the function")
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert "closed" in repr(client)
        await asyncio.sleep(2 * HOUR)
        assert server.auths == 1 + (waiting_for == "the server")


@warped
async def test_a_connection_that_is_lost_while_the_function_is_asked() -> None:
    """The next connection has a login of its own, and the old answer is not used."""
    provider = IdentityProvider(HOUR)

    async def slow() -> object:
        await asyncio.sleep(4)
        return "hunter2"

    async with TokenServer(provider) as server:
        client = server.client()
        await client.call(b"PING")
        provider.instead = slow
        await until(lambda: provider.asked > 1)
        provider.instead = None
        server.links[0].transport.abort()
        await asyncio.sleep(60)
        assert (server.auths, provider.asked, client.stats()["reconnects"]) == (2, 3, 1)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await asyncio.sleep(10 * HOUR)
        assert server.cuts == 0
        assert client.stats()["login_renewals"] >= 12


@warped
async def test_a_server_that_does_not_answer_the_renewal() -> None:
    """The flow was forgotten on the way: the connection is replaced before any call has to wait for that."""
    async with TokenServer(IdentityProvider(HOUR)) as server:
        client = server.client(options="&heartbeat=0")
        await client.call(b"PING")
        server.links[0].deaf = True
        await asyncio.sleep(0.9 * HOUR)
        assert client.stats()["reconnects"] == 1
        assert client.stats()["in_flight"] == 0
        before = now()
        assert await client.call(b"ECHO", "x") == b"x"
        assert now() - before < 0.1


@warped
async def test_sentinels_get_nothing() -> None:
    """They are asked for the master, and hear no login."""
    heard = bytearray()
    async with TokenServer(IdentityProvider(HOUR)) as server:
        master = server.url.removeprefix("redis://").split(":")
        named = "*2\r\n" + "".join(f"${len(part)}\r\n{part}\r\n" for part in master)

        def answer(data: bytes) -> bytes:
            heard.extend(data)
            return b"+PONG\r\n" if b"PING" in data else named.encode()

        async with peer(answer) as sentinel:
            client = server.client(url=f"redis://{sentinel}/mymaster")
            for _ in range(3):
                await client.call(b"PING")
                server.links[-1].transport.abort()
                await asyncio.sleep(3 * HOUR)
            assert client.stats()["login_renewals"] >= 9
            assert client.stats()["reconnects"] == 3
            await client.deployment().close()
        assert heard.count(b"mymaster") == 4
        assert b"AUTH" not in heard
        assert b"hunter" not in heard


# -- secrets ---------------------------------------------------------------------------------------------------


@warped
async def test_no_representation_has_a_token() -> None:
    """Of the login, of the client and of all that it is made of, while a login is renewed."""
    assert repr(Login(USER, "hunter2", 60)) == "Login(user='app', renew_in=60)"
    async with TokenServer(IdentityProvider(HOUR), latency=1.5) as server:
        client = server.client()
        await client.call(b"PING")
        await until(lambda: server.auths > 1)
        used = node_of(client)
        tasks = [repr(task) for task in asyncio.all_tasks()]
        assert len(tasks) == 2
        seen = [client, used, used._connection, used._link, renewal_of(client), client.stats(), client._config, *tasks]
        assert "hunter" not in " ".join(map(repr, seen))


def test_equal_logins() -> None:
    assert Login("a", "b") == Login("a", "b", None) != Login("a", "b", 1)
    with pytest.raises(AttributeError):
        Login("a", "b").password = "c"  # type: ignore[misc]
