"""``migrate`` and the old ids of renewed sessions: a request that has one finds its session afterwards too."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.cli.inspect import survey
from chuk_sessions.cli.migrate import REMOVE, migrate
from chuk_sessions.cli.targets import ProviderTarget
from chuk_sessions.ids import session_key
from chuk_sessions.providers.redis.keys import MIGRATE_LOCK
from chuk_sessions.providers.redis.transfer.crossing import RedisTarget
from chuk_sessions.redis_client.client import Client
from tests.migrate.test_interrupted import Killed
from tests.support import custom_provider
from tests.support.meddler import Meddler
from tests.support.migrations import info_of, manager_of, settled
from tests.support.places import server_or_cluster, session_keys_in

if TYPE_CHECKING:
    from tests.support.servers import Server

pytestmark = pytest.mark.redis
redis_server = server_or_cluster
GRACE = 600


async def log_in(url: str, chosen: str | None = None, renewals: int = 1) -> list[str]:
    """A session of alice and all its ids, the oldest first."""
    manager = manager_of(url)
    ids = [await manager.allocate_session(chosen, "alice")]
    for _ in range(renewals):
        new_id = await manager.renew_session(ids[-1], grace_seconds=GRACE)
        assert new_id is not None
        ids.append(new_id)
    return ids


@pytest.fixture(params=["to another server", "to another sandbox", "to both"])
def move(request: pytest.FixtureRequest, redis_url: str, target: Server) -> dict[str, Any]:
    """Where sessions go, and how to ask for it."""
    url = redis_url if request.param == "to another sandbox" else target.url
    if request.param == "to another server":
        return {"url": url, "sandbox_id": "box", "options": {}}
    return {"url": url, "sandbox_id": "shop", "options": {"sandboxes": ["box"], "into": "shop"}}


@pytest.mark.parametrize("chosen", [None, "my id"])
@pytest.mark.parametrize("batch", [1, 200])
async def test_the_old_ids_go_along(
    redis_server: Server, redis_url: str, move: dict[str, Any], chosen: str | None, batch: int
) -> None:
    """With what is left of their grace, in whatever order the keys are found; nothing stays behind."""
    ids = await log_in(redis_url, chosen, 3)
    counts = await migrate(Client(redis_url), Client(move["url"]), batch=batch, **move["options"])
    assert (counts.moved, counts.aliases, counts.ended, counts.left_behind) == (1, 3, 0, 0)
    for session_id in ids:
        assert (await info_of(move["url"], session_id, move["sandbox_id"]))["session_id"] == ids[-1]
        assert await manager_of(redis_url).get_session_info(session_id) is None
        if session_id is not ids[-1]:
            left = await Client(move["url"]).call(b"PTTL", session_key(move["sandbox_id"], session_id))
            assert (GRACE - 60) * 1000 < left <= GRACE * 1000 + 1
        assert await Client(redis_url).call(b"EXISTS", session_key("box", session_id)) == 0


@pytest.mark.parametrize("target_of_it", ["itself", "another that leads back", "a text"])
async def test_an_alias_that_leads_to_no_session(
    redis_server: Server, redis_url: str, target: Server, target_of_it: str
) -> None:
    """As no version writes them: the run ends, and nothing else is held up by them."""
    client, ids = Client(redis_url), await log_in(redis_url)
    odd, other = session_key("box", "odd"), session_key("box", "other")
    await client.call(b"HSET", odd, b"alias", b"odd" if target_of_it == "itself" else b"other")
    if target_of_it == "another that leads back":
        await client.call(b"HSET", other, b"alias", b"odd")
    elif target_of_it == "a text":
        await client.call(b"SET", other, "text")
    for key in (odd, other):
        await client.call(b"PEXPIRE", key, 60_000)
    async with asyncio.timeout(20):
        counts = await migrate(client, Client(target.url))
    assert counts.moved == 1
    for session_id in ids:
        assert (await info_of(target.url, session_id))["session_id"] == ids[-1]


async def test_again(redis_server: Server, redis_url: str, target: Server) -> None:
    """The second run has nothing to do."""
    await log_in(redis_url)
    for expected in ({"moved": 1, "aliases": 1}, {}):
        assert settled(await migrate(Client(redis_url), Client(target.url))) == expected


async def test_a_dry_run(redis_server: Server, redis_url: str, target: Server) -> None:
    """Counts, and writes nothing."""
    await log_in(redis_url)
    counts = await migrate(Client(redis_url), Client(target.url), dry_run=True)
    assert settled(counts) == {"moved": 1, "aliases": 1}
    assert session_keys_in(redis_server) == 2
    assert target.command("DBSIZE") == 0


async def test_what_stays(redis_server: Server, redis_url: str, target: Server) -> None:
    """In the database that is source and target, and of sandboxes that are not meant."""
    ids = await log_in(redis_url)
    counts = await migrate(Client(redis_url), Client(redis_url))
    assert (counts.here, counts.ended, counts.aliases) == (2, 0, 0)
    counts = await migrate(Client(redis_url), Client(target.url), sandboxes=["other"])
    assert (counts.other_sandbox, counts.aliases) == (2, 0)
    assert await manager_of(redis_url).validate_session(ids[0])
    assert (await survey(Client(redis_url))).sandboxes["box"].sessions == 1


async def test_a_session_that_is_left_in_place_keeps_its_old_id(
    redis_server: Server, redis_url: str, target: Server
) -> None:
    """At the source, where it is."""
    old_id, session_id = await log_in(redis_url)
    await manager_of(target.url).allocate_session(session_id, "bob")
    counts = await migrate(Client(redis_url), Client(target.url))
    assert (counts.moved, counts.left_behind, counts.aliases) == (0, 1, 0)
    assert (await info_of(redis_url, old_id))["user_id"] == "alice"


async def test_an_id_that_is_taken_at_the_target(redis_server: Server, redis_url: str, target: Server) -> None:
    """A session of that name there is not replaced."""
    _, session_id = await log_in(redis_url, "my id")
    await manager_of(target.url).allocate_session("my id", "bob")
    assert (await migrate(Client(redis_url), Client(target.url))).moved == 1
    assert (await info_of(target.url, "my id"))["user_id"] == "bob"
    assert (await info_of(target.url, session_id))["user_id"] == "alice"


def log_out(url: str, session_id: str) -> bool:
    """By another process, so to say, while the loop of this one stands still."""
    with ThreadPoolExecutor() as threads:
        return threads.submit(lambda: asyncio.run(manager_of(url).delete_session(session_id))).result()


@pytest.mark.parametrize("through", [0, 1], ids=["the old id", "the new id"])
@pytest.mark.parametrize("at_source", [True, False], ids=["at the source", "at the target"])
@pytest.mark.parametrize("batch", [1, 200])
async def test_a_logout_meanwhile_holds(
    redis_server: Server, redis_url: str, target: Server, through: int, at_source: bool, batch: int
) -> None:
    """On either server, through either id, while the session is on both; and the next run does not undo it."""
    ids = await log_in(redis_url)
    await RedisTarget(Client(target.url)).lead("box", ids[0], ids[1], 60)  # else that may come after the logout
    ended: list[bool] = []
    url = redis_url if at_source else target.url
    source = Meddler(redis_url, REMOVE, lambda: ended.append(log_out(url, ids[through])))
    await migrate(source, Client(target.url), batch=batch)
    assert ended == [True]
    await migrate(Client(redis_url), Client(target.url))
    for session_id in ids:
        for each in (redis_url, target.url):
            assert await manager_of(each).validate_session(session_id) is False


async def test_renewed_meanwhile(redis_server: Server, redis_url: str, target: Server) -> None:
    """Between its reading and its removal: it arrives under its new id, and the old one goes along."""
    (session_id,) = await log_in(redis_url, renewals=0)
    renewed: list[str | None] = []

    def renew() -> None:
        with ThreadPoolExecutor() as threads:
            renewing = threads.submit(lambda: asyncio.run(manager_of(redis_url).renew_session(session_id, GRACE)))
            renewed.append(renewing.result())

    await migrate(Meddler(redis_url, REMOVE, renew), Client(target.url))
    assert (await info_of(target.url, session_id))["session_id"] == renewed[0]
    assert session_keys_in(redis_server) == 0


@pytest.mark.parametrize("logout", [True, False])
@pytest.mark.parametrize("chosen", [None, "my id"])
async def test_renewed_at_the_target_after_an_interruption(
    redis_server: Server, redis_url: str, target: Server, chosen: str | None, logout: bool
) -> None:
    """What is left at the source is the session that has come already: the next run removes it, and brings nothing."""
    (session_id,) = await log_in(redis_url, chosen, 0)

    def kill() -> None:
        raise Killed

    with pytest.raises(Killed):
        await migrate(Meddler(redis_url, REMOVE, kill), Client(target.url))
    manager = manager_of(target.url)
    new_id = await manager.renew_session(session_id, GRACE)
    assert new_id is not None
    if logout:
        assert await manager.delete_session(new_id)
    redis_server.command("DEL", MIGRATE_LOCK.decode())
    assert settled(await migrate(Client(redis_url), Client(target.url))) == {"ended": 1}
    assert session_keys_in(redis_server) == 0
    assert [await manager.validate_session(each) for each in (session_id, new_id)] == [not logout] * 2


async def test_a_provider_of_ones_own(redis_server: Server, redis_url: str) -> None:
    """Has no old ids. The session arrives under the id that is valid now."""
    old_id, session_id = await log_in(redis_url)
    factory = custom_provider.factory({})
    counts = await migrate(Client(redis_url), ProviderTarget(factory))
    assert settled(counts) == {"moved": 1}
    manager = SessionManager("box", factory, strict=True)
    assert await manager.validate_session(session_id) is True
    assert await manager.validate_session(old_id) is False
