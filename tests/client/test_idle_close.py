"""Servers and proxies that close what is idle: not opened again before somebody needs it, and no trouble to tell of."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions.exceptions import NotSent
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.commands import Replay
from chuk_sessions.redis_client.doubt import QUIET
from tests.support.cluster_servers import ClusterServers
from tests.support.helpers import eventually, time_passes
from tests.support.proxy import Proxy
from tests.support.sentinel_servers import SentinelServers
from tests.support.servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.redis


@pytest.fixture
def impatient_server() -> Iterator[RedisServer]:
    """Closes connections that were idle for a second."""
    with RedisServer("timeout 1") as server:
        yield server


def names(server: RedisServer) -> str:
    return str(server.command("CLIENT", "LIST"))


async def test_a_server_that_closes_what_is_idle(
    impatient_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The connection is not made anew for nobody, the next call does not notice, and the log is quiet."""
    caplog.set_level(logging.DEBUG)
    client = Client(f"{impatient_server.url}?client_name=idle")
    for number in range(2):
        assert await client.call(b"SET", "k", number) == b"OK"
        assert await client.call(b"GET", "k") == b"%d" % number
        await eventually(lambda: " idle " in repr(client))
        await time_passes(0.5)
        assert client.stats()["reconnects"] == number
        assert "name=idle" not in names(impatient_server)
    lines = [record for record in caplog.records if record.name.startswith("chuk_sessions")]
    assert {record.levelno for record in lines} == {logging.DEBUG}
    assert len(lines) == 3  # closed, made anew, closed
    assert await asyncio.gather(*(client.call(b"INCR", "n") for _ in range(100))) == list(range(1, 101))


async def test_a_heartbeat_keeps_it_open(impatient_server: RedisServer) -> None:
    client = Client(f"{impatient_server.url}?heartbeat=0.2")
    number = await client.call(b"CLIENT", "ID")
    await time_passes(3)
    assert await client.call(b"CLIENT", "ID") == number


async def test_a_proxy_that_closes_what_is_idle(own_server: RedisServer) -> None:
    async with Proxy(own_server.host, own_server.port) as proxy:
        client = Client(proxy.url)
        await client.call(b"SET", "k", "v")
        await time_passes(QUIET)
        proxy.cut()
        await eventually(lambda: " idle " in repr(client))
        await time_passes(0.3)
        assert proxy.accepted == 1
        assert await client.call(b"GET", "k") == b"v"
        assert proxy.accepted == 2


async def test_a_server_that_is_gone_by_the_next_call(
    own_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Calls wait for it within the grace; then it is down, and found again when it is back."""
    client = Client(f"{own_server.url}?reconnect_grace=0.3")
    await client.call(b"SET", "k", "v")
    await time_passes(QUIET)
    own_server.kill()
    await eventually(lambda: " idle " in repr(client))
    assert not caplog.records
    begun = time.monotonic()
    with pytest.raises(NotSent, match="cannot connect"):
        await client.call(b"GET", "k")
    assert time.monotonic() - begun >= 0.3
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.ERROR]
    await asyncio.to_thread(own_server.restart)
    await eventually(lambda: " up " in repr(client))
    assert await client.call(b"PING") == b"PONG"


async def test_a_connection_that_is_lost_while_somebody_waits_is_made_anew_at_once(own_server: RedisServer) -> None:
    client = Client(own_server.url)
    await client.call(b"PING")
    await time_passes(QUIET)
    own_server.pause()
    read = client.call(b"GET", "k", replay=Replay.READ)
    await asyncio.sleep(0)
    own_server.kill()
    await eventually(lambda: " reconnecting " in repr(client))
    await asyncio.to_thread(own_server.restart)
    assert await read is None


@pytest.mark.parametrize("deployment", ["cluster", "sentinels"])
async def test_of_a_cluster_and_behind_sentinels(
    request: pytest.FixtureRequest, deployment: str, caplog: pytest.LogCaptureFixture
) -> None:
    group: Any = request.getfixturevalue(f"calm_{deployment}")
    assert isinstance(group, (ClusterServers, SentinelServers))
    client = Client(group.url)
    await asyncio.gather(*(client.call(b"SET", key, "v") for key in "abcdef"))
    await time_passes(QUIET)
    for server in group.nodes if isinstance(group, ClusterServers) else group.servers:
        server.command("CLIENT", "KILL", "TYPE", "normal")
    await eventually(lambda: " up " not in repr(client))
    await time_passes(0.3)
    assert " idle " in repr(client)
    assert " up " not in repr(client)
    assert await asyncio.gather(*(client.call(b"GET", key) for key in "abcdef")) == [b"v"] * 6
    assert not caplog.records
    await client.deployment().close()
