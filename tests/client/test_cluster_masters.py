"""Speaking to each master by itself, and finding all keys of a cluster, whatever moves meanwhile."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from chuk_sessions.cli import enumeration
from chuk_sessions.cli.enumeration import count_keys, session_keys
from chuk_sessions.exceptions import NotSent, ProviderError, ServerError
from chuk_sessions.redis_client.client import Client
from tests.support.cluster_servers import ClusterServers, slot_of
from tests.support.helpers import eventually
from tests.support.servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.cluster_servers import ClusterNode
    from tests.support.servers import Server

pytestmark = pytest.mark.redis


def addresses(nodes: list[ClusterNode]) -> list[str]:
    return sorted(f"{node.host}:{node.port}" for node in nodes)


class TestMasters:
    async def test_of_a_lone_server(self, redis_server: Server, redis_url: str) -> None:
        """The server itself, which has all keys and nothing that could move."""
        client = Client(redis_url)
        (master,) = await client.masters()
        assert await master.call(b"SET", "k", "v") == b"OK"
        assert redis_server.command("GET", "k") == "v"
        assert master.has("any")
        assert await master.ownership() == ""
        assert client.is_together("a", "b", b"c")
        assert master.address in repr(master)

    async def test_of_a_cluster(self, calm_cluster: ClusterServers, cluster_url: str) -> None:
        """Each answers for itself, and together they have all keys, each key one of them."""
        masters = await Client(cluster_url).masters()
        assert [master.address for master in masters] == addresses(calm_cluster.nodes)
        ids = [(await master.call(b"CLUSTER", b"MYID")).decode() for master in masters]
        assert sorted(ids) == sorted(node.node_id for node in calm_cluster.nodes)
        for number in range(50):
            (owner,) = [node_id for node_id, master in zip(ids, masters, strict=True) if master.has(f"k{number}")]
            assert owner == calm_cluster.owner_of(slot_of(f"k{number}")).node_id

    async def test_a_key_of_another_one(self, cluster_url: str) -> None:
        """The command is not sent on: who speaks to one server means that one."""
        other = next(master for master in await Client(cluster_url).masters() if not master.has("k"))
        with pytest.raises(ServerError) as caught:
            await other.call(b"GET", "k")
        assert caught.value.code == "MOVED"

    async def test_together(self, cluster_url: str) -> None:
        client = Client(cluster_url)
        assert client.is_together("{a}1", b"{a}2")
        assert not client.is_together("a", "b")

    async def test_no_cluster(self) -> None:
        with pytest.raises(NotSent, match="told where the slots are"):
            await Client("redis://127.0.0.1:1?cluster=true").masters()

    async def test_after_the_end(self, cluster_url: str) -> None:
        client = Client(cluster_url)
        await client.masters()
        await client.deployment().close()
        with pytest.raises(NotSent):
            await client.masters()

    async def test_the_clock(self, redis_url: str, cluster_url: str) -> None:
        """In seconds, of whichever server has the key."""
        for url in (redis_url, cluster_url):
            for key in "abc":
                assert abs(await Client(url).time_at(key) - time.time()) < 60

    async def test_a_master_that_is_replaced(self, cluster: ClusterServers) -> None:
        """What waits for a server is not sent to another when that takes over."""
        client = Client(f"{cluster.url}?reconnect_grace=30&socket_timeout=5")
        lost = cluster.masters[0]
        (master,) = [each for each in await client.masters() if each.address == f"{lost.host}:{lost.port}"]
        await master.call(b"PING")
        lost.kill()
        await eventually(lambda: f"{lost.port} reconnecting" in repr(client))
        call = master.call(b"CLUSTER", b"MYID")
        await eventually(lambda: client.stats()["waiting"] == 1)
        cluster.wait_for_promotion(lost)

        async def is_replaced() -> bool:
            return master.address not in [each.address for each in await client.masters()]

        await eventually(is_replaced)
        with pytest.raises(ProviderError):
            await call


def tag_of(cluster_node: ClusterNode) -> str:
    """A hash tag of that server."""
    slots = cluster_node.claim().slots
    return next(f"t{number}" for number in range(1_000_000) if slot_of(f"t{number}") in slots)


class Moving:
    """A hundred keys in one slot, and what happens once the first of them has been found."""

    def __init__(self, cluster: ClusterServers) -> None:
        self.cluster = cluster
        nodes = sorted(cluster.masters, key=lambda node: f"{node.host}:{node.port}")
        self.first, self.last = nodes[0], nodes[-1]  # as they are looked through
        tag = tag_of(self.last)
        self.slot = slot_of(tag)
        self.keys = {f"session:{{{tag}}}{number}".encode() for number in range(100)}
        self.last.command("MSET", *(part for key in self.keys for part in (key.decode(), "text")))

    async def find(self, happening: Callable[[], object]) -> list[bytes]:
        """All keys that come."""
        found: list[bytes] = []
        async for batch in session_keys(Client(self.cluster.url), 1):
            if not found:
                happening()
            found += [key for key, _ in batch]
        return found


@pytest.fixture
def moving(cluster: ClusterServers) -> Iterator[Moving]:
    """With its slot where it was, after the test."""
    moving = Moving(cluster)
    home = moving.last
    yield moving
    if home.running and cluster.owner_of(moving.slot) is not home:
        cluster.migrate(moving.slot, home)


class TestAllKeys:
    async def test_of_all_masters(self, calm_cluster: ClusterServers, cluster_url: str) -> None:
        """Once each, while nothing moves; other keys are not looked at, but counted."""
        client = Client(cluster_url)
        names = [f"session:{number}" for number in range(300)]
        await asyncio.gather(*(client.call(b"SET", name, "text") for name in [*names, "other"]))
        found = [key.decode() async for batch in session_keys(client, 20) for key, _ in batch]
        assert set(found) == set(names)
        assert await count_keys(client) == 301

    async def test_of_a_lone_server(self, redis_url: str) -> None:
        client = Client(redis_url)
        await client.call(b"SET", "session:1", "text")
        assert [batch async for batch in session_keys(client, 20)] == [[(b"session:1", b"string")]]
        assert await count_keys(client) == 1

    async def test_a_slot_that_moves(self, cluster: ClusterServers, moving: Moving) -> None:
        """To a server that has been looked through already."""
        found = await moving.find(lambda: cluster.migrate(moving.slot, moving.first))
        assert set(found) == moving.keys

    async def test_a_slot_that_goes_and_comes_back(self, cluster: ClusterServers, moving: Moving) -> None:
        """What the server owns is the same as before; the epoch is not."""
        (master,) = [each for each in await Client(cluster.url).masters() if str(moving.last.port) in each.address]
        before = await master.ownership()
        cluster.migrate(moving.slot, moving.first)
        cluster.migrate(moving.slot, moving.last)
        after = await master.ownership()
        assert before.split()[1:] == after.split()[1:]
        assert before != after

    async def test_a_slot_that_is_on_its_way(self, cluster: ClusterServers, moving: Moving) -> None:
        """For as long as it may take: its keys go to a server that would be looked through first."""
        cluster.migrate_begin(moving.slot, moving.first)
        cluster.migrate_keys(moving.slot, moving.first, 10)
        found = await moving.find(lambda: cluster.migrate_keys(moving.slot, moving.first))
        assert set(found) == moving.keys
        cluster.migrate_end(moving.slot, moving.first)

    async def test_slots_that_never_rest(
        self, cluster: ClusterServers, moving: Moving, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is said, rather than that a session is left out."""
        monkeypatch.setattr(enumeration, "ROUNDS", 1)
        with pytest.raises(ProviderError, match="went on moving"):
            await moving.find(lambda: cluster.migrate(moving.slot, moving.first))

    async def test_a_master_that_is_lost(self, cluster: ClusterServers, moving: Moving) -> None:
        """Its replica has the keys, and is looked through instead."""
        cluster.wait_until_ok()
        assert int(str(moving.last.command("WAIT", "1", "5000"))) >= 1

        def lose() -> None:
            moving.last.kill()
            cluster.wait_for_promotion(moving.last)

        assert set(await moving.find(lose)) == moving.keys


async def test_a_server_that_is_lost() -> None:
    """There is no other to look at."""
    with RedisServer() as server:
        client = Client(f"{server.url}?reconnect_grace=0")
        for number in range(50):
            server.command("SET", f"session:{number}", "text")
        keys = session_keys(client, 1)
        await anext(keys)
        server.kill()
        with pytest.raises(ProviderError):
            [batch async for batch in keys]
