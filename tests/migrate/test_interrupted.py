"""``migrate`` between two databases, killed at each step: what the next run makes of it, and what holds meanwhile."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.cli.migrate import REMOVE, migrate
from chuk_sessions.models import iso_timestamp
from chuk_sessions.providers import redis
from chuk_sessions.providers.redis.keys import MIGRATE_LOCK, arrival_key
from chuk_sessions.providers.redis.transfer.adopt import ADOPT
from chuk_sessions.redis_client.client import Client
from tests.support import published
from tests.support.meddler import Meddler
from tests.support.migrations import METADATA, OURS, info_of, manager_of, run
from tests.support.places import server_or_cluster, session_keys_in

if TYPE_CHECKING:
    from chuk_sessions.redis_client.scripts import Script
    from tests.support.servers import Server

pytestmark = [pytest.mark.redis, pytest.mark.parametrize("layout", ["ours", "published"])]
redis_server = server_or_cluster
NOTE = arrival_key(OURS)


class Killed(Exception):
    """In the place of a signal: nothing more is sent."""


def kill() -> None:
    raise Killed


async def prepare(server: Server, url: str, layout: str) -> str:
    """One session at the source; its key."""
    if layout == "ours":
        await manager_of(url).allocate_session("id", "alice", 2, METADATA)
        return OURS
    published.put(server, "id")
    return "session:id"


async def interrupt(source: str, target: str, step: Script) -> None:
    """A run that ends just before ``step``: removing it at the source (REMOVE), putting it at the target (ADOPT)."""
    ends = {True: Client(source), False: Client(target)}
    at_source = step is REMOVE
    ends[at_source] = Meddler(source if at_source else target, step, kill)
    with pytest.raises(Killed):
        await migrate(ends[True], ends[False])


async def test_before_it_was_put(redis_server: Server, redis_url: str, target: Server, layout: str) -> None:
    """It is at the source only, and the next run brings it."""
    await prepare(redis_server, redis_url, layout)
    await interrupt(redis_url, target.url, ADOPT)
    assert session_keys_in(target) == 0
    assert await run(redis_url, target.url) == {"seen": 1, "moved": 1}
    assert (await info_of(target.url, "id"))["custom_metadata"] == METADATA
    assert redis_server.command("DBSIZE") == 0


class TestBetween:
    """It was put at the target, and not removed at the source."""

    async def test_a_note(self, redis_server: Server, redis_url: str, target: Server, layout: str) -> None:
        """Lives as long as what was put would, and goes when the original does."""
        await prepare(redis_server, redis_url, layout)
        await interrupt(redis_url, target.url, REMOVE)
        assert target.command("EXISTS", NOTE) == 1
        ends = "return redis.call('PTTL', KEYS[1]) - redis.call('PTTL', KEYS[2])"
        assert target.command("EVAL", ends, "2", NOTE, OURS) == 0
        assert await run(redis_url, target.url) == {"seen": 1, "moved": 1, "merged": 1}
        assert target.command("EXISTS", NOTE) == 0
        assert redis_server.command("DBSIZE") == 0

    async def test_a_logout_at_the_target(
        self, redis_server: Server, redis_url: str, target: Server, layout: str
    ) -> None:
        """The next run does not bring it back, and removes the original; nor do the runs after that."""
        await prepare(redis_server, redis_url, layout)
        await interrupt(redis_url, target.url, REMOVE)
        manager = manager_of(target.url)
        assert await manager.delete_session("id") is True
        assert await run(redis_url, target.url) == {"seen": 1, "ended": 1}
        assert await manager.validate_session("id") is False
        assert redis_server.command("DBSIZE") == 0

    async def test_a_second_interruption(
        self, redis_server: Server, redis_url: str, target: Server, layout: str
    ) -> None:
        """The note of the first run is still there for the third."""
        await prepare(redis_server, redis_url, layout)
        await interrupt(redis_url, target.url, REMOVE)
        redis_server.command("DEL", MIGRATE_LOCK.decode())
        assert await manager_of(target.url).delete_session("id") is True
        await interrupt(redis_url, target.url, REMOVE)
        redis_server.command("DEL", MIGRATE_LOCK.decode())
        assert await run(redis_url, target.url) == {"seen": 1, "ended": 1}
        assert await manager_of(target.url).validate_session("id") is False

    async def test_used_at_the_source_and_ended_at_the_target(
        self, redis_server: Server, redis_url: str, target: Server, layout: str
    ) -> None:
        """An application that still serves from the source does not undo the logout."""
        await prepare(redis_server, redis_url, layout)
        await interrupt(redis_url, target.url, REMOVE)
        assert await manager_of(target.url).delete_session("id") is True
        if layout == "ours":
            assert await manager_of(redis_url).update_session_metadata("id", {"new": 1})
        else:
            text = published.document("id", created_at=created_at(redis_server), custom_metadata={"new": 1})
            redis_server.command("SETEX", "session:id", "5000", text)
        assert await run(redis_url, target.url) == {"seen": 1, "ended": 1}
        assert await manager_of(target.url).validate_session("id") is False

    async def test_another_session_of_that_id(
        self, redis_server: Server, redis_url: str, target: Server, layout: str
    ) -> None:
        """What was ended at the target is not the one that was made at the source since: that one is moved."""
        key = await prepare(redis_server, redis_url, layout)
        await interrupt(redis_url, target.url, REMOVE)
        assert await manager_of(target.url).delete_session("id") is True
        redis_server.command("DEL", key)
        if layout == "ours":
            await manager_of(redis_url).allocate_session("id", "bob")
        else:
            now = iso_timestamp(time.time())
            published.put(redis_server, "id", user_id="bob", created_at=now, last_accessed=now)
        assert await run(redis_url, target.url) == {"seen": 1, "moved": 1}
        assert (await info_of(target.url, "id"))["user_id"] == "bob"

    @pytest.mark.parametrize("merged", [True, False])
    async def test_the_id_is_given_again_at_the_target(
        self, redis_server: Server, redis_url: str, target: Server, layout: str, merged: bool
    ) -> None:
        """Ended there, with what it was merged with: nothing of it gets into the user's next session of that id."""
        await prepare(redis_server, redis_url, layout)
        manager = manager_of(target.url)
        if merged:
            await manager.allocate_session("id", "alice")
        await interrupt(redis_url, target.url, REMOVE)
        assert await manager.delete_session("id") is True
        await manager.allocate_session("id", "alice", 1, {"new": 1})
        assert await run(redis_url, target.url) == {"seen": 1, "ended": 1}
        assert (await info_of(target.url, "id"))["custom_metadata"] == {"new": 1}
        assert redis_server.command("DBSIZE") == 0

    @pytest.mark.parametrize("ended", [True, False])
    async def test_of_one_that_was_merged(
        self, redis_server: Server, redis_url: str, target: Server, layout: str, ended: bool
    ) -> None:
        """It is merged again, unless it was ended since."""
        await prepare(redis_server, redis_url, layout)
        manager = manager_of(target.url)
        await manager.allocate_session("id", "alice")
        await interrupt(redis_url, target.url, REMOVE)
        if ended:
            assert await manager.delete_session("id") is True
        await run(redis_url, target.url)
        assert await manager.validate_session("id") is not ended
        assert redis_server.command("DBSIZE") == 0
        assert target.command("EXISTS", NOTE) == 0 or ended

    async def test_of_one_that_was_merged_with_an_idle_deadline(
        self, redis_server: Server, redis_url: str, target: Server, layout: str
    ) -> None:
        """The note outlives that: each touch moves it."""
        await prepare(redis_server, redis_url, layout)
        idle = SessionManager("box", redis.factory(target.url), strict=True, idle_ttl_minutes=1)
        await idle.allocate_session("id", "alice")
        await interrupt(redis_url, target.url, REMOVE)
        assert int(str(target.command("PTTL", OURS))) < 61_000
        assert int(str(target.command("PTTL", NOTE))) > 7_000_000

    async def test_a_note_whose_session_expired(
        self, redis_server: Server, redis_url: str, target: Server, layout: str
    ) -> None:
        """That is no logout: who extended it at the source stays logged in. The note is gone when it would mislead."""
        await prepare(redis_server, redis_url, layout)
        await interrupt(redis_url, target.url, REMOVE)
        for key in (OURS, NOTE):
            assert target.command("PEXPIREAT", key, "1") == 1  # as time does, for both at the same moment
        assert await run(redis_url, target.url) == {"seen": 1, "moved": 1}
        assert await manager_of(target.url).validate_session("id") is True

    async def test_there_and_back(self, redis_server: Server, redis_url: str, target: Server, layout: str) -> None:
        """A note that the interruption left where a session came from does not keep it out when it returns."""
        await prepare(redis_server, redis_url, layout)
        await run(redis_url, target.url)
        created = target.command("HGET", OURS, "created")
        target.command("SET", NOTE, f"{created} {created}")
        await run(target.url, redis_url)
        assert target.command("EXISTS", NOTE) == 0
        assert await run(redis_url, target.url) == {"seen": 1, "moved": 1}


def created_at(server: Server) -> str:
    return str(json.loads(str(server.command("GET", "session:id")))["created_at"])
