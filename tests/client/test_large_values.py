"""One caller's large value: neither its bytes nor what the server says to it are the other callers' business."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.exceptions import NotSent, OutcomeUnknown, ProviderError, ServerError, StorageError
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.commands import LARGE, Replay
from tests.support.cluster_servers import ClusterServers, slot_of
from tests.support.helpers import eventually, time_passes
from tests.support.lateness import Lateness
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.sentinel_servers import SentinelServers

pytestmark = pytest.mark.redis
MB = 1 << 20
SLOW = 2 * MB  # bytes a second
OVER = 2 * MB  # bytes; over the least proto-max-bulk-len that a server may have


@pytest.fixture
def narrow_server() -> Iterator[RedisServer]:
    """Ends a connection over a value of more than 1 MB."""
    with RedisServer("proto-max-bulk-len 1mb") as server:
        yield server


def connections(server: RedisServer) -> int:
    return str(server.command("CLIENT", "LIST")).count("name=large")


async def test_a_value_over_the_servers_bound_is_its_callers_error_alone(
    narrow_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    client = Client(narrow_server.url)
    number = await client.call(b"CLIENT", "ID")
    calls: list[Any] = []
    for _ in range(20):
        calls += client.call(b"INCR", "n"), client.call(b"SET", "k", b"x" * OVER)
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert outcomes[::2] == list(range(1, 21))
    assert {type(outcome) for outcome in outcomes[1::2]} <= {ServerError, OutcomeUnknown}  # if its words were lost
    assert any("invalid bulk length" in str(outcome) for outcome in outcomes[1::2])
    assert await client.call(b"CLIENT", "ID") == number
    assert await client.call(b"EXISTS", "k") == 0
    assert await client.call(b"SET", "k", b"x" * (LARGE - 100)) == b"OK"
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_metadata_over_the_servers_bound(narrow_server: RedisServer) -> None:
    factory = redis.factory(narrow_server.url)
    manager = SessionManager("box", factory, strict=True)
    session_id = await manager.allocate_session("alice", custom_metadata={"a": 1})
    with pytest.raises(StorageError):
        await manager.update_session_metadata(session_id, {"b": "x" * OVER})
    assert await manager.get_session_info(session_id)
    assert await manager.validate_session(session_id)


async def test_others_do_not_wait_for_a_large_value_on_a_slow_link(own_server: RedisServer) -> None:
    """Which is 15 MB, at 2 MB a second."""
    async with Proxy(own_server.host, own_server.port, rate=SLOW) as proxy:
        client = Client(proxy.url)
        await client.call(b"SET", "k", "v")
        large = client.call(b"SET", "large", b"x" * (15 * MB))
        with Lateness() as lateness:
            for _ in range(10):
                begun = asyncio.get_running_loop().time()
                assert await client.call(b"GET", "k", replay=Replay.READ) == b"v"
                assert asyncio.get_running_loop().time() - begun < lateness.allow(0.5)
        assert not large.done()
        assert proxy.accepted == 2
        large.cancel()


async def test_a_large_reply_is_apart_from_the_calls_of_another_factory(own_server: RedisServer) -> None:
    """On one connection the others get theirs after it; a URL that differs is a connection that differs."""
    async with Proxy(own_server.host, own_server.port) as proxy:
        url = f"{proxy.url}?socket_timeout=20"
        client, apart = Client(url), Client(f"{url}&client_name=large")
        await client.call(b"SET", "large", b"x" * 4_000_000)
        await client.call(b"SET", "k", "v")
        await apart.call(b"PING")
        proxy.delay = 0.02  # for each piece of 64 KB
        large = apart.call(b"GET", "large")
        assert await client.call(b"GET", "k") == b"v"
        assert not large.done()
        assert len(await large) == 4_000_000
        large, behind = client.call(b"GET", "large"), client.call(b"GET", "k")
        assert await behind == b"v"
        assert large.done()
        assert (client.stats()["reconnects"], client.stats()["timeouts"]) == (0, 0)


async def test_bytes_that_leave_are_no_silence(own_server: RedisServer) -> None:
    """A timeout is over many times until the last byte has gone; the caller is told, and the connection goes on."""
    async with Proxy(own_server.host, own_server.port, rate=SLOW) as proxy:
        client = Client(f"{proxy.url}?socket_timeout=0.5")
        await client.call(b"SET", "k", "v")
        with pytest.raises(OutcomeUnknown, match="no reply"):
            await client.call(b"SET", "large", b"x" * (8 * MB))
        await eventually(lambda: own_server.command("STRLEN", "large") == 8 * MB)
        assert proxy.accepted == 2
        assert client.stats()["reconnects"] == 0


async def test_a_peer_that_takes_no_more_bytes_is_silent(own_server: RedisServer) -> None:
    async with Proxy(own_server.host, own_server.port, rate=8 * MB) as proxy:
        client = Client(f"{proxy.url}?socket_timeout=0.5&socket_connect_timeout=0.5")
        await client.call(b"SET", "k", "v")
        large, sent = client.call(b"SET", "large", b"x" * (60 * MB)), 0

        async def is_under_way() -> bool:
            nonlocal large, sent
            if large.done():  # the machine was busy for a timeout
                assert isinstance(large.exception(), ProviderError)
                large, sent = client.call(b"SET", "large", b"x" * (60 * MB)), len(proxy.requests)
            return len(proxy.requests) > sent + 2 * MB

        await eventually(is_under_way, patience=60)
        own_server.pause()
        with pytest.raises(OutcomeUnknown):
            await large
        await eventually(lambda: client.stats()["in_flight"] == 0)
        own_server.resume()


async def test_its_connection_lasts_as_long_as_there_are_large_commands(own_server: RedisServer) -> None:
    client = Client(f"{own_server.url}?client_name=large")
    await client.call(b"SET", "k", "v")
    for number in range(2):
        stats = client.stats()
        values = [bytes([65 + index]) * OVER for index in range(3)]
        large = [client.call(b"SET", f"k{index}", value) for index, value in enumerate(values)]
        assert await asyncio.gather(*large) == [b"OK"] * 3
        assert [await client.call(b"GET", f"k{index}") for index in range(3)] == values
        await eventually(lambda: connections(own_server) == 1)
        assert client.stats()["in_flight"] == client.stats()["bytes_in_flight"] == client.stats()["waiting"] == 0
        assert client.stats()["reconnects"] == stats["reconnects"] == 0, number
    assert len(client.deployment().watchdog.watched) == 1  # type: ignore[attr-defined]


async def test_a_large_script(redis_url: str) -> None:
    """Its source is sent there too, as the server does not know it yet."""
    factory = redis.factory(redis_url)
    manager = SessionManager("box", factory, strict=True)
    await factory._client.call(b"SCRIPT", "FLUSH")
    session_id = await manager.allocate_session("alice", custom_metadata={"large": "x" * OVER})
    info = await manager.get_session_info(session_id)
    assert info is not None
    assert len(info["custom_metadata"]["large"]) == OVER


async def test_of_a_cluster(calm_cluster: ClusterServers) -> None:
    """On each server by itself, and over redirections."""
    client = Client(calm_cluster.url)
    for key in "abc":
        assert await client.call(b"SET", key, key.encode() * OVER) == b"OK"
        assert await client.call(b"GET", key) == key.encode() * OVER
    await client.deployment().close()


async def test_a_large_value_for_a_slot_that_moves(cluster: ClusterServers) -> None:
    client = Client(cluster.url)
    slot = slot_of("moving")
    await client.call(b"SET", "moving", "v")
    target = cluster.another_master(slot)
    cluster.migrate_begin(slot, target)
    cluster.migrate_keys(slot, target)
    assert await client.call(b"SET", "moving", b"x" * OVER) == b"OK"  # by ASK
    assert await client.call(b"STRLEN", "moving") == OVER
    cluster.migrate_end(slot, target)
    assert await client.call(b"SET", "moving", b"y" * OVER) == b"OK"  # by MOVED
    await client.deployment().close()


async def test_behind_sentinels(calm_sentinels: SentinelServers) -> None:
    client = Client(calm_sentinels.url)
    assert await client.call(b"SET", "k", b"x" * OVER) == b"OK"
    assert await client.call(b"STRLEN", "k") == OVER
    await client.deployment().close()


async def test_a_server_that_is_away(own_server: RedisServer) -> None:
    client = Client(f"{own_server.url}?reconnect_grace=0.05")
    await client.call(b"SET", "k", b"x" * OVER)
    own_server.kill()
    await eventually(lambda: " down " in repr(client))
    with pytest.raises(NotSent):
        await client.call(b"SET", "k", b"x" * OVER)
    await asyncio.to_thread(own_server.restart)
    await eventually(lambda: " up " in repr(client))
    assert await client.call(b"SET", "k", b"x" * OVER) == b"OK"


async def test_closing_with_a_large_command_under_way(own_server: RedisServer) -> None:
    client = Client(own_server.url)
    await client.call(b"PING")
    own_server.pause()
    large = client.call(b"SET", "k", b"x" * (32 * MB))
    await eventually(lambda: client.stats()["in_flight"] == 0)
    await time_passes(0.1)
    await client.deployment().close()
    assert isinstance(large.exception(), (NotSent, OutcomeUnknown))
    own_server.resume()
