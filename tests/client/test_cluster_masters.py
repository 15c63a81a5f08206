"""Speaking to each master by itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from chuk_sessions.exceptions import NotSent, ProviderError, ServerError
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.master import Ownership
from tests.support.cluster_servers import ClusterServers, slot_of
from tests.support.helpers import eventually

if TYPE_CHECKING:
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
        assert await master.ownership() == Ownership(reconnects=0)
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

    async def test_a_slot_that_goes_and_comes_back(self, cluster: ClusterServers) -> None:
        """What the server owns is the same as before; the epoch is not."""
        home, other = cluster.masters[:2]
        (master,) = [each for each in await Client(cluster.url).masters() if each.address.endswith(f":{home.port}")]
        before = await master.ownership()
        slot = min(home.claim().slots)
        cluster.migrate_begin(slot, other)
        during = await master.ownership()
        assert (during.is_moving, during.is_taking) == (True, False)
        cluster.migrate_end(slot, other)
        cluster.migrate_begin(slot, home)
        assert (await master.ownership()).is_taking
        cluster.migrate_end(slot, home)
        after = await master.ownership()
        assert (after.slots, after.is_moving, after.is_taking) == (before.slots, False, False)
        assert after != before

    async def test_a_connection_that_is_another_one(self, redis_server: Server, redis_url: str) -> None:
        """Behind it the server may be another one too."""
        client = Client(redis_url)
        (master,) = await client.masters()
        before = await master.ownership()
        assert await master.ownership() == before
        redis_server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await eventually(lambda: "reconnecting" in repr(client) or client.stats()["reconnects"])
        assert await master.ownership() != before
