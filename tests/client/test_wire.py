"""Connections cut anywhere in a reply, and bytes that are no reply: everybody is settled, nobody gets a wrong value."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from chuk_sessions.exceptions import OutcomeUnknown
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.commands import Replay
from tests.support.helpers import eventually
from tests.support.proxy import Proxy
from tests.support.servers import Server

pytestmark = pytest.mark.redis

KEYS = [f"key-{i:03}" for i in range(300)]
REPLY_SIZE = len(b"$7\r\nkey-000\r\n")
GARBAGE = [
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"\0\0\0\0",
    b"$x\r\nabc\r\n",
    b"\x15\x03\x01\0\x02\x02\x28",
    b"*-7\r\n",
]


@pytest.fixture
async def proxy(redis_server: Server) -> AsyncIterator[Proxy]:
    """Before a server where each key holds its own name."""
    redis_server.flush()
    redis_server.command("MSET", *(part for key in KEYS for part in (key, key)))
    async with Proxy(redis_server.host, redis_server.port) as proxy:
        yield proxy


async def read_all(client: Client, replay: Replay = Replay.NEVER) -> list[object]:
    """The value of each key, or the error in its place."""
    return await asyncio.gather(*(client.call(b"GET", key, replay=replay) for key in KEYS), return_exceptions=True)


def names(count: int) -> list[bytes]:
    return [key.encode() for key in KEYS[:count]]


async def test_a_cut_at_any_byte_of_the_replies_gives_nobody_a_wrong_value(proxy: Proxy) -> None:
    """Whose reply came whole has it, to the others the outcome is unknown; then all is as before."""
    client, chance = Client(proxy.url), random.Random(5)
    await client.call(b"PING")
    for number in range(12):
        proxy.passing = chance.randrange(1, REPLY_SIZE * len(KEYS))
        whole = proxy.passing // REPLY_SIZE
        outcomes = await read_all(client)
        assert outcomes[:whole] == names(whole)
        assert {type(outcome) for outcome in outcomes[whole:]} == {OutcomeUnknown}
        proxy.passing = None
        assert await read_all(client) == names(len(KEYS))
        assert client.stats()["reconnects"] == number + 1


async def test_reads_that_may_be_sent_again_all_succeed_after_a_cut(proxy: Proxy) -> None:
    client = Client(proxy.url)
    await client.call(b"PING")
    proxy.passing = REPLY_SIZE * 100 + 5
    reading = asyncio.ensure_future(read_all(client, Replay.READ))
    await eventually(lambda: proxy.passing == 0)
    proxy.passing = None
    assert await reading == names(len(KEYS))


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_garbage_between_replies_ends_the_connection_and_reaches_nobody(proxy: Proxy, garbage: bytes) -> None:
    client = Client(proxy.url)
    number = await client.call(b"CLIENT", "ID")
    proxy.garbage, proxy.passing = garbage, REPLY_SIZE * 100
    outcomes = await read_all(client)
    assert outcomes[:100] == names(100)
    assert {type(outcome) for outcome in outcomes[100:]} == {OutcomeUnknown}
    assert "no reply to a command" in str(outcomes[-1])
    assert await read_all(client) == names(len(KEYS))
    assert await client.call(b"CLIENT", "ID") != number


async def test_garbage_that_comes_unasked_ends_the_connection(proxy: Proxy) -> None:
    """Whether it looks like a reply or not: who asks next must not get it."""
    client = Client(proxy.url)
    for number, unasked in enumerate((b"$5\r\nalien\r\n", b"alien\r\n")):
        proxy.garbage, proxy.passing = unasked, len(b"+PONG\r\n")
        await client.call(b"PING")
        await eventually(lambda: client.stats()["reconnects"] > number)  # noqa: B023 - awaited within the turn
        assert await read_all(client) == names(len(KEYS))
