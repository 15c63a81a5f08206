"""A cluster whose slots move and whose master dies under load: no wrong value, no error that need not be."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from contextlib import suppress

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.exceptions import NotSent, OutcomeUnknown
from chuk_sessions.ids import session_key
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.cluster import Cluster
from chuk_sessions.redis_client.commands import Replay
from chuk_sessions.redis_client.scripts import Script
from chuk_sessions.redis_client.slots import slot_of
from tests.support.cluster_servers import ClusterServers
from tests.support.helpers import eventually
from tests.support.lateness import Lateness

pytestmark = [pytest.mark.redis, pytest.mark.faults, pytest.mark.alone]

BOTH = Script("return redis.call('MGET', KEYS[1], KEYS[2])")
# Reads before it writes, as ours do: what one of its keys holds is put into the other.
COPY = Script("local name = redis.call('GET', KEYS[1]) redis.call('SET', KEYS[2], KEYS[2]) return name")
KEYS = [f"{{moving}}{number}" for number in range(300)] + [f"staying-{number}" for number in range(300)]
CALLERS = 60


def log_lines(caplog: pytest.LogCaptureFixture) -> int:
    return len([record for record in caplog.records if record.levelno >= logging.INFO])


class Callers:
    """Read, write and run scripts on random keys; every key holds its own name. A third of them give up early."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._chance = random.Random(11)
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[object] = []
        self.stopped = False

    async def run(self) -> None:
        """Until told to stop."""
        while not self.stopped:
            patience = self._chance.random() * 0.01 if self._chance.random() < 0.3 else None
            kind = self._chance.choice([self._read, self._write, self._read_both, self._copy])
            try:
                async with asyncio.timeout(patience):
                    await kind(self._chance.choice(KEYS))
                self.outcomes[kind.__name__] += 1
            except TimeoutError:
                self.outcomes["gave up"] += 1

    async def _read(self, key: str) -> None:
        self._expect(key, await self._client.call(b"GET", key, replay=Replay.READ))

    async def _write(self, key: str) -> None:
        await self._client.call(b"SET", key, key)

    async def _read_both(self, key: str) -> None:
        other = self._partner(key)
        one, two = await BOTH.run(self._client, (key, other), (), Replay.READ)
        self._expect(key, one)
        self._expect(other, two)

    async def _copy(self, key: str) -> None:
        self._expect(key, await COPY.run(self._client, (key, self._partner(key)), ()))

    def _partner(self, key: str) -> str:
        return self._chance.choice(KEYS[:300]) if key.startswith("{") else key

    def _expect(self, key: str, value: object) -> None:
        if value != key.encode():
            self.wrong.append((key, value))


async def test_a_slot_goes_to_and_fro_under_load(cluster: ClusterServers, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    client = Client(cluster.url)
    await asyncio.gather(*(client.call(b"SET", key, key) for key in KEYS))
    callers = Callers(client)
    tasks = [asyncio.create_task(callers.run()) for _ in range(CALLERS)]
    slot = slot_of(KEYS[0])
    for _ in range(6):
        target = cluster.another_master(slot)
        await asyncio.to_thread(cluster.migrate_begin, slot, target)
        while await asyncio.to_thread(cluster.migrate_keys, slot, target, 20):
            seen = client.stats()["redirects"]  # also of those that all wait now for their second key
            await eventually(lambda: client.stats()["redirects"] > seen + 100)  # noqa: B023 - of this round
        await asyncio.to_thread(cluster.migrate_end, slot, target)
    callers.stopped = True
    await asyncio.gather(*tasks)
    deployment = client.deployment()
    assert isinstance(deployment, Cluster)
    assert callers.wrong == []
    assert all(callers.outcomes[kind] > 100 for kind in ("_read", "_write", "_read_both", "_copy", "gave up"))
    assert client.stats()["redirects"] > 100
    assert deployment.refreshes < 30
    assert client.stats()["timeouts"] == client.stats()["reconnects"] == 0
    assert await asyncio.gather(*(client.call(b"GET", key) for key in KEYS)) == [key.encode() for key in KEYS]
    assert log_lines(caplog) < 20


async def test_sessions_of_a_slot_that_goes_to_and_fro_under_load(cluster: ClusterServers) -> None:
    """Of one user, so that they share a slot; not one is lost, comes back or is mixed up with another."""
    manager = SessionManager("box", redis.factory(cluster.url), strict=True)
    stopped, rounds = False, 0

    async def live(number: int) -> None:
        nonlocal rounds
        while not stopped:
            session_id = await manager.allocate_session(user_id="alice", custom_metadata={"number": number})
            for step in range(5):
                assert await manager.validate_session(session_id)
                assert await manager.update_session_metadata(session_id, {"step": step})
            info = await manager.get_session_info(session_id)
            assert info is not None
            assert info["custom_metadata"] == {"number": number, "step": 4}
            assert await manager.delete_session(session_id)
            assert not await manager.validate_session(session_id)
            rounds += 1

    tasks = [asyncio.create_task(live(number)) for number in range(CALLERS)]
    slot = slot_of(session_key("box", await manager.allocate_session(user_id="alice")))
    for _ in range(6):
        target = cluster.another_master(slot)
        await asyncio.to_thread(cluster.migrate_begin, slot, target)
        before = rounds
        await asyncio.to_thread(cluster.migrate_keys, slot, target, 20)
        await asyncio.to_thread(cluster.migrate_keys, slot, target)
        await asyncio.to_thread(cluster.migrate_end, slot, target)
        await eventually(lambda: rounds > before + CALLERS)  # noqa: B023 - of this round
    stopped = True
    await asyncio.gather(*tasks)


async def test_a_killed_master_is_replaced_under_load_and_the_rest_does_not_notice(
    cluster: ClusterServers, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    client = Client(cluster.url)
    killed = cluster.owner_of(0)
    keys = [f"key-{number}" for number in range(300)]
    lost = [key for key in keys if cluster.owner_of(slot_of(key)) is killed][:50]
    rest = [key for key in keys if cluster.owner_of(slot_of(key)) is not killed][:100]
    await asyncio.gather(*(client.call(b"SET", key, key) for key in lost + rest))
    await asyncio.to_thread(cluster.wait_until_ok)
    await asyncio.to_thread(cluster.wait_until_replicated, killed)
    stopped, answered, slowest, failed = False, Counter[str](), 0.0, Counter[str]()

    async def use_rest(key: str) -> None:
        nonlocal slowest
        while not stopped:
            begun = time.monotonic()
            assert await client.call(b"SET", key, key) == b"OK"  # an error would end the test
            assert await client.call(b"GET", key) == key.encode()
            slowest = max(slowest, time.monotonic() - begun)
            answered["rest"] += 1

    async def use_lost(key: str) -> None:
        while not stopped:
            try:
                assert await client.call(b"GET", key, replay=Replay.READ) == key.encode()
                await client.call(b"SET", key, key)
                answered["lost"] += 1
            except (NotSent, OutcomeUnknown) as exc:
                failed[type(exc).__name__] += 1
                await asyncio.sleep(0.005)

    with Lateness() as lateness:
        tasks = [asyncio.create_task(use_rest(key)) for key in rest]
        tasks += [asyncio.create_task(use_lost(key)) for key in lost]
        await eventually(lambda: min(answered["rest"], answered["lost"]) > 500)
        await asyncio.to_thread(killed.kill)
        during = -answered["rest"]
        heir = await asyncio.to_thread(cluster.wait_for_promotion, killed)
        promoted_at, before = time.monotonic(), answered["lost"]
        during += answered["rest"]
        await eventually(lambda: answered["lost"] > before)
        resumed = time.monotonic() - promoted_at
        await eventually(lambda: answered["lost"] > before + 500)
        stopped = True
        await asyncio.gather(*tasks)
    assert resumed < 2 + 3 * lateness.worst  # not the total: the callers themselves keep the loop busy
    assert slowest < 1 + 3 * lateness.worst
    assert during > len(rest)  # in the second or more until the promotion
    assert heir.command("GET", lost[0]) == lost[0]
    await eventually(lambda: client.stats()["in_flight"] == client.stats()["waiting"] == 0)
    assert log_lines(caplog) < 20


async def test_every_command_settles_when_all_masters_are_killed_at_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with ClusterServers(replicas=0) as group:
        client = Client(f"{group.url}?reconnect_grace=0.3&socket_timeout=2")
        keys = [f"key-{number}" for number in range(600)]
        await asyncio.gather(*(client.call(b"SET", key, key) for key in keys))
        calls = [client.call(b"SET", key, key) for key in keys]
        await asyncio.sleep(0)
        for node in group.nodes:
            node.kill()
        with Lateness() as lateness:
            begun = time.monotonic()
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert time.monotonic() - begun < lateness.allow(3)
        assert all(outcome == b"OK" or isinstance(outcome, (NotSent, OutcomeUnknown)) for outcome in outcomes)
        await eventually(lambda: repr(client).count(" down ") == 3)
        with Lateness() as lateness:
            begun = time.monotonic()
            for key in keys:
                with pytest.raises(NotSent):
                    await client.call(b"GET", key)
            assert time.monotonic() - begun < lateness.allow(2)  # at once, each of them
        await asyncio.to_thread(group.revive)

        async def is_back() -> bool:
            with suppress(NotSent, OutcomeUnknown):
                return all(await asyncio.gather(*(client.call(b"SET", key, key) for key in keys)))
            return False

        await eventually(is_back)
        assert log_lines(caplog) < 20
