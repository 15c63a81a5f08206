"""How a Redis Cluster is found, logged in to and left again; what callers hear when it cannot be used."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.exceptions import NotSent, OutcomeUnknown, ServerError
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.cluster import Cluster
from chuk_sessions.redis_client.doubt import QUIET
from chuk_sessions.redis_client.slots import slot_of
from tests.support.cluster_servers import ClusterNode, ClusterServers
from tests.support.endings import LOOPS, ends_without_a_word
from tests.support.helpers import eventually, time_passes
from tests.support.lateness import Lateness
from tests.support.peer import HangUp, peer
from tests.support.servers import RedisServer, Server
from tests.support.tls_files import make_tls_files

pytestmark = pytest.mark.redis

KEYS = [f"k{number}" for number in range(50)]


def seen(client: Client) -> Cluster:
    """The cluster as the running loop sees it."""
    deployment = client.deployment()
    assert isinstance(deployment, Cluster)
    return deployment


async def use_all(client: Client) -> None:
    """Keys of all masters, each holding its own name."""
    await asyncio.gather(*(client.call(b"SET", key, key) for key in KEYS))
    assert await asyncio.gather(*(client.call(b"GET", key) for key in KEYS)) == [key.encode() for key in KEYS]


@pytest.fixture
def dead() -> str:
    """Where nobody listens."""
    with RedisServer() as server:
        return f"{server.host}:{server.port}"


async def test_a_seed_that_is_dead(cluster: ClusterServers, dead: str) -> None:
    for _ in range(3):  # whichever is asked first
        await use_all(Client(f"redis://{dead},{cluster.nodes[0].host}:{cluster.nodes[0].port}"))


@pytest.mark.alone
async def test_a_seed_that_does_not_answer(cluster: ClusterServers) -> None:
    silent = ClusterNode("cluster-enabled yes").start()
    silent.pause()
    try:
        begun = asyncio.get_running_loop().time()
        with Lateness() as lateness:
            await use_all(
                Client(f"redis://{silent.host}:{silent.port},{cluster.nodes[0].host}:{cluster.nodes[0].port}")
            )
        assert asyncio.get_running_loop().time() - begun < lateness.allow(2.5)
    finally:
        silent.stop()


async def test_a_replica_as_the_only_seed(cluster: ClusterServers) -> None:
    """It tells the slots, and is left: replicas are never read."""
    replica = next(node for node in cluster.nodes if node not in cluster.masters)
    client = Client(f"redis://{replica.host}:{replica.port}?cluster=true")
    await use_all(client)
    assert seen(client).redirects == 0
    await eventually(lambda: f":{replica.port} " not in repr(seen(client)))


async def test_a_seed_under_another_name(cluster: ClusterServers) -> None:
    """The cluster calls it 127.0.0.1: one connection to each master is kept, and the slots are not asked for again."""
    client = Client(f"redis://localhost:{cluster.masters[0].port}?cluster=true&client_name=twice")
    await use_all(client)

    def connections() -> list[int]:
        lists = [str(master.command("CLIENT", "LIST")) for master in cluster.masters]
        return [text.count("name=twice") for text in lists]

    await eventually(lambda: connections() == [1, 1, 1])
    await eventually(lambda: not seen(client)._map.is_refreshing())
    assert seen(client).refreshes == 1


async def test_no_server_at_all_is_an_error_that_lists_them(dead: str, caplog: pytest.LogCaptureFixture) -> None:
    client = Client(f"redis://{dead}?cluster=true")
    with pytest.raises(NotSent, match=rf"no server of the cluster at {dead} told .*{dead}: .*refused"):
        await client.call(b"GET", "k")
    with pytest.raises(NotSent):
        await client.call(b"GET", "k")
    await eventually(lambda: seen(client).refreshes > 3)
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 2


async def test_a_cluster_that_comes_up_later_is_found(caplog: pytest.LogCaptureFixture) -> None:
    with ClusterServers(masters=1, replicas=0) as group:
        client = Client(f"{group.url}?cluster=true")
        group.nodes[0].kill()
        with pytest.raises(NotSent):
            await client.call(b"GET", "k")
        await asyncio.to_thread(group.revive)
        await eventually(lambda: seen(client)._map._known)
        await use_all(client)


async def test_a_server_without_cluster_support_says_so(redis_server: Server) -> None:
    client = Client(f"redis://{redis_server.host}:{redis_server.port}?cluster=true")
    with pytest.raises(NotSent, match="cluster support disabled"):
        await client.call(b"GET", "k")


async def test_a_cluster_without_slots_says_so() -> None:
    with ClusterNode("cluster-enabled yes") as server, pytest.raises(NotSent, match="it has no slots"):
        await Client(f"redis://{server.host}:{server.port}?cluster=true").call(b"GET", "k")


# -- logging in ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def closed() -> Iterator[ClusterServers]:
    """A cluster that asks for a login."""
    with ClusterServers(masters=3, replicas=0, users={"alice": "p@ss:/#?%"}) as group:
        yield group


async def test_the_login_goes_to_every_master(closed: ClusterServers) -> None:
    await use_all(Client(closed.url))


async def test_a_wrong_login_is_an_error_that_names_server_and_reason(closed: ClusterServers) -> None:
    with pytest.raises(NotSent, match=r"127\.0\.0\.1:\d+: cannot connect .*: WRONGPASS") as caught:
        await Client(closed.url_for("alice", "hunter2")).call(b"GET", "k")
    assert "hunter2" not in str(caught.value)


async def test_credentials_are_asked_for_each_connection(closed: ClusterServers) -> None:
    asked = 0

    async def credentials() -> tuple[str, str]:
        nonlocal asked
        asked += 1
        return "alice", "p@ss:/#?%"

    await use_all(Client(closed.url_for(), credentials))
    assert asked == 3


async def test_over_tls(tmp_path: Path) -> None:
    with ClusterServers(replicas=0, tls=make_tls_files(tmp_path, ask_clients=True), password="secret") as group:
        client = Client(group.url)
        await use_all(client)
        slot = slot_of(KEYS[0])
        group.migrate(slot, group.another_master(slot))
        assert await client.call(b"GET", KEYS[0]) == KEYS[0].encode()
        assert seen(client).redirects == 1


# -- what is out of order --------------------------------------------------------------------------------------


@pytest.mark.alone
async def test_a_cluster_that_is_down_is_waited_for_within_the_deadline_and_then_quoted() -> None:
    with ClusterServers(replicas=0, full_coverage=True, node_timeout_ms=300) as group:
        client = Client(f"{group.url}?socket_timeout=0.5")
        await use_all(client)
        lost = group.owner_of(0)
        other = group.another_master(0)
        key = next(key for key in KEYS if group.owner_of(slot_of(key)) is other)
        lost.kill()
        await eventually(lambda: other.cluster_info()["cluster_state"] == "fail")
        for _ in range(5):
            begun, before = asyncio.get_running_loop().time(), client.stats()
            with Lateness() as lateness, pytest.raises((NotSent, OutcomeUnknown)) as caught:
                await client.call(b"GET", key)
            assert 0.5 <= asyncio.get_running_loop().time() - begun < lateness.allow(0.8)
            assert 3 < client.stats()["redirects"] - before["redirects"] < 25
            if isinstance(caught.value, NotSent):  # else the deadline came while one more try was under way
                break
        assert "last it said: CLUSTERDOWN" in str(caught.value)
        await eventually(lambda: client.stats()["waiting"] == 0)  # a question about the slots may be among them


async def test_while_a_cluster_is_down_for_writes_they_wait() -> None:
    """Servers that go on answering reads say so in other words to a script."""
    allow = "cluster-allow-reads-when-down yes"
    with ClusterServers(allow, replicas=0, full_coverage=True, node_timeout_ms=300) as group:
        factory = redis.factory(f"{group.url}?socket_timeout=20&reconnect_grace=20")
        manager = SessionManager("box", factory, strict=True)
        ids = [await manager.allocate_session(user_id=f"user-{number}") for number in range(40)]
        lost, kept = group.nodes[2], group.nodes[:2]
        here = [each for each in ids if group.owner_of(slot_of(f"{{{each[-6:]}}}")) is not lost][:6]
        lost.kill()
        await eventually(lambda: {node.cluster_info()["cluster_state"] for node in kept} == {"fail"})
        assert (await manager.get_session_info(here[0]) or {})["session_id"] == here[0]
        calls = [
            manager.validate_session(here[0]),
            manager.update_session_metadata(here[1], {"a": 1}),
            manager.delete_session(here[2]),
            manager.increment_session_metadata(here[3], "n"),
            manager.extend_session_ttl(here[4], 1),
            manager.open_session(here[5]),
        ]
        tasks = [asyncio.ensure_future(call) for call in calls]
        redirects = factory.stats()["redirects"]
        await eventually(lambda: factory.stats()["redirects"] > redirects + 20)
        assert not any(task.done() for task in tasks)
        await asyncio.to_thread(lost.restart)
        outcomes = await asyncio.gather(*tasks)
        assert outcomes[:5] == [True, True, True, 1, True]
        assert outcomes[5]
        await factory._client.deployment().close()


async def test_replicas_that_took_over_from_all_that_is_known(cluster: ClusterServers) -> None:
    """While nobody called: each master was replaced, and the seeds of the URL are among these."""
    client = Client(cluster.url)
    await use_all(client)
    await time_passes(QUIET)
    for master in cluster.nodes[:3]:
        master.kill()
        await asyncio.to_thread(cluster.wait_for_promotion, master)
        await asyncio.to_thread(cluster.wait_until_ok)
    assert seen(client).refreshes == 1
    assert await asyncio.gather(*(client.call(b"STRLEN", key) for key in KEYS)) == [len(key) for key in KEYS]
    await client.deployment().close()


async def test_what_a_server_said_last_is_quoted_wherever_the_command_waits_then() -> None:
    """Here for a connection to that server, which hangs up on everybody from then on."""
    gone = False

    def rule(data: bytes) -> bytes:
        nonlocal gone
        if gone or b"GET" in data:
            last = b"" if gone else b"-CLUSTERDOWN The cluster is down\r\n"
            gone = True
            raise HangUp(last)
        slots = f"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$0\r\n\r\n:{seed.split(':')[1]}\r\n"
        return slots.encode() if b"SLOTS" in data else b"+PONG\r\n"

    async with peer(rule) as seed:
        client = Client(f"redis://{seed}?cluster=true&socket_timeout=0.3&reconnect_grace=5")
        with pytest.raises(NotSent, match=r"could not send to Redis at .*; last it said: CLUSTERDOWN The cluster is"):
            await client.call(b"GET", "k")
        await client.deployment().close()


@pytest.mark.parametrize(
    "reply", ["MOVED", "MOVED 5", "MOVED 5 nowhere", "ASK 5 nowhere:port", "MOVED x :", "", "TRYAGAINST"]
)
async def test_a_redirection_that_leads_nowhere_is_the_callers_error(reply: str) -> None:
    def rule(data: bytes) -> bytes:
        slots = f"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$0\r\n\r\n:{seed.split(':')[1]}\r\n"
        answers = {b"SLOTS": slots, b"PING": "+PONG\r\n", b"GET": f"-{reply}\r\n"}
        return next(text for word, text in answers.items() if word in data).encode()

    async with peer(rule) as seed:
        client = Client(f"redis://{seed}?cluster=true&socket_timeout=1")
        with pytest.raises(ServerError) as caught:
            await client.call(b"GET", "k")
        assert str(caught.value) == reply
        await client.deployment().close()


# -- leaving ---------------------------------------------------------------------------------------------------


def owned_by(owner: ClusterNode, witness: ClusterNode) -> frozenset[int]:
    """The slots of one node as another knows them."""
    return next(row.slots for row in witness.rows() if row.node_id == owner.node_id)


async def test_a_master_that_has_lost_its_last_slot_is_left_without_a_trace() -> None:
    tasks = asyncio.all_tasks()
    with ClusterServers(masters=4, replicas=0) as group:
        client = Client(f"{group.url}?client_name=leaving")
        await use_all(client)
        old, new = group.nodes[3], group.nodes[0]
        slots = old.claim().slots
        keys = [key for key in KEYS if slot_of(key) in slots]
        for slot in map(slot_of, keys):
            group.migrate_begin(slot, new)
            group.migrate_keys(slot, new)
        new.command("CLUSTER", "BUMPEPOCH")  # or the old one's word, still on its way, might count for more
        for node in group.nodes[:3]:
            node.commands(*(("CLUSTER", "SETSLOT", str(slot), "NODE", new.node_id) for slot in slots))
        await eventually(lambda: all(slots <= owned_by(new, node) for node in group.nodes))
        assert await asyncio.gather(*(client.call(b"GET", key) for key in keys)) == [key.encode() for key in keys]
        await eventually(lambda: "name=leaving" not in str(old.command("CLIENT", "LIST")))
        await eventually(lambda: asyncio.all_tasks() == tasks)
        assert f":{old.port} " not in repr(seen(client))
        refreshes = seen(client).refreshes
        old.kill()
        await use_all(client)
        assert seen(client).refreshes == refreshes
        assert len(seen(client).watchdog.watched) == 4  # the cluster itself, and three servers
        assert not seen(client)._map._leaving


SHUTDOWN = """
    from chuk_sessions.redis_client.client import Client

    KEYS = [f"k{number}" for number in range(60)]
    tasks = []

    async def main(turns, connected):
        client = Client(url)
        if connected:
            await asyncio.gather(*(client.call(b"GET", key) for key in KEYS))
        tasks[:] = [asyncio.create_task(call(client, key)) for key in KEYS]
        for _ in range(turns):
            await asyncio.sleep(0)

    async def call(client, key):
        return await client.call(b"GET", key)

    for turns, connected in [*((turns, False) for turns in range(40)), *((turns, True) for turns in range(4))]:
        run(main(turns, connected))
        assert all(task.done() for task in tasks)
        gc.collect()
"""


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_that_ends_at_any_moment_ends_without_a_word(cluster_url: str, loop: str) -> None:
    """While it asks for the slots, connects to masters, leaves a seed that has another name, waits for replies."""
    seed = cluster_url.split(",")[0].replace("127.0.0.1", "localhost")
    ends_without_a_word(SHUTDOWN, f"{seed}?cluster=true", loop)
