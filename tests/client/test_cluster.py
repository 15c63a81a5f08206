"""Redis Cluster as callers see it: every operation finds its server, whatever moves meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.exceptions import NotSent, ServerError
from chuk_sessions.ids import session_key, user_tag
from chuk_sessions.providers import redis
from chuk_sessions.providers.redis.keys import index_key
from chuk_sessions.redis_client.batch import BatchScript
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.cluster import Cluster
from chuk_sessions.redis_client.commands import Replay
from chuk_sessions.redis_client.scripts import Script
from chuk_sessions.redis_client.slots import slot_of
from tests.support.cluster_servers import ClusterServers
from tests.support.helpers import eventually
from tests.support.lateness import Lateness

pytestmark = pytest.mark.redis

BOTH = Script("return redis.call('MGET', KEYS[1], KEYS[2])")
NAMES = BatchScript("local found = {} for i = 1, #KEYS do found[i] = redis.call('GET', KEYS[i]) end return found")


@pytest.fixture
def client(cluster: ClusterServers) -> Client:
    """Of the cluster, which is empty."""
    return Client(cluster.url)


def seen(client: Client) -> Cluster:
    """The cluster as the running loop sees it."""
    deployment = client.deployment()
    assert isinstance(deployment, Cluster)
    return deployment


async def connect_to_all(client: Client) -> None:
    """As a client is that has been in use for a while."""
    await asyncio.gather(*(client.call(b"GET", f"k{number}") for number in range(50)))
    await eventually(lambda: not seen(client)._map.is_refreshing())


class Move:
    """One slot with two keys, each holding its own name, and where the slot is to go."""

    def __init__(self, cluster: ClusterServers, tag: str = "moving") -> None:
        self.cluster = cluster
        self.one, self.two, self.missing = f"{{{tag}}}1", f"{{{tag}}}2", f"{{{tag}}}missing"
        self.slot = slot_of(self.one)
        self.source, self.target = cluster.owner_of(self.slot), cluster.another_master(self.slot)
        self.source.command("MSET", self.one, self.one, self.two, self.two)

    def begin(self, moved: int = 0) -> None:
        self.cluster.migrate_begin(self.slot, self.target)
        if moved:
            assert self.cluster.migrate_keys(self.slot, self.target, moved) == moved

    def abandon(self) -> None:
        for node in (self.source, self.target):
            node.command("CLUSTER", "SETSLOT", str(self.slot), "STABLE")

    def finish(self) -> None:
        if self.cluster.owner_of(self.slot) is self.target:
            return
        self.cluster.migrate_keys(self.slot, self.target)
        self.cluster.migrate_end(self.slot, self.target)


@pytest.fixture
async def move(cluster: ClusterServers) -> AsyncIterator[Move]:
    """Not begun yet; ended after the test."""
    move = Move(cluster)
    yield move
    move.finish()


async def test_every_operation_of_sessions_on_all_masters(cluster: ClusterServers) -> None:
    manager = SessionManager("box", redis.factory(cluster.url), strict=True)
    users = [f"user-{number}" for number in range(60)]
    ids = await asyncio.gather(*(manager.allocate_session(user_id=user, custom_metadata={"n": user}) for user in users))
    assert all(int(str(master.command("DBSIZE"))) > 5 for master in cluster.masters)
    assert all(await asyncio.gather(*map(manager.validate_session, ids)))
    assert all(await asyncio.gather(*(manager.update_session_metadata(each, {"more": 1}) for each in ids)))
    assert all(await asyncio.gather(*(manager.extend_session_ttl(each, 1) for each in ids)))
    assert all(await asyncio.gather(*(manager.set_session_ttl(each, 1) for each in ids)))
    infos = await asyncio.gather(*map(manager.get_session_info, ids))
    assert [info and info["custom_metadata"] for info in infos] == [{"n": user, "more": 1} for user in users]
    assert all(await asyncio.gather(*map(manager.delete_session, ids)))
    assert not any(await asyncio.gather(*map(manager.validate_session, ids)))
    assert seen(manager._store._client).redirects == 0  # type: ignore[attr-defined]


async def test_an_index_of_expired_members_in_a_slot_that_moves(cluster: ClusterServers) -> None:
    """It is emptied by who lists it, and a script that then read it would break off."""
    manager = SessionManager("box", redis.factory(cluster.url), strict=True)
    key = index_key("box", user_tag("box", "alice"))
    move = Move(cluster, user_tag("box", "alice"))
    for call in (manager.list_user_sessions, manager.delete_user_sessions):
        session_id = await manager.allocate_session(user_id="alice")
        assert await call("alice")  # the server has the script
        await manager.delete_session(session_id)
        move.source.command("ZADD", key, "1000", f"5:alice1.:{session_id}")
        move.begin()
        try:
            assert not await call("alice")
        finally:
            move.abandon()
        assert not move.source.command("EXISTS", key)


async def test_all_sessions_of_a_user_are_in_one_slot(cluster: ClusterServers) -> None:
    """And the user's index too, so that one script can see them together."""
    manager = SessionManager("box", redis.factory(cluster.url), strict=True)
    await asyncio.gather(*(manager.allocate_session(user_id="alice") for _ in range(20)))
    keys = [str(key) for master in cluster.masters for key in master.command("KEYS", "*")]  # type: ignore[union-attr]
    assert len(keys) == 21
    assert len({slot_of(key) for key in keys}) == 1


async def test_keys_of_a_script_in_two_slots_are_the_servers_error(client: Client) -> None:
    with pytest.raises(ServerError, match="CROSSSLOT"):
        await BOTH.run(client, ("foo", "bar"), ())


async def test_validations_of_one_slot_share_a_command_and_those_of_others_do_not(client: Client) -> None:
    keys = [f"{{{tag}}}{number}" for tag in ("a", "b", "c", "d") for number in range(20)]
    await asyncio.gather(*(client.call(b"SET", key, key) for key in keys))
    await asyncio.gather(*(NAMES.run(client, key, (), Replay.READ) for key in keys))  # now every server has the script
    before = seen(client).written
    names = await asyncio.gather(*(NAMES.run(client, key, (), Replay.READ) for key in keys))
    assert names == [key.encode() for key in keys]
    assert seen(client).written - before == 4


async def test_validations_of_two_slots_in_turns_are_two_commands(client: Client) -> None:
    """One after the other from each; those who give up before they are sent get nothing, and the others theirs."""
    keys = [f"{{{'ab'[number % 2]}}}{number}" for number in range(40)]
    await asyncio.gather(*(client.call(b"SET", key, key) for key in keys))
    await asyncio.gather(*(NAMES.run(client, key, (), Replay.READ) for key in keys))
    before, keys_before = seen(client).written, seen(client).script_keys
    calls = [asyncio.ensure_future(NAMES.run(client, key, (), Replay.READ)) for key in keys]
    for number in (0, 1, 7):
        asyncio.get_running_loop().call_soon(calls[number].cancel)
    names = await asyncio.gather(*calls, return_exceptions=True)
    left = [key.encode() for number, key in enumerate(keys) if number not in (0, 1, 7)]
    assert [name for name in names if isinstance(name, bytes)] == left
    assert seen(client).written - before == 2
    assert seen(client).script_keys - keys_before == 37


async def test_batches_that_were_written_are_not_kept(client: Client) -> None:
    """However many slots there are keys in; those that are never written, as their callers gave up, not for long."""
    keys = [f"k{number}" for number in range(1000)]
    for start in range(0, 1000, 100):
        await asyncio.gather(*(NAMES.run(client, key, (), Replay.READ) for key in keys[start : start + 100]))
        assert not seen(client).open_batches
    for start in range(0, 1000, 100):
        calls = [asyncio.ensure_future(NAMES.run(client, key, ())) for key in keys[start : start + 100]]
        await asyncio.sleep(0)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await client.call(b"GET", "k0")
    assert len(seen(client).open_batches) <= 300


async def test_a_slot_that_has_moved_is_learnt_from_one_redirection(client: Client, move: Move) -> None:
    assert await client.call(b"GET", move.one) == move.one.encode()
    move.begin()
    move.finish()
    assert await client.call(b"GET", move.one) == move.one.encode()
    assert seen(client).redirects == 1
    assert await client.call(b"GET", move.two) == move.two.encode()
    assert await BOTH.run(client, (move.one, move.two), ()) == [move.one.encode(), move.two.encode()]
    assert seen(client).redirects == 1


async def test_of_a_batch_only_what_has_moved_is_redirected(client: Client, move: Move) -> None:
    """Commands beside it, to the same server and in the same write, are carried out once."""
    others = [f"k{number}" for number in range(300)]
    await asyncio.gather(*(client.call(b"SET", key, "0") for key in [*others, move.one]))
    move.begin()
    move.finish()
    counts = await asyncio.gather(*(client.call(b"INCR", key) for key in [*others, move.one]))
    assert counts == [1] * 301
    assert seen(client).redirects == 1


async def test_hundreds_of_callers_that_meet_moved_cause_one_refresh(client: Client, move: Move) -> None:
    await connect_to_all(client)
    before = seen(client).refreshes
    move.begin()
    move.finish()
    keys = [move.one, move.two] * 200
    assert await asyncio.gather(*(client.call(b"GET", key) for key in keys)) == [key.encode() for key in keys]
    assert seen(client).redirects > 100
    await eventually(lambda: not seen(client)._map.is_refreshing())
    assert seen(client).refreshes - before == 1


async def test_a_key_on_its_way_is_found_on_either_side(client: Client, move: Move) -> None:
    await connect_to_all(client)
    move.begin(moved=1)
    keys = [move.one, move.two, move.missing]
    for _ in range(5):
        values = await asyncio.gather(*(client.call(b"GET", key) for key in keys))
        assert values == [move.one.encode(), move.two.encode(), None]
    assert seen(client).redirects == 10  # one of the two, and the missing one: each asked for where it may be
    await client.call(b"SET", move.missing, "new")
    assert move.target.commands(("ASKING",), ("GET", move.missing))[-1] == "new"


async def test_a_script_whose_keys_are_on_two_servers_waits_until_they_are_together(client: Client, move: Move) -> None:
    assert await BOTH.run(client, (move.one, move.two), ()) == [move.one.encode(), move.two.encode()]
    move.begin(moved=1)
    both = asyncio.create_task(BOTH.run(client, (move.one, move.two), ()))
    await eventually(lambda: seen(client).redirects >= 2)
    assert not both.done()
    move.finish()
    assert await both == [move.one.encode(), move.two.encode()]


async def test_a_script_that_has_waited_long_still_follows_its_keys(client: Client, move: Move) -> None:
    """However often it was told to come back: the slot need not have become the other server's."""
    await BOTH.run(client, (move.one, move.two), ())
    move.begin(moved=1)
    both = asyncio.create_task(BOTH.run(client, (move.one, move.two), ()))
    await eventually(lambda: seen(client).redirects >= 20)
    assert move.cluster.migrate_keys(move.slot, move.target) == 1
    assert await both == [move.one.encode(), move.two.encode()]


async def test_a_batch_whose_keys_are_on_two_servers_goes_to_both(client: Client, move: Move) -> None:
    """Validations of one user, say: none has to wait until all the user's sessions have moved."""
    keys = [move.one, move.two, move.missing]
    await asyncio.gather(*(NAMES.run(client, key, ()) for key in keys))
    move.begin(moved=1)
    values = await asyncio.gather(*(NAMES.run(client, key, ()) for key in keys))
    assert values == [move.one.encode(), move.two.encode(), None]


@pytest.mark.alone
async def test_a_script_that_waits_keeps_its_deadline(cluster: ClusterServers, move: Move) -> None:
    client = Client(f"{cluster.url}?socket_timeout=0.3")
    await BOTH.run(client, (move.one, move.two), ())
    move.begin(moved=1)
    begun = asyncio.get_running_loop().time()
    with Lateness() as lateness, pytest.raises(NotSent, match=r"within 0\.3 s; last it said: TRYAGAIN"):
        await BOTH.run(client, (move.one, move.two), ())
    assert 0.3 <= asyncio.get_running_loop().time() - begun < lateness.allow(0.6)
    await eventually(lambda: seen(client).waiting == 0)


async def test_a_caller_that_gives_up_never_parts_asking_from_its_command(client: Client, move: Move) -> None:
    """Each key holds its own name; a lone ASKING would let the next command of another slot in, or leave it out."""
    chooser = random.Random(4)
    tags = [f"{{moving}}{number}" for number in range(200)]
    await asyncio.gather(*(client.call(b"SET", key, key) for key in tags))
    move.begin(moved=100)
    for _ in range(30):
        calls = {key: client.call(b"GET", key) for key in chooser.sample(tags, 100)}
        for key in chooser.sample(sorted(calls), 50):
            asyncio.get_running_loop().call_later(chooser.random() * 0.003, calls[key].cancel)
        for key, value in zip(calls, await asyncio.gather(*calls.values(), return_exceptions=True), strict=True):
            assert value == key.encode() or isinstance(value, asyncio.CancelledError)
    assert seen(client).redirects > 500
    await eventually(lambda: seen(client).in_flight == 0)


async def test_a_validation_on_its_way_in_a_batch(client: Client, move: Move) -> None:
    await NAMES.run(client, move.one, ())
    move.begin(moved=1)
    names = asyncio.gather(*(NAMES.run(client, key, (), Replay.READ) for key in (move.one, move.two) * 10))
    await eventually(lambda: seen(client).redirects >= 2)
    move.finish()
    assert await names == [move.one.encode(), move.two.encode()] * 10


async def test_a_session_goes_on_through_the_move_of_its_slot(cluster: ClusterServers) -> None:
    manager = SessionManager("box", redis.factory(cluster.url), strict=True)
    session_id = await manager.allocate_session(user_id="alice", custom_metadata={"a": 1})
    slot = slot_of(session_key("box", session_id))
    target = cluster.another_master(slot)
    cluster.migrate_begin(slot, target)
    assert await manager.update_session_metadata(session_id, {"b": 2})
    assert cluster.migrate_keys(slot, target) == 2  # it and the index of its user
    assert await manager.validate_session(session_id)
    assert await manager.update_session_metadata(session_id, {"c": 3})
    cluster.migrate_end(slot, target)
    info = await manager.get_session_info(session_id)
    assert info is not None
    assert info["custom_metadata"] == {"a": 1, "b": 2, "c": 3}
    assert await manager.delete_session(session_id)


async def test_sessions_are_opened_on_their_way_each_for_its_owner(cluster: ClusterServers) -> None:
    """In one batch whose keys are on both sides: each keeps the argument that is its own."""
    manager = SessionManager("box", redis.factory(cluster.url), strict=True)
    ids = [await manager.allocate_session(user_id="alice", custom_metadata={"n": n}) for n in range(12)]
    owners = ["alice" if n % 3 else "mallory" for n in range(12)]
    slot = slot_of(session_key("box", ids[0]))
    target = cluster.another_master(slot)

    async def opened() -> list[object]:
        calls = [manager.open_session(each, owner=owner) for each, owner in zip(ids, owners, strict=True)]
        return [info and info["custom_metadata"]["n"] for info in await asyncio.gather(*calls)]

    expected = [n if n % 3 else None for n in range(12)]
    assert await opened() == expected
    cluster.migrate_begin(slot, target)
    for _ in range(13):  # and the index of the user
        assert cluster.migrate_keys(slot, target, 1) == 1
        assert await opened() == expected
    cluster.migrate_end(slot, target)
    assert await opened() == expected


async def test_a_killed_master_is_left_and_the_new_one_found(cluster: ClusterServers) -> None:
    client = Client(f"{cluster.url}?reconnect_grace=20&socket_timeout=20")
    await connect_to_all(client)
    killed = cluster.owner_of(slot_of("foo"))
    killed.commands(("SET", "foo", "foo"), ("WAIT", "1", "5000"))
    killed.kill()
    assert await client.call(b"GET", "foo", replay=Replay.READ) == b"foo"
    assert await client.call(b"SET", "foo", "bar") == b"OK"
    assert f"<Node {killed.host}:{killed.port}" not in repr(client)
