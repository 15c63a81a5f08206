"""``migrate`` while sessions change, end and come back, and when it is interrupted: nothing is lost or revived."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from chuk_sessions import ProviderError
from chuk_sessions.cli import stored
from chuk_sessions.cli.migrate import REMOVE, Counts, _Run, migrate
from chuk_sessions.providers.redis.keys import MIGRATE_LOCK
from chuk_sessions.providers.redis.transfer.crossing import RedisTarget
from chuk_sessions.redis_client.client import Client
from tests.support import published
from tests.support.helpers import eventually
from tests.support.meddler import Meddler
from tests.support.migrations import METADATA, OURS, info_of, manager_of, run, totals
from tests.support.places import server_or_cluster, session_keys_in, sessions_in
from tests.support.servers import RedisServer

if TYPE_CHECKING:
    from tests.support.servers import Server

pytestmark = pytest.mark.redis
redis_server = server_or_cluster


class TestMeanwhile:
    """Something happens to a session between its reading and its removal; each run begins with a reading of before."""

    async def begin(self, url: str, key: str) -> stored.Stored:
        client = Client(url)
        kind = await client.call(b"TYPE", key)
        found = await stored.read(client, key.encode(), kind)
        assert isinstance(found, stored.Stored)
        return found

    async def finish(self, found: stored.Stored, source: str, target: str) -> dict[str, int]:
        run = _Run(Client(source), RedisTarget(Client(target)), source == target, (), None, False)
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

    @pytest.mark.parametrize("layout", ["ours", "published"])
    async def test_late(self, redis_server: Server, redis_url: str, target: Server, layout: str) -> None:
        """What passes between reading it and putting it there counts: it ends there when it would have ended here."""
        key = await self.prepare(redis_server, redis_url, layout)
        found = await self.begin(redis_url, key)
        found.asked -= 1000
        assert (await self.finish(found, redis_url, target.url))["moved"] == 1
        assert 6_100_000 < int(str(target.command("PTTL", OURS))) <= 6_200_001

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
        """A process with SESSION_LEGACY_READ was quicker. It lives on there alone, and the next run moves it."""
        monkeypatch.setenv("SESSION_LEGACY_READ", "1")
        key = await self.prepare(redis_server, redis_url, "published")
        found = await self.begin(redis_url, key)
        assert await manager_of(redis_url).update_session_metadata("id", {"new": 1})
        assert await self.finish(found, redis_url, target.url) == {"left_behind": 1}
        assert target.command("DBSIZE") == 0
        assert await run(redis_url, target.url) == {"seen": 1, "moved": 1}
        assert (await info_of(target.url, "id"))["custom_metadata"] == {**METADATA, "new": 1}

    async def test_a_logout_that_a_cache_undid(
        self, redis_server: Server, redis_url: str, target: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What a published process wrote back after the logout is no session, wherever it would go."""
        monkeypatch.setenv("SESSION_LEGACY_READ", "1")
        for url in (target.url, redis_url):
            redis_server.flush()
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
        published.put_many(redis_server, ids)
        manager = manager_of(redis_url)
        updates = [manager.update_session_metadata(session_id, {"new": session_id}) for session_id in ids]
        done = await asyncio.gather(migrate(Client(redis_url), Client(redis_url), batch=10), *updates)
        assert all(done[1:])
        for session_id in ids:
            assert (await info_of(redis_url, session_id))["custom_metadata"] == {**METADATA, "new": session_id}
        assert sessions_in(redis_server) == 200

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
        assert sessions_in(redis_server) == 200


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
        published.put_many(redis_server, ids)
        with self.start(redis_url, target.url) as process:
            await eventually(lambda: session_keys_in(target) > 0)
            process.send_signal(number)
            output, _ = process.communicate(timeout=30)
        assert 0 < session_keys_in(target) < 2000
        if number is signal.SIGKILL:
            assert redis_server.command("EXISTS", MIGRATE_LOCK.decode()) == 1
            with pytest.raises(ProviderError, match=r"was killed\. The lock .* expires in \d+ s:") as told:
                await run(redis_url, target.url)
            seconds, key = re.findall(r"expires in (\d+) s.* delete the key (\S+) instead", str(told.value))[0]
            assert 0 < int(seconds) <= 60
            assert redis_server.command("DEL", key) == 1  # as the message says
        else:
            assert process.returncode == 130
            assert "interrupted: run it again to go on" in output
        await run(redis_url, target.url)
        assert redis_server.command("DBSIZE") == 0
        # One that was killed between filing a session in the index and putting it leaves the index naming too many.
        assert (session_keys_in if number is signal.SIGKILL else sessions_in)(target) == 2000
        manager = manager_of(target.url)
        assert all(await asyncio.gather(*map(manager.validate_session, ids)))
        listed = [info["session_id"] for info in await manager.list_user_sessions("alice")]
        assert sorted(listed) == sorted(ids)

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
        published.put_many(redis_server, [f"id-{number}" for number in range(100)])
        counts = await migrate(Client(redis_url), Client(redis_url), batch=5, stop=lambda: True)
        assert 0 < counts.moved < 100
        assert redis_server.command("EXISTS", MIGRATE_LOCK.decode()) == 0

    async def test_a_target_that_refuses(self, redis_server: Server, redis_url: str, target: Server) -> None:
        """The error is told, nothing is lost, the lock is given back."""
        with RedisServer("maxmemory 1", "maxmemory-policy noeviction") as full:
            published.put(redis_server, "id")
            with pytest.raises(ProviderError, match="OOM"):
                await run(redis_url, full.url)
        assert published.is_there(redis_server, "id")
        assert await run(redis_url, target.url) == {"seen": 1, "moved": 1}

    async def test_one_at_a_time(self, redis_server: Server, redis_url: str, target: Server) -> None:
        published.put_many(redis_server, [f"id-{number}" for number in range(50)])
        one, other = Client(redis_url), Client(redis_url)
        results = await asyncio.gather(
            *(migrate(client, Client(target.url), batch=1) for client in (one, other)), return_exceptions=True
        )
        refused = [result for result in results if isinstance(result, ProviderError)]
        assert len(refused) == 1
        assert sessions_in(target) == 50


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

    @pytest.mark.parametrize("used", [True, False])
    async def test_another_user_has_the_id(
        self, redis_server: Server, redis_url: str, target: Server, used: bool
    ) -> None:
        """Nothing of the first one is left at the target, and the second one is there; also if the first was used."""
        await manager_of(redis_url).allocate_session("id", "alice", 1, {"secret": 1})

        def change() -> None:
            if used:
                target.command("HSET", OURS, "m:there", "1", "accessed", "4000000000000000")
            redis_server.command("HDEL", OURS, "m:secret")
            redis_server.command("HSET", OURS, "user", "bob", "created", "1700000000000000")

        assert totals(await migrate(Meddler(redis_url, REMOVE, change), Client(target.url))) == {"seen": 1, "moved": 1}
        info = await info_of(target.url, "id")
        assert (info["user_id"], info["custom_metadata"]) == ("bob", {})
        assert sessions_in(target) == 1

    async def test_metadata_is_removed(self, redis_server: Server, redis_url: str, target: Server) -> None:
        """Nor does a key stay that was removed at the source."""
        await manager_of(redis_url).allocate_session("id", "alice", 1, {"secret": 1, "kept": 2})
        source = Meddler(redis_url, REMOVE, lambda: redis_server.command("HDEL", OURS, "m:secret"))
        assert totals(await migrate(source, Client(target.url))) == {"seen": 1, "moved": 1}
        assert (await info_of(target.url, "id"))["custom_metadata"] == {"kept": 2}

    async def test_changed_and_used(self, redis_server: Server, redis_url: str, target: Server) -> None:
        """What an application at the target did meanwhile is merged, not undone."""
        await manager_of(redis_url).allocate_session("id", "alice", 1)

        def change() -> None:
            target.command("HSET", OURS, "m:there", "1")
            redis_server.command("HSET", OURS, "m:here", "2")

        counts = await migrate(Meddler(redis_url, REMOVE, change), Client(target.url))
        assert totals(counts) == {"seen": 1, "moved": 1, "merged": 1}
        assert (await info_of(target.url, "id"))["custom_metadata"] == {"here": 2, "there": 1}

    async def test_changed_and_deleted(
        self, redis_server: Server, redis_url: str, target: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Ended while it is read again: also one that an earlier run had brought there is ended."""
        await manager_of(redis_url).allocate_session("id", "alice", 1)
        await manager_of(target.url).allocate_session("id", "alice", 24)

        async def gone(*_: object) -> None:
            redis_server.command("DEL", OURS)

        monkeypatch.setattr("chuk_sessions.cli.migrate.read", gone)
        source = Meddler(redis_url, REMOVE, lambda: redis_server.command("HSET", OURS, "m:here", "2"))
        assert totals(await migrate(source, Client(target.url))) == {"seen": 1, "ended": 1}
        assert target.command("DBSIZE") == 0

    async def test_expired(self, redis_server: Server, redis_url: str, target: Server) -> None:
        """That is no logout: what lives longer at the target lives on."""
        await manager_of(redis_url).allocate_session("id", "alice", 0.9 / 3600)
        await manager_of(target.url).allocate_session("id", "alice", 24)
        source = Meddler(redis_url, REMOVE, lambda: redis_server.command("PEXPIREAT", OURS, "1"))
        assert totals(await migrate(source, Client(target.url))) == {"seen": 1, "ended": 1}
        assert await manager_of(target.url).validate_session("id") is True

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
        assert target.command("DBSIZE") == 0
        assert "changed 20 times" in str(counts.problems[0])
        assert await run(redis_url, target.url) == {"seen": 1, "moved": 1}


async def test_a_lock_that_was_lost(redis_server: Server, redis_url: str) -> None:
    """A run that stood still for so long that another may have begun gives up, and leaves the other's lock alone."""
    published.put_many(redis_server, [f"id-{number}" for number in range(50)])

    def steal(_: Counts) -> None:
        redis_server.command("SET", MIGRATE_LOCK.decode(), "another's")

    with pytest.raises(ProviderError, match="stood still"):
        await migrate(Client(redis_url), Client(redis_url), batch=5, progress=steal)
    assert redis_server.command("GET", MIGRATE_LOCK.decode()) == "another's"
