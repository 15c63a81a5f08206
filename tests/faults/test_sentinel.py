"""A master behind Sentinels is killed under load: what callers hear, for how long, and what is kept."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.exceptions import NotSent, OutcomeUnknown
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.commands import Replay
from tests.support.helpers import eventually
from tests.support.lateness import Lateness
from tests.support.sentinel_servers import SentinelServers, is_master
from tests.support.servers import RedisServer, ReplyError

pytestmark = [pytest.mark.redis, pytest.mark.faults, pytest.mark.alone]

RESUMED_WITHIN = 2.0  # seconds after the promotion


def promoted_at(group: SentinelServers, replica: RedisServer) -> float:
    """When the replica first says that it is a master. Blocks."""
    group.wait(lambda: is_master(replica), "a promotion")
    return time.monotonic()


class Load:
    """Callers that write and read without end; each key holds its own name."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.outcomes: Counter[str] = Counter()
        self.wrote: list[float] = []  # when
        self.slowest = 0.0  # seconds until a caller was answered
        self.stopped = False

    async def run(self, number: int) -> None:
        key = f"key-{number // 2}"
        while not self.stopped:
            begun = time.monotonic()
            try:
                if number % 2:
                    await self._client.call(b"SET", key, key)
                    self.wrote.append(time.monotonic())
                else:
                    assert await self._client.call(b"GET", key, replay=Replay.READ) in (None, key.encode())
            except (NotSent, OutcomeUnknown) as exc:
                self.outcomes[type(exc).__name__] += 1
                await asyncio.sleep(0.005)  # as a caller would that answers its own client first
            self.slowest = max(self.slowest, time.monotonic() - begun)


@pytest.mark.parametrize("attempt", range(3))
async def test_writes_resume_soon_after_the_promotion(
    sentinels: SentinelServers, caplog: pytest.LogCaptureFixture, attempt: int
) -> None:
    client = Client(sentinels.url)
    load = Load(client)
    with Lateness() as lateness:
        callers = [asyncio.create_task(load.run(number)) for number in range(100)]
        await eventually(lambda: len(load.wrote) > 1000)
        old, replica = sentinels.master, next(each for each in sentinels.servers if each is not sentinels.master)
        await asyncio.to_thread(old.kill)  # the loop goes on, with commands in flight
        promoted = await asyncio.to_thread(promoted_at, sentinels, replica)
        await eventually(lambda: load.wrote[-1] > promoted, patience=10)
        resumed = next(when for when in load.wrote if when > promoted)
        before = len(load.wrote)
        await eventually(lambda: len(load.wrote) > before + 1000)
        load.stopped = True
        await asyncio.gather(*callers)
    assert resumed - promoted < RESUMED_WITHIN + 3 * lateness.worst  # not the total: the callers keep the loop busy
    assert load.slowest < 5.5 + 3 * lateness.worst
    assert load.outcomes["OutcomeUnknown"] <= 100  # what was in flight at the kill
    await eventually(lambda: client.stats()["in_flight"] == client.stats()["waiting"] == 0)
    assert len([record for record in caplog.records if record.levelno >= logging.INFO]) < 20


async def test_callers_that_have_a_longer_grace_hear_nothing_but_what_was_in_flight(
    sentinels: SentinelServers, caplog: pytest.LogCaptureFixture
) -> None:
    load = Load(Client(f"{sentinels.url}?reconnect_grace=15&socket_timeout=15"))
    callers = [asyncio.create_task(load.run(number)) for number in range(100)]
    await eventually(lambda: len(load.wrote) > 1000)
    old = sentinels.master
    await asyncio.to_thread(old.kill)
    await asyncio.to_thread(sentinels.wait_for_promotion, old)
    before = len(load.wrote)
    await eventually(lambda: len(load.wrote) > before + 1000)
    load.stopped = True
    await asyncio.gather(*callers)
    assert load.outcomes["NotSent"] == 0
    assert load.outcomes["OutcomeUnknown"] <= 50  # the writers; reads are replayed
    assert len([record for record in caplog.records if record.levelno >= logging.INFO]) == 2


async def test_no_acknowledged_session_is_lost_that_the_promoted_replica_had(sentinels: SentinelServers) -> None:
    manager = SessionManager("box", redis.factory(f"{sentinels.url}?reconnect_grace=15&socket_timeout=15"), strict=True)
    kept = await asyncio.gather(*(manager.allocate_session(user_id=f"user-{number}") for number in range(500)))
    deleted = await asyncio.gather(*(manager.allocate_session() for _ in range(100)))
    assert all(await asyncio.gather(*map(manager.delete_session, deleted)))
    old = sentinels.master
    await asyncio.to_thread(sentinels.wait_until_replicated, old)

    created: list[str] = []

    async def create() -> None:
        while True:
            try:
                created.append(await manager.allocate_session())
            except Exception as exc:
                assert isinstance(exc.__cause__, (NotSent, OutcomeUnknown))  # noqa: PT017 - this ends the task
                return

    creators = [asyncio.create_task(create()) for _ in range(50)]
    await eventually(lambda: len(created) > 500)
    await asyncio.to_thread(old.kill)
    new = await asyncio.to_thread(sentinels.wait_for_promotion, old)
    held = {str(key).rpartition(":")[2] for key in new.command("KEYS", "session:*")}  # type: ignore[union-attr]
    assert len(held) > 500
    for creator in creators:
        creator.cancel()
    await asyncio.gather(*creators, return_exceptions=True)
    assert all(await asyncio.gather(*map(manager.validate_session, kept)))
    assert not any(await asyncio.gather(*map(manager.validate_session, deleted)))
    valid = await asyncio.gather(*map(manager.validate_session, created))
    assert all(is_valid for session_id, is_valid in zip(created, valid, strict=True) if session_id in held)


async def test_every_command_settles_when_all_servers_are_killed_at_once(caplog: pytest.LogCaptureFixture) -> None:
    with SentinelServers() as group:
        client = Client(f"{group.url}?socket_timeout=2&reconnect_grace=0.5")
        await client.call(b"PING")
        calls = [client.call(b"SET", f"k{number}", "v") for number in range(500)]
        await asyncio.sleep(0)
        for member in group.members:
            member.kill()
        with Lateness() as lateness:
            begun = time.monotonic()
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert time.monotonic() - begun < lateness.allow(3)
        assert all(outcome == b"OK" or isinstance(outcome, (NotSent, OutcomeUnknown)) for outcome in outcomes)
        with pytest.raises((NotSent, ReplyError)):
            await client.call(b"PING")
        await eventually(lambda: " down " in repr(client))
        with Lateness() as lateness:
            begun = time.monotonic()
            for _ in range(200):
                with pytest.raises(NotSent):
                    await client.call(b"PING")
            assert time.monotonic() - begun < lateness.allow(1)  # at once, each of them
        assert len([record for record in caplog.records if record.levelno >= logging.INFO]) == 2
