"""Connections that were quiet until a middlebox forgot them, without a word: the next calls must not pay for it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.exceptions import NotSent, OutcomeUnknown
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.commands import Replay
from chuk_sessions.redis_client.doubt import LATE, QUIET
from tests.support.cluster_servers import ClusterServers, slot_of
from tests.support.helpers import eventually, time_passes
from tests.support.lateness import Lateness
from tests.support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from tests.support.sentinel_servers import SentinelServers
    from tests.support.servers import RedisServer, Server

pytestmark = pytest.mark.redis
WITHIN = 1.0  # seconds, with the default options: five times less than socket_timeout


@pytest.fixture
async def proxy(redis_server: Server) -> AsyncIterator[Proxy]:
    redis_server.flush()
    async with Proxy(redis_server.host, redis_server.port) as opened:
        yield opened


def pings(proxy: Proxy) -> int:
    """How many the server was sent; the first is part of connecting."""
    return proxy.requests.count(b"PING")


async def get(_: SessionManager, client: Client, __: str) -> object:
    return await client.call(b"GET", "k", replay=Replay.READ)


async def setex(_: SessionManager, client: Client, __: str) -> object:
    return await client.call(b"SET", "other", "v", "EX", 100)


async def validate(manager: SessionManager, _: Client, session_id: str) -> object:
    return await manager.validate_session(session_id)


async def delete(manager: SessionManager, _: Client, session_id: str) -> object:
    return await manager.delete_session(session_id)


async def allocate(manager: SessionManager, _: Client, __: str) -> object:
    return bool(await manager.allocate_session("alice"))


async def update(manager: SessionManager, _: Client, session_id: str) -> object:
    return await manager.update_session_metadata(session_id, {"a": 1})


CALLS: dict[Callable[[SessionManager, Client, str], Awaitable[object]], object] = {
    get: b"v",
    setex: b"OK",
    validate: True,
    delete: True,
    allocate: True,
    update: True,
}


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
async def test_the_first_call_over_a_forgotten_flow_succeeds_within_a_second(
    proxy: Proxy, call: Callable[[SessionManager, Client, str], Awaitable[object]]
) -> None:
    """With the default options; a write is not sent into it."""
    factory = redis.factory(proxy.url)
    client: Client = factory._client
    manager = SessionManager("box", factory, strict=True)
    await client.call(b"SET", "k", "v")
    session_id = await manager.allocate_session()
    await time_passes(QUIET)
    proxy.forget()
    with Lateness() as lateness:
        begun = asyncio.get_running_loop().time()
        assert await call(manager, client, session_id) == CALLS[call]
        assert asyncio.get_running_loop().time() - begun < lateness.allow(WITHIN)
    assert client.stats()["reconnects"] == 1
    assert client.stats()["timeouts"] == 0


async def test_many_calls_at_once(proxy: Proxy) -> None:
    """In their order: nothing overtakes a write that waits."""
    client = Client(proxy.url)
    await client.call(b"SET", "n", "0")
    await time_passes(QUIET)
    proxy.forget()
    calls: list[Any] = []
    for _ in range(20):
        calls += client.call(b"GET", "n", replay=Replay.READ), client.call(b"INCR", "n")
    expected = [reply for number in range(20) for reply in (str(number).encode(), number + 1)]
    with Lateness() as lateness:
        begun = asyncio.get_running_loop().time()
        assert await asyncio.gather(*calls) == expected
        assert asyncio.get_running_loop().time() - begun < lateness.allow(WITHIN)


async def test_what_a_quiet_connection_that_works_costs(proxy: Proxy) -> None:
    """A read: nothing. A write: one PING for all that come with it. One that is used: nothing."""
    client = Client(proxy.url)
    await client.call(b"SET", "k", "v")
    writes = client.deployment().writes  # type: ignore[attr-defined]
    await time_passes(QUIET)
    assert await client.call(b"GET", "k", replay=Replay.READ) == b"v"
    assert client.deployment().writes == writes + 1  # type: ignore[attr-defined]
    assert pings(proxy) == 1
    assert await client.call(b"SET", "k", "w") == b"OK"
    assert pings(proxy) == 1
    await time_passes(QUIET)
    await eventually(lambda: client.deployment().watchdog.asleep)  # type: ignore[attr-defined]
    await time_passes(QUIET)
    assert await asyncio.gather(*(client.call(b"SET", "k", "x") for _ in range(10))) == [b"OK"] * 10
    assert pings(proxy) == 2
    assert (proxy.accepted, client.stats()["reconnects"]) == (1, 0)


async def test_a_heartbeat_is_proof_that_a_write_need_not_wait_for(proxy: Proxy) -> None:
    client = Client(f"{proxy.url}?heartbeat={QUIET / 4}")
    await client.call(b"SET", "k", "v")
    await time_passes(2.1 * QUIET)  # not in the moment of a beat
    assert pings(proxy) > 1
    await eventually(lambda: client.stats()["in_flight"] == 0)  # no beat is under way
    beats = pings(proxy)
    call = client.call(b"SET", "k", "w")
    assert client.stats()["waiting"] == 1
    await asyncio.sleep(0)
    assert client.stats()["in_flight"] == 1
    assert await call == b"OK"
    assert pings(proxy) == beats


async def test_a_slow_server_is_not_left(own_server: RedisServer) -> None:
    """A second connection gets no answer either: the first is kept, and the second is ended."""
    client = Client(own_server.url)
    number = await client.call(b"CLIENT", "ID")
    await time_passes(QUIET)
    own_server.pause()
    read = client.call(b"GET", "k", replay=Replay.READ)
    write = client.call(b"SET", "k", "v")
    await time_passes(3 * LATE)
    assert not read.done()
    own_server.resume()
    assert await read is None
    assert await write == b"OK"
    assert await client.call(b"CLIENT", "ID") == number
    await eventually(lambda: own_server.info("clients")["connected_clients"] == "2")  # ours, and the one that asks
    assert client.stats()["reconnects"] == 0


async def test_a_write_over_a_forgotten_flow_to_a_server_that_is_gone_is_not_sent(own_server: RedisServer) -> None:
    async with Proxy(own_server.host, own_server.port) as proxy:
        client = Client(f"{proxy.url}?socket_timeout=0.5&socket_connect_timeout=0.5&reconnect_grace=0.1")
        await client.call(b"SET", "k", "v")
        await time_passes(QUIET)
        proxy.forget()
        own_server.kill()
        with pytest.raises(NotSent):
            await client.call(b"SET", "k", "w")


async def test_a_flow_that_is_lost_while_calls_are_under_way(proxy: Proxy) -> None:
    """No quiet time before: reads are sent again within their deadline, and the write that was sent is unknown."""
    client = Client(f"{proxy.url}?socket_timeout=2")
    await client.call(b"SET", "k", "v")
    proxy.forget()
    read, write = client.call(b"GET", "k", replay=Replay.READ), client.call(b"SET", "k", "w")
    with pytest.raises(OutcomeUnknown):
        await write
    assert await read == b"v"


async def test_closing_while_in_doubt(proxy: Proxy) -> None:
    client = Client(proxy.url)
    await client.call(b"SET", "k", "v")
    await time_passes(QUIET)
    proxy.forget()
    proxy.swallowing = True
    read, write = client.call(b"GET", "k", replay=Replay.READ), client.call(b"SET", "k", "w")
    await eventually(lambda: proxy.accepted == 2)
    await client.deployment().close()
    assert isinstance(read.exception(), OutcomeUnknown)
    assert isinstance(write.exception(), NotSent)


async def test_a_caller_that_gives_up_before_its_command_is_written_leaves_no_doubt(proxy: Proxy) -> None:
    client = Client(proxy.url)
    await client.call(b"SET", "k", "v")
    await time_passes(QUIET)
    client.call(b"GET", "k", replay=Replay.READ).cancel()
    await time_passes(2 * LATE)
    assert proxy.accepted == 1
    assert await client.call(b"GET", "k", replay=Replay.READ) == b"v"
    assert client.stats()["reconnects"] == 0


# -- of a cluster, and behind Sentinels ------------------------------------------------------------------------


@asynccontextmanager
async def behind_proxies(nodes: Sequence[RedisServer]) -> AsyncIterator[list[Proxy]]:
    """The servers of a cluster tell clients the addresses of the proxies."""
    async with AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(Proxy(node.host, node.port)) for node in nodes]
        for node, proxy in zip(nodes, proxies, strict=True):
            node.command("CONFIG", "SET", "cluster-announce-port", str(port_of(proxy)))

        def told() -> bool:
            texts = [str(node.command("CLUSTER", "SLOTS")) for node in nodes]
            return all(str(port_of(proxy)) in text for proxy in proxies for text in texts)

        await eventually(lambda: asyncio.to_thread(told))
        yield proxies


def key_at(group: ClusterServers, node: RedisServer) -> str:
    return next(key for key in map(str, range(1000)) if group.owner_of(slot_of(key)) is node)


def port_of(proxy: Proxy) -> int:
    return int(proxy.url.rpartition(":")[2])


async def test_one_server_of_a_cluster_while_the_others_are_busy() -> None:
    with ClusterServers(replicas=0) as group:
        if group.nodes[0].version.startswith("6."):
            pytest.skip("Redis 6.2 reads cluster-announce-port at its start only")
        async with behind_proxies(group.nodes) as proxies:
            client = Client(f"{proxies[0].url}?cluster=true")
            keys = [
                next(f"k{i}" for i in range(999) if group.owner_of(slot_of(f"k{i}")) is node) for node in group.nodes
            ]
            for key in keys:
                await client.call(b"SET", key, key)
            until = asyncio.get_running_loop().time() + 2 * QUIET
            while asyncio.get_running_loop().time() < until:
                assert await client.call(b"GET", keys[1], replay=Replay.READ) == keys[1].encode()
            proxies[2].forget()
            with Lateness() as lateness:
                begun = asyncio.get_running_loop().time()
                calls = client.call(b"GET", keys[2], replay=Replay.READ), client.call(b"SET", keys[2], "w")
                assert list(await asyncio.gather(*calls)) == [keys[2].encode(), b"OK"]
                assert asyncio.get_running_loop().time() - begun < lateness.allow(WITHIN)
            assert client.stats()["reconnects"] == 1
            await client.deployment().close()


async def test_a_server_of_a_cluster_that_was_replaced_meanwhile(cluster: ClusterServers) -> None:
    """Its host is gone: nothing answers there, not even to a second connection, and the read goes to the new master."""
    client = Client(cluster.url)
    await client.call(b"SET", "k", "v")
    old = cluster.owner_of(slot_of("k"))
    await eventually(lambda: asyncio.to_thread(lambda: all(map(is_acknowledged, cluster.masters))))
    old.pause()
    await asyncio.to_thread(cluster.wait_for_promotion, old)
    await asyncio.to_thread(cluster.wait, lambda: agreed(cluster, old), "servers that know of it")
    with Lateness() as lateness:
        begun = asyncio.get_running_loop().time()
        assert await client.call(b"GET", "k", replay=Replay.READ) == b"v"
        assert asyncio.get_running_loop().time() - begun < lateness.allow(2 * WITHIN)
    await client.deployment().close()


def is_acknowledged(master: RedisServer) -> bool:
    return master.commands(("PUBLISH", "nobody", "x"), ("WAIT", "1", "1000"))[-1] == 1


def agreed(group: ClusterServers, old: RedisServer) -> bool:
    """Whether no server that runs tells clients of the old master."""
    running = [node for node in group.nodes if not node.paused]
    return all(str(old.port) not in str(node.command("CLUSTER", "SLOTS")) for node in running)


async def test_the_master_of_sentinels(calm_sentinels: SentinelServers) -> None:
    """They know it by the address of a proxy."""
    master = calm_sentinels.servers[0]
    async with Proxy(master.host, master.port) as proxy:
        for sentinel in calm_sentinels.sentinels:
            sentinel.command("SENTINEL", "MONITOR", "proxied", "127.0.0.1", str(port_of(proxy)), "2")
        try:
            hosts = ",".join(f"{sentinel.host}:{sentinel.port}" for sentinel in calm_sentinels.sentinels)
            client = Client(f"redis://{hosts}/proxied")
            await client.call(b"SET", "k", "v")
            await time_passes(QUIET)
            proxy.forget()
            with Lateness() as lateness:
                begun = asyncio.get_running_loop().time()
                calls = client.call(b"GET", "k", replay=Replay.READ), client.call(b"SET", "k", "w")
                assert list(await asyncio.gather(*calls)) == [b"v", b"OK"]
                assert asyncio.get_running_loop().time() - begun < lateness.allow(WITHIN)
            assert client.stats()["reconnects"] == 1
            await client.deployment().close()
        finally:
            for sentinel in calm_sentinels.sentinels:
                sentinel.command("SENTINEL", "REMOVE", "proxied")
