"""Servers that go on answering though another one is the master by now: Sentinels, or the name, know which."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.exceptions import ReadOnlyError, ServerError
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.node import RENEW_PAUSE
from tests.support.helpers import eventually, time_passes
from tests.support.peer import peer
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer

pytestmark = pytest.mark.redis

PATIENCE = 6.0  # seconds: some pauses between connections, and fewer than there were of ten seconds each

Pair = tuple[RedisServer, RedisServer]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """The master at first, and the one that comes after it. Neither is told of the other."""
    with RedisServer() as old, RedisServer() as new:
        yield old, new


class Sentinel:
    """What a Sentinel says; ``master`` may be changed."""

    def __init__(self, master: RedisServer) -> None:
        self.master = master
        self.url = ""

    def answer(self, data: bytes) -> bytes:
        if b"PING" in data:
            return b"+PONG\r\n"
        host, port = self.master.host, str(self.master.port)
        return f"*2\r\n${len(host)}\r\n{host}\r\n${len(port)}\r\n{port}\r\n".encode()


@asynccontextmanager
async def sentinel_of(master: RedisServer) -> AsyncIterator[Sentinel]:
    sentinel = Sentinel(master)
    async with peer(sentinel.answer) as address:
        sentinel.url = f"redis://{address}/mymaster"
        yield sentinel


def cut_off(server: RedisServer) -> None:
    """As a master is that its replicas cannot reach: writes are refused with NOREPLICAS."""
    server.command("CONFIG", "SET", "min-replicas-to-write", "1")


def demote(server: RedisServer) -> None:
    """As a replica is that cannot reach its master: all is refused with MASTERDOWN."""
    server.commands(("CONFIG", "SET", "replica-serve-stale-data", "no"), ("REPLICAOF", "127.0.0.1", "1"))


async def test_writes_that_a_cut_off_master_refuses_reach_the_new_one(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chuk_sessions.redis_client.node.RENEW_PAUSE", 0.0)
    old, new = pair
    async with sentinel_of(old) as sentinel:
        client = Client(sentinel.url)
        assert await client.call(b"INCR", "n") == 1
        new.command("SET", "n", "10")
        cut_off(old)
        sentinel.master = new
        counts = await asyncio.gather(*(client.call(b"INCR", "n") for _ in range(20)))
        assert counts == list(range(11, 31))
        assert client.stats()["reconnects"] == 1


async def test_reads_that_a_demoted_master_refuses_reach_the_new_one(pair: Pair) -> None:
    old, new = pair
    async with sentinel_of(old) as sentinel:
        client = Client(sentinel.url)
        assert await client.call(b"GET", "k") is None
        new.command("SET", "k", "v")
        demote(old)
        sentinel.master = new
        assert await client.call(b"GET", "k") == b"v"


@pytest.mark.parametrize("lose", [cut_off, demote])
async def test_a_session_validates_on_the_new_master(
    pair: Pair, lose: Callable[[RedisServer], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validating is the first call that meets the old one."""
    monkeypatch.setattr("chuk_sessions.redis_client.node.RENEW_PAUSE", 0.0)
    old, new = pair
    async with sentinel_of(old) as sentinel:
        here = SessionManager("box", redis.factory(sentinel.url))
        session_id = await here.allocate_session("chosen", "alice")
        assert await here.validate_session(session_id) is True
        await SessionManager("box", redis.factory(new.url)).allocate_session("chosen", "alice")
        lose(old)
        sentinel.master = new
        assert await here.validate_session(session_id) is True
        assert await here.update_session_metadata(session_id, {"a": 1}) is True
        assert await here.delete_session(session_id) is True
        assert new.command("DBSIZE") == 0


async def test_a_rightful_master_without_its_replicas_says_so_at_once(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Sentinels have just named it; reads go on over the same connection."""
    monkeypatch.setattr("chuk_sessions.redis_client.node.RENEW_PAUSE", 60.0)  # whatever the machine does meanwhile
    monkeypatch.setattr("chuk_sessions.redis_client.node.MAX_RENEW_PAUSE", 60.0)
    master, _ = pair
    async with sentinel_of(master) as sentinel:
        client = Client(sentinel.url)
        assert await client.call(b"SET", "k", "v") == b"OK"
        cut_off(master)
        with pytest.raises(ServerError, match="NOREPLICAS"):
            await client.call(b"SET", "k", "w")
        assert await client.call(b"GET", "k") == b"v"
        assert client.stats()["reconnects"] == 0


# -- behind a name ---------------------------------------------------------------------------------------------


async def test_a_name_that_follows_late_and_a_second_failover_soon(pair: Pair) -> None:
    """Connecting anew finds the old server still; the new one is found soon after the name leads there."""
    old, new = pair
    async with Proxy(old.host, old.port) as name:
        client = Client(name.url)

        async def writes() -> bool:
            return (await asyncio.gather(client.call(b"SET", "k", "v"), return_exceptions=True))[0] == b"OK"

        async def is_connected_anew() -> bool:
            return not await writes() and client.stats()["reconnects"] >= before + 1

        for here, there in ((old, new), (new, old)):
            await eventually(writes)
            await time_passes(RENEW_PAUSE)  # the connection is of use for a while
            before = client.stats()["reconnects"]
            here.command("REPLICAOF", "127.0.0.1", "1")
            there.command("REPLICAOF", "NO", "ONE")
            await eventually(is_connected_anew, PATIENCE)
            name.lead_to(there.host, there.port)
            await eventually(writes, PATIENCE)
            assert there.command("GET", "k") == "v"


async def test_a_server_that_is_a_replica_for_good_is_connected_to_less_and_less(
    own_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chuk_sessions.redis_client.node.RENEW_PAUSE", 0.5)
    monkeypatch.setattr("chuk_sessions.redis_client.node.MAX_RENEW_PAUSE", 0.75)
    own_server.command("REPLICAOF", "127.0.0.1", "1")
    client, begun = Client(own_server.url), asyncio.get_running_loop().time()

    async def has_connected_anew() -> bool:
        with pytest.raises(ReadOnlyError):
            await client.call(b"SET", "k", "v")
        return client.stats()["reconnects"] == 3

    await eventually(has_connected_anew)
    assert asyncio.get_running_loop().time() - begun > 0.5 + 0.75
