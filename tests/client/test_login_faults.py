"""Logins that are not renewed in time, as the function or the server does not play along, and logins that are lost.

As in `test_login.py`, the server and the provider of tokens are of this process, and so is the time.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions.exceptions import NotSent
from chuk_sessions.providers.redis import Login
from chuk_sessions.redis_client.renewal import BEGIN, END
from tests.support.tokens import HOUR, LIFETIME, USER, IdentityProvider, TokenServer, traffic
from tests.support.warp import warped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.fixture(autouse=True)
def no_secret_is_told(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No line of the log has a token."""
    caplog.set_level(logging.DEBUG)
    yield
    assert "hunter" not in caplog.text


async def raises() -> object:
    raise LookupError("hunter2 is no token")


async def wrong_type() -> object:
    return {"token": "hunter2"}


async def too_slow() -> object:
    await asyncio.sleep(30)
    return "hunter2"


async def cancelled_by_itself() -> object:
    raise asyncio.CancelledError


async def unknown_to_the_server() -> object:
    return Login(USER, "hunter1000000", 60)


FAULTS = [
    (raises, "the credentials callable raised LookupError"),
    (wrong_type, "the credentials callable must return a password"),
    (too_slow, "the credentials callable did not answer within 5 s"),
    (cancelled_by_itself, "the credentials callable was cancelled"),
    (unknown_to_the_server, "the server refuses it: WRONGPASS"),
]


@pytest.mark.parametrize(("fault", "reason"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
@warped
async def test_a_renewal_that_fails_for_a_while(
    caplog: pytest.LogCaptureFixture, fault: Callable[[], Any], reason: str
) -> None:
    """The connection goes on, the log has one line, and another when it is over."""
    provider = IdentityProvider(HOUR)
    async with TokenServer(provider, latency=1.0) as server:
        client = server.client()
        await client.call(b"PING")
        provider.instead = fault
        await asyncio.sleep(0.7 * HOUR)
        outcomes = await traffic(server, client, (BEGIN - 0.6) * HOUR, callers=5)
        assert provider.asked > 4
        provider.instead = None
        outcomes += await traffic(server, client, 0.2 * HOUR, callers=5)
        assert set(outcomes) == {"counted"}
        assert (server.cuts, len(server.links), client.stats()["reconnects"]) == (0, 1, 0)
        assert client.stats()["login_renewals"] == 1
    first, last = lines(caplog)
    assert f"could not be renewed ({reason}" in first
    assert last.endswith("is renewed")


@pytest.mark.parametrize(("fault", "reason"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
@warped
async def test_a_renewal_that_fails_to_the_end(
    caplog: pytest.LogCaptureFixture, fault: Callable[[], Any], reason: str
) -> None:
    """The connection ends before the server cuts it: no reply is lost, and callers are told that nothing was sent."""
    provider = IdentityProvider(HOUR)
    async with TokenServer(provider, latency=1.0) as server:
        client = server.client()
        await client.call(b"PING")
        provider.instead = fault
        await asyncio.sleep(0.8 * HOUR)
        outcomes = await traffic(server, client, (END - 0.78) * HOUR, callers=10)
        assert server.cuts == 0
        assert outcomes["NotSent"]
        assert not outcomes["OutcomeUnknown"]
        assert server.links[0].transport.is_closing()
        provider.instead = None
        await asyncio.sleep(10)
        assert await client.call(b"ECHO", "back") == b"back"
        assert client.stats()["reconnects"] == 1
    told = [line for line in lines(caplog) if "could not be renewed" in line]
    assert len(told) == 1
    assert reason in told[0]
    assert sum(line.endswith("its login was not renewed in time; reconnecting") for line in lines(caplog)) == 1


@warped
async def test_the_new_connection_takes_over_if_only_renewals_fail(caplog: pytest.LogCaptureFixture) -> None:
    """No call fails, though the server takes no AUTH on a connection that has logged in."""
    provider = IdentityProvider(LIFETIME)
    async with TokenServer(provider, latency=1.0) as server:
        server.refuses_again = True
        client = server.client()
        outcomes = await traffic(server, client, HOUR / 4)
        assert set(outcomes) == {"counted"}
        assert server.cuts == 0
        assert client.stats()["reconnects"] > 20
        assert client.stats()["login_renewals"] == 0


@warped
async def test_a_function_that_will_not_be_cancelled_does_not_keep_the_connection() -> None:
    """It answers when its connection has long been replaced; the answer is not used."""
    provider, woken = IdentityProvider(HOUR), asyncio.Event()

    async def stubborn() -> object:
        while not woken.is_set():
            try:
                await woken.wait()
            except asyncio.CancelledError:
                continue
        return Login(USER, provider.token(), HOUR)

    async with TokenServer(provider, latency=1.0) as server, AsyncExitStack() as stack:
        stack.callback(woken.set)  # also if the test fails, else its loop would never end
        client = server.client()
        await client.call(b"PING")
        provider.instead = stubborn
        await asyncio.sleep(0.9 * HOUR)
        assert provider.asked == 2
        provider.instead = None
        outcomes = await traffic(server, client, 0.2 * HOUR)
        assert set(outcomes) == {"counted"}
        auths = server.auths
        woken.set()
        await asyncio.sleep(10)
        assert (server.cuts, server.auths, client.stats()["reconnects"]) == (0, auths, 1)
        assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("renew_in", [float("nan"), float("inf"), "60", True, Decimal(60)], ids=repr)
@pytest.mark.parametrize("at_first", [True, False])
@warped
async def test_an_end_that_is_no_number_of_seconds(
    caplog: pytest.LogCaptureFixture, renew_in: Any, at_first: bool
) -> None:
    provider = IdentityProvider(HOUR)

    async def odd() -> Login:
        return Login(USER, provider.token(), renew_in)

    async with TokenServer(provider) as server:
        if at_first:
            with pytest.raises(NotSent, match="a Login whose renew_in is no number of seconds") as caught:
                await server.client(odd).call(b"PING")
            assert "hunter" not in str(caught.value)
        else:
            client = server.client()
            await client.call(b"PING")
            provider.instead = odd
            await asyncio.sleep(0.85 * HOUR)
            assert len(lines(caplog)) == 1
            assert await client.call(b"ECHO", "x") == b"x"


@pytest.mark.parametrize("login", [Login(5, "hunter2"), Login("app", b"hunter2"), Login("app", "hunter\ud800")])  # type: ignore[arg-type]
@warped
async def test_parts_that_are_no_text(login: Login) -> None:
    async with TokenServer(IdentityProvider(HOUR)) as server:
        with pytest.raises(NotSent, match="the credentials callable returned") as caught:
            await server.client(lambda: login).call(b"PING")
        assert "hunter" not in str(caught.value)


@warped
async def test_a_server_that_forgets_logins() -> None:
    """It answers NOAUTH to each command of a token that has expired: these are sent again, over the next connection."""
    async with TokenServer(IdentityProvider(LIFETIME), latency=1.0, forgets=True) as server:
        client = server.client(lambda: Login(USER, server.provider.token()))
        outcomes = await traffic(server, client, HOUR / 4)
        assert set(outcomes) == {"counted"}
        assert server.noauths > 20
        assert client.stats()["reconnects"] > 20


@warped
async def test_a_server_that_forgets_a_login_too_early() -> None:
    """Though it was to be renewed later: the next connection has its own end."""
    provider = IdentityProvider(LIFETIME)

    async def confident() -> Login:
        return Login(USER, provider.token(), HOUR)

    async with TokenServer(provider, latency=1.0, forgets=True) as server:
        client = server.client(confident)
        outcomes = await traffic(server, client, HOUR / 4)
        assert set(outcomes) == {"counted"}
        assert server.noauths > 20
        assert client.stats()["reconnects"] > 20


@warped
async def test_a_server_that_forgets_every_login_at_once() -> None:
    """A command is sent once more, and then its caller gets the error."""
    provider = IdentityProvider(0.0001)
    async with TokenServer(provider, latency=1.0, forgets=True) as server:
        provider.lifetime = HOUR
        client = server.client(lambda: Login(USER, provider.token()))
        await client.call(b"PING")
        for link in server.links:
            link.expire()
        server.forgets_at_once = True
        outcomes = await asyncio.gather(*(client.call(b"INCR", "k") for _ in range(20)), return_exceptions=True)
        assert {getattr(outcome, "code", outcome) for outcome in outcomes} == {"NOAUTH"}
        assert len(server.links) == 2
