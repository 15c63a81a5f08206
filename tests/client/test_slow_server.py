"""Servers that are slow, or let writes wait: the connection to them is kept, and no call ends for its sake."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.exceptions import OutcomeUnknown
from chuk_sessions.providers import redis
from chuk_sessions.redis_client import doubt
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.commands import Replay
from tests.support.helpers import eventually, time_passes
from tests.support.proxy import Proxy

if TYPE_CHECKING:
    from tests.support.servers import RedisServer, Server

pytestmark = [pytest.mark.redis, pytest.mark.alone]


def pause_writes(server: RedisServer, seconds: float) -> None:
    """As for a failover in good order: writes and scripts wait, all else is answered."""
    assert server.command("CLIENT", "PAUSE", str(round(seconds * 1000)), "WRITE") == "OK"


@pytest.mark.parametrize("quiet", [True, False], ids=["after a quiet time", "busy"])
async def test_calls_wait_for_the_end_of_a_pause_of_writes(own_server: RedisServer, quiet: bool) -> None:
    """A second connection is answered, and would wait as long for a write: the first is kept."""
    client, manager = Client(f"{own_server.url}?socket_timeout=2"), None
    manager = SessionManager("box", redis.factory(f"{own_server.url}?socket_timeout=2"), strict=True)
    session_id = await manager.allocate_session(user_id="alice")
    assert await manager.validate_session(session_id)
    number = await client.call(b"CLIENT", "ID")
    if quiet:
        await time_passes(doubt.QUIET)
    pause_writes(own_server, 1.7)
    calls = [
        *(client.call(b"INCR", "n") for _ in range(5)),
        client.call(b"DEL", "k", replay=Replay.DELETE),
        manager.validate_session(session_id),
        manager.update_session_metadata(session_id, {"a": 1}),
    ]
    assert await asyncio.gather(*calls) == [1, 2, 3, 4, 5, 0, True, True]
    assert await client.call(b"CLIENT", "ID") == number
    assert client.stats()["reconnects"] == 0
    await eventually(lambda: own_server.info("clients")["connected_clients"] == "3")  # ours, and the one that asks


async def test_a_pause_of_writes_that_is_longer_than_a_call_may_be(own_server: RedisServer) -> None:
    """Each call ends by its own deadline: a younger one outlives it, and what waits for proof is not sent in vain."""
    client = Client(f"{own_server.url}?socket_timeout=1")
    await client.call(b"SET", "k", "v")
    pause_writes(own_server, 1.5)
    first = client.call(b"INCR", "n")
    await time_passes(0.3)
    second = client.call(b"INCR", "n")
    await time_passes(0.4)  # the connection is in doubt
    third = client.call(b"INCR", "n")
    with pytest.raises(OutcomeUnknown):
        await first
    with pytest.raises(OutcomeUnknown):
        await second
    assert await third == 3
    assert client.stats()["reconnects"] == 0


async def test_a_dead_flow_to_a_server_that_lets_writes_wait(own_server: RedisServer) -> None:
    """What can be answered is, when the pause is over at the latest."""
    async with Proxy(own_server.host, own_server.port) as proxy:
        client = Client(f"{proxy.url}?socket_timeout=2")
        await client.call(b"SET", "k", "v")
        pause_writes(own_server, 0.8)
        proxy.forget()
        await time_passes(doubt.QUIET)
        assert await client.call(b"GET", "k", replay=Replay.READ) == b"v"
        assert await client.call(b"SET", "k", "w") == b"OK"
        assert client.stats()["reconnects"] == 1


async def test_a_server_that_is_always_slow_costs_no_connection_each_time(
    redis_server: Server, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second connection, which was not needed, teaches to wait longer for the first."""
    monkeypatch.setattr(doubt, "QUIET", 0.05)
    monkeypatch.setattr(doubt, "LATE", 0.1)
    async with Proxy(redis_server.host, redis_server.port) as proxy:
        client = Client(f"{proxy.url}?socket_timeout=1")
        await client.call(b"SET", "k", "v")
        proxy.delay = 0.15
        for _ in range(6):
            await time_passes(0.15)
            assert await client.call(b"GET", "k", replay=Replay.READ) == b"v"
        assert 2 <= proxy.accepted <= 3  # it was seven
        assert client.stats()["reconnects"] == 0
