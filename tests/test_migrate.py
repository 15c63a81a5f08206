"""``migrate``: every session arrives as it was, once, whatever happens meanwhile; the rest stays where it is."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import ProviderError, SessionManager
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.client import Client
from chuk_sessions.session_ids import session_key
from chuk_sessions.tools import stored
from chuk_sessions.tools.migrate import LOCK, REMOVE, Counts, _Run, migrate, same_database
from tests import published
from tests.helpers import eventually
from tests.meddler import Meddler
from tests.servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers import Server

pytestmark = pytest.mark.redis
OURS = session_key("box", "id")
METADATA = {"role": "admin", "n": [1, None], "big": 2**70}


@pytest.fixture(scope="module")
def other_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def target(other_server: RedisServer) -> RedisServer:
    """An empty server that is not the source."""
    other_server.flush()
    return other_server


def manager_of(url: str, sandbox_id: str = "box") -> SessionManager:
    return SessionManager(sandbox_id, redis.factory(url), strict=True)


async def info_of(url: str, session_id: str, sandbox_id: str = "box") -> dict[str, Any]:
    info = await manager_of(url, sandbox_id).get_session_info(session_id)
    assert info is not None
    return info


def totals(counts: Counts) -> dict[str, int]:
    """The counts that are not zero."""
    return {name: number for name, number in vars(counts).items() if isinstance(number, int) and number}


async def run(source: str, target: str, **options: Any) -> dict[str, int]:
    return totals(await migrate(Client(source), Client(target), **options))


class TestInPlace:
    """From the published layout into ours, in one database."""

    async def test_as_it_was(self, redis_server: Server, redis_url: str) -> None:
        """All fields and the remaining lifetime; the original is gone."""
        before = published.put(redis_server, "id", ttl=5000, status="invalidated")
        assert await run(redis_url, redis_url) == {"seen": 1, "moved": 1}
        info = await info_of(redis_url, "id")
        assert {**info, "expires_at": None} == {**before, "expires_at": None}
        assert 4_900_000 < int(str(redis_server.command("PTTL", OURS))) <= 5_000_001
        assert redis_server.command("DBSIZE") == 1

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
        assert await run(redis_url, redis_url, sandboxes=["a", "c"]) == {"seen": 3, "moved": 2, "other_sandbox": 1}
        assert published.is_there(redis_server, "id-b")

    async def test_into_a_sandbox(self, redis_server: Server, redis_url: str) -> None:
        """Of processes that were given none: each session has a random one."""
        for number in range(3):
            published.put(redis_server, f"id-{number}", f"sandbox-{number}{number}")
        assert await run(redis_url, redis_url, into="shop") == {"seen": 3, "moved": 3}
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
        assert await run(redis_url, redis_url) == {"seen": 2, "moved": 1, "merged": 1, "here": 1}
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
    assert totals(counts) == {"seen": 2, "moved": 1, "left_behind": 1}
    (problem,) = counts.problems
    assert str(problem).startswith("key ")
    assert "x" not in str(problem).split()
    assert redis_server.command("DBSIZE") == (1 if across else 2)


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


class TestMeanwhile:
    """Something happens to a session between its reading and its removal; each run begins with a reading of before."""

    async def begin(self, url: str, key: str) -> stored.Stored:
        client = Client(url)
        kind = await client.call(b"TYPE", key)
        found = await stored.read(client, key.encode(), kind)
        assert isinstance(found, stored.Stored)
        return found

    async def finish(self, found: stored.Stored, source: str, target: str) -> dict[str, int]:
        run = _Run(Client(source), Client(target), source == target, (), None, False)
        await run._move_stored(found)
        return totals(run.counts)

    @pytest.mark.parametrize("layout", ["ours", "published"])
    async def test_changed(self, redis_server: Server, redis_url: str, target: Server, layout: str) -> None:
        """The change arrives too."""
        key = await self.prepare(redis_server, redis_url, layout)
        found = await self.begin(redis_url, key)
        if layout == "ours":
            await manager_of(redis_url).update_session_metadata("id", {"role": "guest", "new": 1})
        else:
            accessed = "2100-01-01T00:00:00.000000Z"
            published.put(redis_server, "id", last_accessed=accessed, custom_metadata={"role": "guest", "new": 1})
        assert (await self.finish(found, redis_url, target.url))["moved"] == 1
        metadata = (await info_of(target.url, "id"))["custom_metadata"]
        assert (metadata["role"], metadata["new"]) == ("guest", 1)
        assert redis_server.command("DBSIZE") == 0

    @pytest.mark.parametrize("layout", ["ours", "published"])
    @pytest.mark.parametrize("interrupted_before", [False, True])
    async def test_deleted(
        self, redis_server: Server, redis_url: str, target: Server, layout: str, interrupted_before: bool
    ) -> None:
        """A logout at the source holds at the target, also if an earlier run had brought the session there."""
        key = await self.prepare(redis_server, redis_url, layout)
        if interrupted_before:
            await manager_of(target.url).allocate_session("id", "alice")
        found = await self.begin(redis_url, key)
        redis_server.command("DEL", key)
        assert await self.finish(found, redis_url, target.url) == {"ended": 1}
        assert target.command("DBSIZE") == 0

    async def test_deleted_in_place(self, redis_server: Server, redis_url: str) -> None:
        key = await self.prepare(redis_server, redis_url, "published")
        found = await self.begin(redis_url, key)
        redis_server.command("DEL", key)
        assert await self.finish(found, redis_url, redis_url) == {"ended": 1}
        assert redis_server.command("DBSIZE") == 0

    async def test_changed_in_place(self, redis_server: Server, redis_url: str) -> None:
        key = await self.prepare(redis_server, redis_url, "published")
        found = await self.begin(redis_url, key)
        published.put(redis_server, "id", custom_metadata={"role": "guest"})
        assert await self.finish(found, redis_url, redis_url) == {"moved": 1}
        assert (await info_of(redis_url, "id"))["custom_metadata"] == {"role": "guest"}

    async def test_taken_over_at_the_source(
        self, redis_server: Server, redis_url: str, target: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A process with SESSION_LEGACY_READ was quicker. It lives on there, and the next run moves it."""
        monkeypatch.setenv("SESSION_LEGACY_READ", "1")
        key = await self.prepare(redis_server, redis_url, "published")
        found = await self.begin(redis_url, key)
        assert await manager_of(redis_url).update_session_metadata("id", {"new": 1})
        assert await self.finish(found, redis_url, target.url) == {"ended": 1}
        assert await run(redis_url, target.url) == {"seen": 1, "moved": 1, "merged": 1}
        assert (await info_of(target.url, "id"))["custom_metadata"] == {**METADATA, "new": 1}

    async def test_a_logout_that_a_cache_undid(
        self, redis_server: Server, redis_url: str, target: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What a published process wrote back after the logout is no session, wherever it would go."""
        monkeypatch.setenv("SESSION_LEGACY_READ", "1")
        for url in (target.url, redis_url):
            text = published.document("id")
            redis_server.command("SETEX", "session:id", "100", text)
            assert await manager_of(redis_url).delete_session("id") is True
            redis_server.command("SETEX", "session:id", "100", text)
            assert await run(redis_url, url) == {"seen": 1, "ended": 1}
            assert not published.is_there(redis_server, "id")
            assert target.command("DBSIZE") == 0

    async def prepare(self, server: Server, url: str, layout: str) -> str:
        if layout == "ours":
            await manager_of(url).allocate_session("id", "alice", 2, METADATA)
            return OURS
        published.put(server, "id")
        return "session:id"


class TestWhileServing:
    async def test_our_processes(self, redis_server: Server, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Updates through SESSION_LEGACY_READ at the same time: none is lost, nobody is logged out."""
        monkeypatch.setenv("SESSION_LEGACY_READ", "1")
        ids = [f"id-{number}" for number in range(200)]
        for session_id in ids:
            published.put(redis_server, session_id)
        manager = manager_of(redis_url)
        updates = [manager.update_session_metadata(session_id, {"new": session_id}) for session_id in ids]
        done = await asyncio.gather(migrate(Client(redis_url), Client(redis_url), batch=10), *updates)
        assert all(done[1:])
        for session_id in ids:
            assert (await info_of(redis_url, session_id))["custom_metadata"] == {**METADATA, "new": session_id}
        assert redis_server.command("DBSIZE") == 200

    async def test_published_processes(self, redis_server: Server, redis_url: str) -> None:
        """They read, change and write back whole documents, from a cache as well. After another run all is one."""
        ids = [f"id-{number}" for number in range(200)]
        cached = {session_id: published.put(redis_server, session_id) for session_id in ids}
        writer = Client(redis_url)

        async def write_back(session_id: str) -> None:
            fields = cached[session_id]
            fields["custom_metadata"]["theirs"] = session_id
            fields["last_accessed"] = "2100-01-01T00:00:00.000000Z"
            await writer.call(b"SETEX", f"session:{session_id}", 5000, json.dumps(fields))

        await asyncio.gather(migrate(Client(redis_url), Client(redis_url), batch=10), *map(write_back, ids))
        await run(redis_url, redis_url)
        for session_id in ids:
            assert (await info_of(redis_url, session_id))["custom_metadata"] == {**METADATA, "theirs": session_id}
        assert redis_server.command("DBSIZE") == 200


class TestInterrupted:
    def start(self, source: str, target: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "chuk_sessions", "migrate", "--from", "env:SOURCE", "--to", target]
        environment = {**os.environ, "SOURCE": source}
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [*command, "--batch", "1"], env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    async def test_and_run_again(
        self, redis_server: Server, redis_url: str, target: Server, number: signal.Signals
    ) -> None:
        """Asked to end, it ends after a batch and says so; killed, it loses nothing either."""
        ids = [f"id-{number}" for number in range(2000)]
        for session_id in ids:
            published.put(redis_server, session_id)
        with self.start(redis_url, target.url) as process:
            await eventually(lambda: int(str(target.command("DBSIZE"))) > 0)
            process.send_signal(number)
            output, _ = process.communicate(timeout=30)
        assert 0 < int(str(target.command("DBSIZE"))) < 2000
        if number is signal.SIGKILL:
            assert redis_server.command("EXISTS", LOCK.decode()) == 1
            with pytest.raises(ProviderError, match="another migration"):
                await run(redis_url, target.url)
            redis_server.command("DEL", LOCK.decode())  # as a minute does
        else:
            assert process.returncode == 130
            assert "interrupted: run it again to go on" in output
        await run(redis_url, target.url)
        assert redis_server.command("DBSIZE") == 0
        assert target.command("DBSIZE") == 2000
        manager = manager_of(target.url)
        assert all(await asyncio.gather(*map(manager.validate_session, ids)))

    async def test_put_and_not_removed(self, redis_server: Server, redis_url: str, target: Server) -> None:
        """The one state that an interruption can leave: the session is at both, and was used at the target since."""
        published.put(redis_server, "id")
        dump = redis_server.command("GET", "session:id")
        await run(redis_url, target.url)
        await manager_of(target.url).update_session_metadata("id", {"role": "guest"})
        redis_server.command("SETEX", "session:id", "5000", str(dump))
        assert await run(redis_url, target.url) == {"seen": 1, "moved": 1, "merged": 1}
        assert (await info_of(target.url, "id"))["custom_metadata"] == {**METADATA, "role": "guest"}

    async def test_stopping(self, redis_server: Server, redis_url: str) -> None:
        """Asked after each batch; the lock is given back."""
        for number in range(100):
            published.put(redis_server, f"id-{number}")
        counts = await migrate(Client(redis_url), Client(redis_url), batch=5, stop=lambda: True)
        assert 0 < counts.moved < 100
        assert redis_server.command("EXISTS", LOCK.decode()) == 0

    async def test_a_target_that_refuses(self, redis_server: Server, redis_url: str, target: Server) -> None:
        """The error is told, nothing is lost, the lock is given back."""
        with RedisServer("maxmemory 1", "maxmemory-policy noeviction") as full:
            published.put(redis_server, "id")
            with pytest.raises(ProviderError, match="OOM"):
                await run(redis_url, full.url)
        assert published.is_there(redis_server, "id")
        assert await run(redis_url, target.url) == {"seen": 1, "moved": 1}

    async def test_one_at_a_time(self, redis_server: Server, redis_url: str, target: Server) -> None:
        for number in range(50):
            published.put(redis_server, f"id-{number}")
        one, other = Client(redis_url), Client(redis_url)
        results = await asyncio.gather(
            *(migrate(client, Client(target.url), batch=1) for client in (one, other)), return_exceptions=True
        )
        refused = [result for result in results if isinstance(result, ProviderError)]
        assert len(refused) == 1
        assert target.command("DBSIZE") == 50


async def test_metadata_that_the_target_does_not_take(
    redis_server: Server, redis_url: str, target: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reported and left; the others are moved."""
    monkeypatch.setattr("chuk_sessions.providers.redis_transfer.MAX_FIELDS", 2)
    published.put(redis_server, "id")
    published.put(redis_server, "small", custom_metadata={})
    for url in (target.url, redis_url):
        published.put(redis_server, "small", custom_metadata={})
        counts = await migrate(Client(redis_url), Client(url))
        assert (counts.moved, counts.left_behind) == (1, 1)
        assert "more than 2 keys" in str(counts.problems[0])
        assert published.is_there(redis_server, "id")


class TestAtTheLastMoment:
    """Something happens to the session after it was put at the target, just before the original would be removed."""

    @pytest.mark.parametrize("times", [1, 5])
    async def test_changed(self, redis_server: Server, redis_url: str, target: Server, times: int) -> None:
        await manager_of(redis_url).allocate_session("id", None, 1, {"count": -1})
        count = iter(range(100))

        def change() -> None:
            redis_server.command("HSET", OURS, "m:count", str(next(count)), "accessed", "4000000000000000")

        counts = await migrate(Meddler(redis_url, REMOVE, change, times), Client(target.url))
        assert counts.moved == 1
        assert (await info_of(target.url, "id"))["custom_metadata"] == {"count": times - 1}
        assert redis_server.command("DBSIZE") == 0

    async def test_deleted(self, redis_server: Server, redis_url: str, target: Server) -> None:
        await manager_of(redis_url).allocate_session("id")
        source = Meddler(redis_url, REMOVE, lambda: redis_server.command("DEL", OURS))
        assert totals(await migrate(source, Client(target.url))) == {"seen": 1, "ended": 1}
        assert target.command("DBSIZE") == 0

    async def test_without_end(self, redis_server: Server, redis_url: str, target: Server) -> None:
        """One that changes at every reading is left for the next run, after a number of them."""
        await manager_of(redis_url).allocate_session("id", None, 1, {"count": -1})
        count = iter(range(100))
        source = Meddler(
            redis_url, REMOVE, lambda: redis_server.command("HSET", OURS, "m:count", str(next(count))), 100
        )
        counts = await migrate(source, Client(target.url))
        assert totals(counts) == {"seen": 1, "left_behind": 1}
        assert "changed 20 times" in str(counts.problems[0])
        assert await run(redis_url, target.url) == {"seen": 1, "moved": 1, "merged": 1}


async def test_the_third_version_of_the_protocol(redis_server: Server, redis_url: str, target: Server) -> None:
    """Where replies have other shapes."""
    published.put(redis_server, "id-one")
    await manager_of(redis_url).allocate_session("id-two", "alice", 1, METADATA)
    options = "?protocol=3"
    assert await run(redis_url + options, target.url + options) == {"seen": 2, "moved": 2}
    assert (await info_of(target.url, "id-two"))["custom_metadata"] == METADATA


async def test_a_lock_that_was_lost(redis_server: Server, redis_url: str) -> None:
    """A run that stood still for so long that another may have begun gives up, and leaves the other's lock alone."""
    for number in range(50):
        published.put(redis_server, f"id-{number}")

    def steal(_: Counts) -> None:
        redis_server.command("SET", LOCK.decode(), "another's")

    with pytest.raises(ProviderError, match="stood still"):
        await migrate(Client(redis_url), Client(redis_url), batch=5, progress=steal)
    assert redis_server.command("GET", LOCK.decode()) == "another's"


async def test_same_database(redis_server: Server, redis_url: str, target: Server) -> None:
    """Told apart by looking, not by name; no trace of it."""
    assert await same_database(Client(redis_url), Client(f"{redis_url}?client_name=x")) is True
    assert await same_database(Client(redis_url), Client(target.url)) is False
    assert redis_server.command("DBSIZE") == 0 == target.command("DBSIZE")
