"""Renewals by processes with SESSION_LEGACY_READ while ``migrate`` runs: no session is lost, doubled or revived."""

from __future__ import annotations

import asyncio
import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.cli.migrate import migrate
from chuk_sessions.ids import renewed_id
from chuk_sessions.providers.redis.legacy.store import LegacyReadingStore
from chuk_sessions.providers.redis.store import RedisSessionStore
from chuk_sessions.redis_client.client import Client, Deployment
from tests.support import published
from tests.support.meddler import AsksForDeployment
from tests.support.migrations import info_of, manager_of
from tests.support.places import server_or_cluster

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.servers import Server

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("legacy_read")]
redis_server = server_or_cluster
PUBLISHED_ID = f"sess-alice-1700000000-{'a' * 8}"
METADATA = {"role": "admin", "n": [1, None], "big": 2**70}


class AtStep(AsksForDeployment):
    """A client before whose command of that number something happens, which is done when that is sent."""

    def __init__(self, url: str, number: int, meddle: Callable[[], object]) -> None:
        super().__init__(url)
        self.left = number
        self._meddle = meddle

    def deployment(self) -> Deployment:
        return _Counting(super().deployment(), self)

    def count(self) -> None:
        self.left -= 1
        if self.left == 0:
            self._meddle()


class _Counting:
    def __init__(self, deployment: Deployment, client: AtStep) -> None:
        self._deployment = deployment
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._deployment, name)

    def call(self, *args: Any, **options: Any) -> Any:
        self._client.count()
        return self._deployment.call(*args, **options)


def in_another_process(what: Callable[[], Any]) -> Any:
    """So to say, while the loop of this one stands still."""
    with ThreadPoolExecutor() as threads:
        return threads.submit(lambda: asyncio.run(what())).result()


@pytest.mark.parametrize(
    ("session_id", "in_place", "grace"),
    [("id", True, 0), ("id", True, 60), (PUBLISHED_ID, True, 60), ("id", False, 0), ("id", False, 60)],
    ids=["in place", "in place, grace", "an id made by 0.6", "to another server", "to another server, grace"],
)
async def test_a_renewal_before_any_step(
    redis_server: Server, redis_url: str, target: Server, in_place: bool, grace: int, session_id: str
) -> None:
    """It gives the session a new id; under that it is there when all runs are over, once, with all that it held."""
    to, step, fired = redis_url if in_place else target.url, 0, True
    while fired:
        step += 1
        redis_server.flush()
        target.flush()
        published.put(redis_server, session_id)
        renewed: list[str | None] = []

        def renew() -> None:
            renewed.append(in_another_process(lambda: manager_of(redis_url).renew_session(session_id, grace)))  # noqa: B023

        source = AtStep(redis_url, step, renew)
        await migrate(source, source if in_place else Client(to))
        fired = source.left <= 0
        again = Client(redis_url)
        await migrate(again, again if in_place else Client(to))
        new_id = renewed[0] if renewed else session_id
        sessions = [info["session_id"] async for info in manager_of(to).iter_sessions()]
        if new_id is None:  # the session was at the other server by then
            assert not in_place, step
            assert sessions == [session_id], step
            continue
        assert sessions == [new_id], step
        assert (await info_of(to, new_id))["custom_metadata"] == METADATA, step
        if renewed:
            assert await manager_of(to).validate_session(session_id) is bool(grace), step
        assert await manager_of(to).delete_user_sessions("alice") == 1, step


@pytest.mark.parametrize("grace", [0, 60])
async def test_a_run_before_any_step_of_a_renewal(redis_server: Server, redis_url: str, grace: int) -> None:
    step, fired = 0, True
    while fired:
        step += 1
        redis_server.flush()
        published.put(redis_server, "id")

        async def run() -> None:
            client = Client(redis_url)
            await migrate(client, client)

        client = AtStep(redis_url, step, lambda: in_another_process(run))
        store = LegacyReadingStore(RedisSessionStore(client, "box"), client, "box")
        new_id = await store.renew("id", renewed_id("id", time.time()), grace)
        fired = client.left <= 0
        await run()
        assert new_id is not None, step
        assert [info["session_id"] async for info in manager_of(redis_url).iter_sessions()] == [new_id], step
        assert (await info_of(redis_url, new_id))["custom_metadata"] == METADATA, step
        assert await manager_of(redis_url).validate_session("id") is bool(grace), step


async def test_many_renewals_all_the_while(redis_server: Server, redis_url: str) -> None:
    """Each session is renewed several times by several processes, in no order, while it is moved in place."""
    chance, managers = random.Random(7), [manager_of(f"{redis_url}?client_name=p{n}") for n in range(3)]
    ids = {f"id-{number}": f"id-{number}" for number in range(60)}
    for name in ids:
        published.put(redis_server, name, custom_metadata={"name": name})

    async def renew(manager: SessionManager) -> None:
        for name in chance.sample(sorted(ids), len(ids)):
            before = ids[name]
            after = await manager.renew_session(before, chance.choice([0, 60]))
            if after is not None:
                ids[name] = after

    client = Client(redis_url)
    await asyncio.gather(migrate(client, client, batch=5), renew(managers[0]))
    await asyncio.gather(migrate(client, client, batch=5), renew(managers[1]))
    await migrate(client, client)
    found = {info["session_id"]: info["custom_metadata"] async for info in managers[2].iter_sessions()}
    assert found == {session_id: {"name": name} for name, session_id in ids.items()}
