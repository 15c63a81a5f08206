"""``migrate``: every session arrives as it was, once, whatever happens meanwhile; the rest stays where it is."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.cli.migrate import REMOVE, migrate, same_database
from chuk_sessions.cli.targets import ProviderTarget
from chuk_sessions.ids import session_key
from chuk_sessions.models import SessionRecord
from chuk_sessions.redis_client.client import Client
from chuk_sessions.stores.adoption import Adoption
from tests.support import custom_provider, published
from tests.support.cluster_servers import slot_of
from tests.support.meddler import Meddler
from tests.support.migrations import METADATA, OURS, info_of, manager_of, run, settled, totals
from tests.support.places import server_or_cluster, sessions_in

if TYPE_CHECKING:
    from tests.support.cluster_servers import ClusterNode, ClusterServers
    from tests.support.servers import Server

pytestmark = pytest.mark.redis
redis_server = server_or_cluster


class TestInPlace:
    """From the published layout into ours, in one database."""

    async def test_as_it_was(self, redis_server: Server, redis_url: str) -> None:
        """All fields and the remaining lifetime; the original is gone."""
        before = published.put(redis_server, "id", ttl=5000, status="invalidated")
        assert settled(await migrate(Client(redis_url), Client(redis_url))) == {"moved": 1}
        info = await info_of(redis_url, "id")
        assert {**info, "expires_at": None} == {**before, "expires_at": None}
        assert 4_900_000 < int(str(redis_server.command("PTTL", OURS))) <= 5_000_001
        assert sessions_in(redis_server) == 1

    async def test_twice(self, redis_server: Server, redis_url: str) -> None:
        """The second run has nothing to do and changes nothing."""
        published.put(redis_server, "id")
        await run(redis_url, redis_url)
        dump = redis_server.command("DUMP", OURS)
        assert await run(redis_url, redis_url) == {"seen": 1, "here": 1}
        assert redis_server.command("DUMP", OURS) == dump

    async def test_many_in_batches(self, redis_server: Server, redis_url: str) -> None:
        for number in range(300):
            published.put(redis_server, f"id-{number}", f"box-{number % 3}")
        seen: list[int] = []
        counts = await migrate(Client(redis_url), Client(redis_url), batch=20, progress=lambda c: seen.append(c.seen))
        assert counts.moved == 300
        assert len(seen) > 5
        assert seen == sorted(seen)
        for number in range(300):
            assert await manager_of(redis_url, f"box-{number % 3}").validate_session(f"id-{number}")

    async def test_sandboxes(self, redis_server: Server, redis_url: str) -> None:
        for sandbox_id in "abc":
            published.put(redis_server, f"id-{sandbox_id}", sandbox_id)
        counts = await migrate(Client(redis_url), Client(redis_url), sandboxes=["a", "c"])
        assert settled(counts) == {"moved": 2, "other_sandbox": 1}
        assert published.is_there(redis_server, "id-b")

    async def test_into_a_sandbox(self, redis_server: Server, redis_url: str) -> None:
        """Of processes that were given none: each session has a random one."""
        for number in range(3):
            published.put(redis_server, f"id-{number}", f"sandbox-{number:08x}")
        assert settled(await migrate(Client(redis_url), Client(redis_url), into="shop")) == {"moved": 3}
        for number in range(3):
            assert (await info_of(redis_url, f"id-{number}", "shop"))["sandbox_id"] == "shop"

    async def test_a_dry_run(self, redis_server: Server, redis_url: str) -> None:
        """Counts and changes nothing, and leaves no key of its own."""
        published.put(redis_server, "id")
        published.put(redis_server, "bad", custom_metadata=1)
        assert await run(redis_url, redis_url, dry_run=True) == {"seen": 2, "moved": 1, "left_behind": 1}
        assert redis_server.command("DBSIZE") == 2
        assert published.is_there(redis_server, "id")

    async def test_only_scan(self, redis_server: Server, redis_url: str) -> None:
        """No command that would hold up a server with many keys."""
        published.put(redis_server, "id")
        redis_server.command("CONFIG", "RESETSTAT")
        await run(redis_url, redis_url)
        stats = redis_server.info("commandstats")
        assert "cmdstat_scan" in stats
        assert "cmdstat_keys" not in stats

    async def test_both_there(self, redis_server: Server, redis_url: str) -> None:
        """A published process wrote its copy back after ours was made: they are put together."""
        published.put(redis_server, "id")
        await run(redis_url, redis_url)
        await manager_of(redis_url).update_session_metadata("id", {"ours": 1})
        published.put(redis_server, "id", custom_metadata={"theirs": 1})
        assert settled(await migrate(Client(redis_url), Client(redis_url))) == {"moved": 1, "merged": 1}
        assert (await info_of(redis_url, "id"))["custom_metadata"] == {**METADATA, "ours": 1, "theirs": 1}


LEFT_IN_PLACE = {
    "no session": ("SETEX", "session:x", "100", "text"),
    "another type": ("LPUSH", "session:x", "a"),
    "a hash that is none of ours": ("HSET", "session:x", "v", "1"),
    "a record of another version": ("HSET", session_key("box", "x"), "v", "2"),
    "an unknown kind of key": ("HSET", "session:{000000}:box:x", "v", "1"),
    "without an end": ("SET", "session:x", published.document("x", expires_at=None)),
    "not UTF-8": ("EVAL", "return redis.call('SET', 'session:\\255', ARGV[1])", "0", published.document("x")),
}


@pytest.mark.parametrize("name", LEFT_IN_PLACE)
@pytest.mark.parametrize("across", [True, False], ids=["across", "in place"])
async def test_left_in_place(redis_server: Server, redis_url: str, target: Server, name: str, across: bool) -> None:
    """What cannot be read is counted, and named by a fingerprint and a reason; the others are moved."""
    redis_server.command(*LEFT_IN_PLACE[name])
    published.put(redis_server, "id")
    counts = await migrate(Client(redis_url), Client(target.url if across else redis_url))
    assert settled(counts) == {"moved": 1, "left_behind": 1}
    (problem,) = counts.problems
    assert str(problem).startswith("session ")
    assert "x" not in str(problem).split()
    assert redis_server.command("DBSIZE") == (1 if across else 3)  # with the index of the user


async def test_keys_of_others_are_not_looked_at(redis_server: Server, redis_url: str) -> None:
    redis_server.command("SET", "cache:session:1", "text")
    assert await run(redis_url, redis_url) == {}


class TestAcross:
    """From one server to another."""

    async def test_ours(self, redis_server: Server, redis_url: str, target: Server) -> None:
        """All fields and the remaining lifetime, odd names included; nothing is left at the source."""
        before = {}
        for session_id, sandbox_id in (("id", "box"), ("é{x}* :", "b:o x"), ("sess-" + "1" * 10, "box")):
            manager = manager_of(redis_url, sandbox_id)
            await manager.allocate_session(session_id, "alice", 2, METADATA)
            before[session_id, sandbox_id] = await info_of(redis_url, session_id, sandbox_id)
        own = await manager_of(redis_url).allocate_session(user_id="bob")
        assert await run(redis_url, target.url) == {"seen": 4, "moved": 4}
        for (session_id, sandbox_id), info in before.items():
            assert {**await info_of(target.url, session_id, sandbox_id), "expires_at": 0} == {**info, "expires_at": 0}
        assert await manager_of(target.url).validate_session(own)
        assert 7_100_000 < int(str(target.command("PTTL", OURS))) <= 7_200_001
        assert redis_server.command("DBSIZE") == 0

    async def test_the_published_layout(self, redis_server: Server, redis_url: str, target: Server) -> None:
        before = published.put(redis_server, "id", ttl=5000)
        assert await run(redis_url, target.url) == {"seen": 1, "moved": 1}
        assert {**await info_of(target.url, "id"), "expires_at": 0} == {**before, "expires_at": 0}
        assert 4_900_000 < int(str(target.command("PTTL", OURS))) <= 5_000_001
        assert redis_server.command("DBSIZE") == 0

    async def test_without_a_user_and_metadata(self, redis_url: str, target: Server) -> None:
        await manager_of(redis_url).allocate_session("id")
        await run(redis_url, target.url)
        info = await info_of(target.url, "id")
        assert (info["user_id"], info["custom_metadata"]) == (None, {})

    async def test_another_user_there(self, redis_url: str, target: Server) -> None:
        await manager_of(redis_url).allocate_session("id", "alice")
        await manager_of(target.url).allocate_session("id", "bob")
        assert await run(redis_url, target.url) == {"seen": 1, "left_behind": 1}
        assert (await info_of(redis_url, "id"))["user_id"] == "alice"
        assert (await info_of(target.url, "id"))["user_id"] == "bob"

    async def test_a_target_record_that_cannot_be_read(self, redis_url: str, target: Server) -> None:
        await manager_of(redis_url).allocate_session("id", "alice")
        target.command("HSET", OURS, "v", "9")
        assert await run(redis_url, target.url) == {"seen": 1, "left_behind": 1}
        assert target.command("HGETALL", OURS) == ["v", "9"]


class TestToACluster:
    """By the command, from a server or another cluster, in both layouts."""

    async def test_as_it_was(
        self, redis_server: Server, redis_url: str, cluster: ClusterServers, capfd: pytest.CaptureFixture[str]
    ) -> None:
        published.put(redis_server, "theirs")
        await manager_of(redis_url).allocate_session("ours", "alice", 2, METADATA)
        before = await info_of(redis_url, "ours")
        command = [sys.executable, "-m", "chuk_sessions", "migrate", "--from", redis_url, "--to", cluster.url]
        process = await asyncio.create_subprocess_exec(*command)
        assert await process.wait() == 0
        assert "moved: 2" in capfd.readouterr().out
        assert {**await info_of(cluster.url, "ours"), "expires_at": 0} == {**before, "expires_at": 0}
        assert (await info_of(cluster.url, "theirs"))["custom_metadata"] == METADATA
        assert redis_server.command("DBSIZE") == 0

    async def test_while_slots_move(self, redis_server: Server, redis_url: str, cluster: ClusterServers) -> None:
        """From a cluster that is being changed: every session arrives."""
        manager = manager_of(cluster.url)
        ids = [await manager.allocate_session(f"id-{number}") for number in range(200)]
        slots = iter(sorted({slot_of(session_key("box", session_id)) for session_id in ids[:20]}))
        homes: dict[int, ClusterNode] = {}

        def move_one(_: object) -> None:
            slot = next(slots, None)
            if slot is not None:
                homes[slot] = cluster.owner_of(slot)
                cluster.migrate(slot, cluster.another_master(slot))

        try:
            counts = await migrate(Client(cluster.url), Client(redis_url), batch=5, progress=move_one)
        finally:
            for slot, home in homes.items():
                cluster.migrate(slot, home)
        assert homes
        assert (counts.moved, counts.left_behind) == (200, 0)
        assert redis_server.command("DBSIZE") == 200
        assert all(await asyncio.gather(*map(manager_of(redis_url).validate_session, ids)))


async def test_metadata_that_the_target_does_not_take(
    redis_server: Server, redis_url: str, target: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reported and left; the others are moved."""
    monkeypatch.setattr("chuk_sessions.providers.redis.record.MAX_FIELDS", 2)
    published.put(redis_server, "id")
    published.put(redis_server, "small", custom_metadata={})
    for url in (target.url, redis_url):
        published.put(redis_server, "small", custom_metadata={})
        counts = await migrate(Client(redis_url), Client(url))
        assert (counts.moved, counts.left_behind) == (1, 1)
        assert "more than 2 keys" in str(counts.problems[0])
        assert published.is_there(redis_server, "id")


async def test_the_third_version_of_the_protocol(redis_server: Server, redis_url: str, target: Server) -> None:
    """Where replies have other shapes."""
    published.put(redis_server, "id-one")
    await manager_of(redis_url).allocate_session("id-two", "alice", 1, METADATA)
    options = "?protocol=3"
    assert await run(redis_url + options, target.url + options) == {"seen": 2, "moved": 2}
    assert (await info_of(target.url, "id-two"))["custom_metadata"] == METADATA


async def test_same_database(redis_server: Server, redis_url: str, target: Server) -> None:
    """Told apart by looking, not by name; no trace of it."""
    assert await same_database(Client(redis_url), Client(f"{redis_url}?client_name=x")) is True
    assert await same_database(Client(redis_url), Client(target.url)) is False
    assert redis_server.command("DBSIZE") == 0 == target.command("DBSIZE")


class TestToAProviderOfOnesOwn:
    """Which gets one document per session, as if it had been made there."""

    def open(self, data: custom_provider.Data) -> tuple[ProviderTarget, SessionManager]:
        factory = custom_provider.factory(data)
        return ProviderTarget(factory), SessionManager("box", factory, strict=True)

    async def test_as_it_was(self, redis_server: Server, redis_url: str) -> None:
        await manager_of(redis_url).allocate_session("ours", "alice", 2, METADATA)
        infos = {"ours": await info_of(redis_url, "ours"), "theirs": published.put(redis_server, "theirs", ttl=7200)}
        target, manager = self.open({})
        assert totals(await migrate(Client(redis_url), target)) == {"seen": 2, "moved": 2}
        for session_id, before in infos.items():
            info = await manager.get_session_info(session_id)
            assert info is not None
            assert {**info, "expires_at": 0} == {**before, "expires_at": 0}
            assert abs(seconds_of(info["expires_at"]) - seconds_of(before["expires_at"])) < 60
        assert redis_server.command("DBSIZE") == 0

    @pytest.mark.parametrize("newer", [True, False])
    async def test_merged(self, redis_server: Server, redis_url: str, newer: bool) -> None:
        """Keys of both, of common ones the side used last; the later deadline."""
        accessed = "2100-01-01T00:00:00.000000Z" if newer else "2020-01-01T00:00:00.000000Z"
        times = {"created_at": "2020-01-01T00:00:00.000000Z", "last_accessed": accessed}
        published.put(redis_server, "id", ttl=6000, custom_metadata={"b": "there", "c": "there"}, **times)
        target, manager = self.open({})
        await manager.allocate_session("id", "alice", 1, {"a": "here", "b": "here"})
        assert totals(await migrate(Client(redis_url), target)) == {"seen": 1, "moved": 1, "merged": 1}
        info = await manager.get_session_info("id")
        assert info is not None
        assert info["custom_metadata"] == {"a": "here", "b": "there" if newer else "here", "c": "there"}
        assert (info["last_accessed"] == accessed) is newer
        assert 5000 < seconds_of(info["expires_at"]) - time.time() <= 6000

    async def test_refused(self, redis_server: Server, redis_url: str) -> None:
        """Another user's session, and a document that cannot be read, stay as they are, and so does the source."""
        data: custom_provider.Data = {session_key("box", "id-b"): ("text", 1e12)}
        target, manager = self.open(data)
        await manager.allocate_session("id-a", "bob")
        for session_id in ("id-a", "id-b"):
            published.put(redis_server, session_id)
        assert totals(await migrate(Client(redis_url), target)) == {"seen": 2, "left_behind": 2}
        info = await manager.get_session_info("id-a")
        assert info is not None
        assert info["user_id"] == "bob"
        assert data[session_key("box", "id-b")][0] == "text"
        assert redis_server.command("DBSIZE") == 2

    @pytest.mark.parametrize("there", [1, 2])
    async def test_changed_at_the_last_moment(self, redis_server: Server, redis_url: str, there: int) -> None:
        """What was put is removed and put anew, unless it was used: then both count."""
        await manager_of(redis_url).allocate_session("id", "alice", 2, {"secret": 1})
        data: custom_provider.Data = {}
        target, manager = self.open(data)

        def change() -> None:
            redis_server.command("HDEL", OURS, "m:secret")
            if there == 2:
                text, deadline = data[OURS]
                data[OURS] = (text.replace("secret", "there"), deadline)

        counts = await migrate(Meddler(redis_url, REMOVE, change), target)
        assert (counts.moved, counts.merged) == (1, there - 1)
        info = await manager.get_session_info("id")
        assert info is not None
        assert info["custom_metadata"] == ({} if there == 1 else {"there": 1})

    async def test_changed_and_ended_there(self, redis_server: Server, redis_url: str) -> None:
        """Nothing is left to take back. What was ended is not remembered by such a provider: it comes anew."""
        await manager_of(redis_url).allocate_session("id", "alice", 2, {"secret": 1})
        data: custom_provider.Data = {}
        target, _ = self.open(data)

        def change() -> None:
            redis_server.command("HDEL", OURS, "m:secret")
            data.clear()

        counts = await migrate(Meddler(redis_url, REMOVE, change), target)
        assert totals(counts) == {"seen": 1, "moved": 1}

    async def test_a_lifetime_beyond_all_calendars(self, redis_server: Server, redis_url: str) -> None:
        """It gets the longest that can be read again."""
        published.put(redis_server, "id", ttl=10**12, expires_at=None)
        target, manager = self.open({})
        assert totals(await migrate(Client(redis_url), target)) == {"seen": 1, "moved": 1}
        info = await manager.get_session_info("id")
        assert info is not None
        assert info["expires_at"].startswith("9999-")

    async def test_deleted_at_the_last_moment(self, redis_server: Server, redis_url: str) -> None:
        published.put(redis_server, "id")
        data: custom_provider.Data = {}
        target, _ = self.open(data)
        source = Meddler(redis_url, REMOVE, lambda: redis_server.command("DEL", "session:id"))
        assert totals(await migrate(source, target)) == {"seen": 1, "ended": 1}
        assert data == {}

    async def test_expired(self) -> None:
        """Nothing is written."""
        data: custom_provider.Data = {}
        target, _ = self.open(data)
        assert await target.adopt("box", "id", SessionRecord(None, 1.0, 2.0, 1.0, {}), 0.0) is Adoption.EXPIRED
        assert data == {}


def seconds_of(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
