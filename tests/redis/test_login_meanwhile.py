"""A session of nobody moves to the slot of a user's index, and something happens between two of the steps.

What is done under the old id, which leads to the session during its grace, takes effect; a reply that is lost, or a
caller that goes away, does not make the session live longer or shorter than it would have.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import NotSent, OutcomeUnknown, OutOfMemoryError, SessionManager, SessionTakenError
from chuk_sessions.cli.inspect import survey
from chuk_sessions.cli.reindex import reindex
from chuk_sessions.ids import new_session_id, renewed_id, session_key, user_tag
from chuk_sessions.providers import redis
from chuk_sessions.providers.redis.binding import LEAVE, PUT, SETTLE
from chuk_sessions.providers.redis.scripts import RENEW
from chuk_sessions.providers.redis.store import RedisSessionStore
from chuk_sessions.redis_client.client import Client
from chuk_sessions.unlisted import end_unlisted
from tests.support.helpers import eventually
from tests.support.meddler import Meddler

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from chuk_sessions.models import SessionRecord
    from chuk_sessions.redis_client.scripts import Script
    from tests.support.cluster_servers import ClusterServers

pytestmark = pytest.mark.redis

HOUR = 3600.0
IDLES = [pytest.param(0, id="no idle time"), pytest.param(600, id="idle time")]
VISITOR, USER = "visitor", "alice"
LOST = [OutcomeUnknown("the reply is lost"), NotSent("it was not sent"), asyncio.CancelledError()]


@pytest.fixture
def url(calm_cluster: ClusterServers, cluster_url: str) -> str:
    """Of a cluster without sessions."""
    for node in calm_cluster.nodes:
        node.flush()
    return cluster_url


def store_of(url: str) -> RedisSessionStore:
    return RedisSessionStore(Client(url), "box")


async def log_in(store: RedisSessionStore, grace: float = 60, limit: int = 0) -> str | None:
    """As ``SessionManager`` does."""
    return await store.renew(VISITOR, new_session_id("box", USER, 1.0), grace, user_id=USER, limit=limit)


async def read(store: RedisSessionStore, session_id: str = VISITOR) -> SessionRecord:
    record = await store.read(session_id)
    assert record is not None
    return record


async def listed(store: RedisSessionStore) -> list[str]:
    return [session_id for session_id, _ in await store.list_user(USER)]


def lose(monkeypatch: pytest.MonkeyPatch, script: Script, error: BaseException) -> None:
    """Nobody hears of the first run of that script that does its work."""
    step, times = script.step, 0

    async def step_without_a_reply(*args: Any, **options: Any) -> Any:
        nonlocal times
        if not times and isinstance(error, NotSent):
            times = 1
            raise error
        reply = await step(*args, **options)
        if not times and (reply == 1 or len(reply) == 1):
            times = 1
            raise error
        return reply

    monkeypatch.setattr(script, "step", step_without_a_reply)


def by_another(url: str, work: Callable[[RedisSessionStore], Awaitable[object]]) -> Callable[[], None]:
    """The work as another process would do it."""

    async def run() -> None:
        await work(store_of(f"{url}?client_name=other"))

    def do() -> None:
        with ThreadPoolExecutor(1) as thread:
            thread.submit(lambda: asyncio.run(run())).result()

    return do


@pytest.mark.parametrize("error", LOST, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("script", [LEAVE, SETTLE], ids=["when it leaves", "when it settles"])
@pytest.mark.parametrize("idle", IDLES)
@pytest.mark.parametrize("limit", [0, 2])
async def test_a_lost_reply(
    url: str, monkeypatch: pytest.MonkeyPatch, error: BaseException, script: Script, idle: float, limit: int
) -> None:
    """The session that the old id leads to has its deadlines in the end, is listed, and ended no more than it must."""
    store = store_of(url)
    await store.create(VISITOR, None, HOUR, {"cart": 1}, idle=idle)
    others = [new_session_id("box", USER, 1.0) for _ in range(2)]
    for each in others:
        await store.create(each, USER, HOUR, {})
    before = await read(store)
    lose(monkeypatch, script, error)
    with pytest.raises(type(error)) if script is LEAVE else pytest.raises((OutcomeUnknown, asyncio.CancelledError)):
        await log_in(store, limit=limit)

    if script is LEAVE and isinstance(error, NotSent):
        assert (await read(store)).user_id is None
        assert await listed(store) == others
        return

    async def is_settled() -> bool:
        return (await read(store)).current_id in await listed(store)

    await eventually(is_settled)
    await asyncio.sleep(0.1)  # whatever else is done in the background
    after = await read(store)
    assert (after.user_id, after.metadata, after.idle) == (USER, {"cart": 1}, idle)
    assert after.expires == pytest.approx(before.expires, abs=2)
    if idle:
        assert after.idle_expires == pytest.approx(after.accessed + idle, abs=2)
    assert len(await listed(store)) == (limit or 3)
    assert others[1] in await listed(store)


@pytest.mark.parametrize("idle", IDLES)
@pytest.mark.parametrize("seconds", [60, 5 * HOUR])
async def test_a_deadline_that_is_set_meanwhile(url: str, idle: float, seconds: float) -> None:
    """Earlier or later, it is the one that holds."""
    await store_of(url).create(VISITOR, None, HOUR, {}, idle=idle)
    set_it = by_another(url, lambda store: store.extend(VISITOR, seconds, from_now=True))
    new_id = await log_in(RedisSessionStore(Meddler(url, SETTLE, set_it), "box"))
    assert new_id is not None
    record = await read(store_of(url), new_id)
    assert record.expires - record.accessed == pytest.approx(seconds, abs=2)
    assert (record.idle, record.idle_expires is None) == (idle, not idle)


@pytest.mark.parametrize("idle", IDLES)
async def test_an_extension_meanwhile(url: str, idle: float) -> None:
    """It is added."""
    await store_of(url).create(VISITOR, None, HOUR, {}, idle=idle)
    extend = by_another(url, lambda store: store.extend(VISITOR, HOUR))
    new_id = await log_in(RedisSessionStore(Meddler(url, SETTLE, extend), "box"))
    assert new_id is not None
    record = await read(store_of(url), new_id)
    assert record.expires - record.accessed == pytest.approx(2 * HOUR, abs=2)


@pytest.mark.parametrize("idle", IDLES)
async def test_a_renewal_meanwhile(url: str, monkeypatch: pytest.MonkeyPatch, idle: float) -> None:
    """Under the old id, without a grace: it waits, and the session lives for as long as it would have lived."""
    store = store_of(url)
    await store.create(VISITOR, None, HOUR, {"cart": 1}, idle=idle)
    settle, renew, tasks, replied = SETTLE.step, RENEW.step, list[asyncio.Task[str | None]](), asyncio.Event()

    async def after_a_renewal(*args: Any) -> Any:
        tasks.append(asyncio.create_task(store.renew(VISITOR, renewed_id(VISITOR, 1.0), 0)))
        await replied.wait()
        return await settle(*args)

    async def renewal(call: Any, keys: tuple[str, ...], *args: Any) -> Any:
        reply = await renew(call, keys, *args)
        if user_tag("box", USER) in keys[0]:
            replied.set()
        return reply

    monkeypatch.setattr(SETTLE, "step", after_a_renewal)
    monkeypatch.setattr(RENEW, "step", renewal)
    await log_in(store)
    session_id = await tasks[0]
    assert session_id is not None
    assert await listed(store) == [session_id]
    record = await read(store, session_id)
    assert (record.idle, record.metadata) == (idle, {"cart": 1})
    assert record.expires - record.accessed == pytest.approx(HOUR, abs=5)


@pytest.mark.parametrize("script", [LEAVE, SETTLE], ids=["before it leaves", "before it settles"])
async def test_going_through_all_sessions_meanwhile(url: str, script: Script) -> None:
    """The copy is no session yet: whoever walks, counts, files, surveys or ends thoroughly leaves it alone."""
    store, found = store_of(url), list[object]()
    await store.create(VISITOR, None, HOUR, {"cart": 1})
    left = int(script is LEAVE)  # whether the session is there under its old id

    async def go_through(other: RedisSessionStore) -> None:
        found.append([session_id async for page in other.pages(10) for session_id, _ in page])
        found.append(await other.count())
        found.append(await end_unlisted(other, USER, frozenset()))
        found.append((await reindex(Client(url))).missing)
        found.append(len((await survey(Client(url))).sessions))

    new_id = await log_in(RedisSessionStore(Meddler(url, script, by_another(url, go_through)), "box"))
    assert found == [[VISITOR] * left, left, 0, 0, left]
    assert new_id is not None
    assert await listed(store_of(url)) == [new_id]
    assert (await read(store_of(url), new_id)).metadata == {"cart": 1}


async def test_a_renewal_that_comes_first_leaves_nothing_in_the_copy(url: str) -> None:
    """The session has another id by then, and less in it: what was copied before is not what is given to the user."""
    store = store_of(url)
    await store.create(VISITOR, None, HOUR, {"a": 1, "b": 2})

    async def renew_and_remove(other: RedisSessionStore) -> None:
        new_id = await other.renew(VISITOR, renewed_id(VISITOR, 1.0), 60)
        assert new_id is not None
        assert await other.update(new_id, {}, replace=False, remove=("b",))

    new_id = await log_in(RedisSessionStore(Meddler(url, LEAVE, by_another(url, renew_and_remove)), "box"))
    assert new_id is not None
    assert (await read(store, new_id)).metadata == {"a": 1}


async def test_a_record_that_cannot_be_read_is_nobodys(url: str, calm_cluster: ClusterServers) -> None:
    """Whatever user a later version has written into it: it counts as absent, and is left alone."""
    client = Client(url)
    key = session_key("box", VISITOR)
    await client.call(b"HSET", key, b"v", b"9", b"user", b"bob")
    manager = SessionManager("box", redis.factory(url), strict=True)
    assert await manager.renew_session(VISITOR, user_id=USER) is None
    assert await client.call(b"HGET", key, b"user") == b"bob"
    assert user_tag("box", USER) not in key


@pytest.mark.parametrize("script", [PUT, LEAVE, SETTLE], ids=["copy", "leave", "settle"])
async def test_servers_that_are_full(url: str, calm_cluster: ClusterServers, script: Script) -> None:
    """From one of the steps on: nothing has changed, or the session is given to the user once there is memory again."""
    store = store_of(url)
    await store.create(VISITOR, None, HOUR, {"cart": 1})

    def set_memory(most: int) -> None:
        for node in calm_cluster.masters:
            node.command("CONFIG", "SET", "maxmemory", str(most))

    try:
        with pytest.raises(OutcomeUnknown if script is SETTLE else OutOfMemoryError):
            await log_in(RedisSessionStore(Meddler(url, script, lambda: set_memory(1)), "box"))
    finally:
        set_memory(0)
    wanted = USER if script is SETTLE else None

    async def is_so() -> bool:
        return (await read(store)).user_id == wanted and len(await listed(store)) == int(script is SETTLE)

    await eventually(is_so)
    record = await read(store)
    assert record.metadata == {"cart": 1}
    assert record.expires - record.accessed == pytest.approx(HOUR, abs=15)


@pytest.mark.parametrize("session_id", ["chosen", "sess-1-" + 32 * "0" + user_tag("box", USER)])
async def test_an_id_that_becomes_another_users_meanwhile(url: str, session_id: str) -> None:
    """Ended and allocated anew before the user's own session is renewed: it is not given out."""
    await store_of(url).create(session_id, USER, HOUR, {})

    async def allocate_anew(store: RedisSessionStore) -> None:
        await store.delete(session_id)
        await store.create(session_id, "bob", HOUR, {"secret": 1})

    meddler = Meddler(url, RENEW, by_another(url, allocate_anew))
    with pytest.raises(SessionTakenError):
        await RedisSessionStore(meddler, "box").renew(session_id, new_session_id("box", USER, 1.0), 0, user_id=USER)
    assert (await read(store_of(url), session_id)).metadata == {"secret": 1}
    assert [name for name, _ in await store_of(url).list_user("bob")] == [session_id]
