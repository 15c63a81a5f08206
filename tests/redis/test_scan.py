"""All keys of a deployment, whatever moves, ends and comes back while they are gone through."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from chuk_sessions.cli.stored import count_keys, session_keys
from chuk_sessions.exceptions import ProviderError
from chuk_sessions.providers.redis import scan
from chuk_sessions.providers.redis.keys import ALL_SESSIONS
from chuk_sessions.providers.redis.scan import Walk
from chuk_sessions.redis_client.client import Client
from tests.support.cluster_servers import ClusterServers, slot_of
from tests.support.servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.cluster_servers import ClusterNode
    from tests.support.servers import Server

pytestmark = pytest.mark.redis


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

    async def count(self, happening: Callable[[], object]) -> int:
        """The keys, as a walk adds them up; it happens when the first of them has been seen."""
        happenings = iter([happening])

        async def of(keys: list[bytes]) -> int:
            next(happenings, lambda: None)()
            return len(keys)

        return await Walk(Client(self.cluster.url), ALL_SESSIONS, 1).total(of)

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


class TestPages:
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
        monkeypatch.setattr(scan, "ROUNDS", 1)
        with pytest.raises(ProviderError, match="went on moving"):
            await moving.find(lambda: cluster.migrate(moving.slot, moving.first))

    async def test_a_master_that_is_lost(self, cluster: ClusterServers, moving: Moving) -> None:
        """Its replica has the keys, and is looked through instead."""
        cluster.wait_until_ok()
        cluster.wait_until_replicated(moving.last)

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


async def test_a_connection_that_is_lost(redis_server: Server, redis_url: str) -> None:
    """A cursor may mean nothing behind the next one: all keys come again, and are counted once."""
    client = Client(redis_url)
    names = {f"session:{number}".encode() for number in range(100)}
    await asyncio.gather(*(client.call(b"SET", name, "text") for name in names))
    lost = 0

    async def lose(keys: list[bytes]) -> int:
        nonlocal lost
        if lost < 2:
            lost += 1
            redis_server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        return len(keys)

    walk, found = Walk(client, ALL_SESSIONS, 10), list[bytes]()
    async for keys in walk.pages():
        found += keys
        await lose(keys)
    assert set(found) == names
    assert len(found) > len(names)
    lost = 0
    assert await walk.total(lose) == len(names)


class TestTotal:
    """Each key counts once, whatever happens when the first of them has been seen."""

    async def test_while_nothing_moves(self, cluster: ClusterServers, moving: Moving) -> None:
        assert await moving.count(lambda: None) == 100

    async def test_a_slot_that_moves(self, cluster: ClusterServers, moving: Moving) -> None:
        """There, and back: then its keys have been seen at both."""
        assert await moving.count(lambda: cluster.migrate(moving.slot, moving.first)) == 100
        assert await moving.count(lambda: cluster.migrate(moving.slot, moving.last)) == 100

    async def test_a_slot_that_is_on_its_way(self, cluster: ClusterServers, moving: Moving) -> None:
        """It is not known then how many there are; all come all the same."""
        cluster.migrate_begin(moving.slot, moving.first)
        cluster.migrate_keys(moving.slot, moving.first, 10)
        with pytest.raises(ProviderError, match="went on moving"):
            await moving.count(lambda: None)
        assert set(await moving.find(lambda: None)) == moving.keys
        cluster.migrate_keys(moving.slot, moving.first)
        cluster.migrate_end(moving.slot, moving.first)
        assert await moving.count(lambda: None) == 100

    async def test_a_master_that_is_lost(self, cluster: ClusterServers, moving: Moving) -> None:
        """What it had counts at the one that took over, and not at both."""
        cluster.wait_until_ok()
        cluster.wait_until_replicated(moving.last)

        def lose() -> None:
            moving.last.kill()
            cluster.wait_for_promotion(moving.last)

        assert await moving.count(lose) == 100
