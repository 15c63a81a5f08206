"""A deadline from now on Redis: the key, the index entry and the index follow it, whatever happens in between."""

from __future__ import annotations

import asyncio
import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.ids import quote_part, session_key, user_tag
from chuk_sessions.providers import redis
from chuk_sessions.providers.redis.index import CLOCK_SLACK
from chuk_sessions.providers.redis.keys import index_key
from chuk_sessions.providers.redis.scripts import LOWER, MOVE, RETIME
from chuk_sessions.providers.redis.store import RedisSessionStore
from tests.support.meddler import Meddler
from tests.support.places import server_or_cluster
from tests.support.servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.support.servers import Server

pytestmark = pytest.mark.redis
redis_server = server_or_cluster


@pytest.fixture(autouse=True)
def empty(redis_server: Server) -> None:
    """A cluster is that of the test before."""
    redis_server.flush()


INDEX = index_key("box", user_tag("box", "alice"))
HOUR = 3600.0
KINDS = [pytest.param(None, id="made here"), pytest.param("chosen", id="chosen")]
IDLES = [pytest.param(None, id="no idle time"), pytest.param(30.0, id="idle time")]


def number(server: Server, *command: str) -> int:
    return int(float(str(server.command(*command))))


def end_of(server: Server, session_id: str) -> int:
    """When a session ends however often it is touched, in microseconds."""
    fields = server.command("HMGET", session_key(quote_part("box"), session_id), "end", "expires")
    assert isinstance(fields, list)
    return int(str(fields[0] or fields[1]))


def entry_of(server: Server) -> int:
    """The deadline of the only entry, in milliseconds."""
    found = server.command("ZRANGE", INDEX, "0", "-1", "WITHSCORES")
    assert isinstance(found, list)
    assert len(found) == 2
    return int(float(str(found[1])))


def due(end: int, chosen: str | None) -> int:
    """The deadline that the entry of a session with that end should have, in milliseconds."""
    return math.ceil((end + (CLOCK_SLACK if chosen else 0)) / 1000)


def in_another_loop(work: Callable[[], Coroutine[Any, Any, object]]) -> Callable[[], None]:
    """The work as another process would do it, for a ``Meddler``."""

    def do() -> None:
        with ThreadPoolExecutor(1) as thread:
            thread.submit(lambda: asyncio.run(work())).result()

    return do


@pytest.mark.parametrize("idle", IDLES)
@pytest.mark.parametrize("chosen", KINDS)
async def test_key_entry_and_index_follow(redis_server: Server, chosen: str | None, idle: float | None) -> None:
    """Earlier and later, again and again: to the millisecond, and the index lives as long as its entry."""
    manager = SessionManager("box", redis.factory(redis_server.url), strict=True, idle_ttl_minutes=idle)
    session_id = await manager.allocate_session(chosen, "alice", ttl_hours=5)
    key = session_key(quote_part("box"), session_id)
    for hours in (1, 0.01, 10, 200, 0.02, 5):
        assert await manager.set_session_ttl(session_id, hours) is True
        end = end_of(redis_server, session_id)
        assert entry_of(redis_server) == due(end, chosen)
        assert number(redis_server, "PTTL", INDEX) >= hours * HOUR * 1000 - 1000
        lives = min(hours * HOUR, HOUR * (idle or math.inf) / 60)
        assert lives - 5 < number(redis_server, "PTTL", key) / 1000 <= lives + 0.001
        expires = number(redis_server, "HGET", key, "expires")
        assert (expires < end) is (idle is not None and hours > 0.5)
    assert await manager.extend_session_ttl(session_id, 1) is True
    assert entry_of(redis_server) >= due(end_of(redis_server, session_id), chosen)
    assert await manager.delete_user_sessions("alice") == 1
    assert number(redis_server, "ZCARD", INDEX) == 0


@pytest.mark.parametrize("chosen", KINDS)
async def test_a_deadline_that_has_passed_when_it_is_written(redis_server: Server, chosen: str | None) -> None:
    """The session is gone then, and no key without a deadline is left."""
    store = redis.factory(redis_server.url).session_store("box")
    for lifetime in (0.0, 1e-6, 0.0005):
        session_id = chosen or "sess-1-" + 32 * "0" + user_tag("box", "alice")
        assert await store.create(session_id, "alice", HOUR, {"a": 1}) is None
        assert await store.extend(session_id, lifetime, from_now=True) is True
        await asyncio.sleep(0.005)
        assert number(redis_server, "EXISTS", session_key("box", session_id)) == 0
        assert await store.touch(session_id, 0) is False


@pytest.mark.parametrize("chosen", KINDS)
async def test_on_a_full_server(chosen: str | None) -> None:
    """A session that is to end sooner must not live on because there is no memory."""
    with RedisServer("maxmemory-policy noeviction") as server:
        manager = SessionManager("box", redis.factory(server.url), strict=True, idle_ttl_minutes=600)
        nobodys = await manager.allocate_session(chosen)
        users = await manager.allocate_session(user_id="alice")
        for session_id in (nobodys, users):
            await manager.set_session_ttl(session_id, 2)
        server.command("CONFIG", "SET", "maxmemory", "1")
        for session_id in (nobodys, users):
            assert await manager.set_session_ttl(session_id, 1) is True
            assert number(server, "PTTL", session_key("box", session_id)) <= HOUR * 1000 + 1


@pytest.mark.parametrize("script", [RETIME, LOWER], ids=["before it is set", "before the entry is moved nearer"])
@pytest.mark.parametrize("hours", [3, 0.5, 40])
async def test_an_extension_meanwhile(redis_url: str, redis_server: Server, script: Any, hours: float) -> None:
    """Both take effect, one after the other, and the entry never ends before its session."""
    other = SessionManager("box", redis.factory(f"{redis_server.url}?client_name=other"), strict=True)
    await other.allocate_session("chosen", "alice", ttl_hours=24)
    await other.set_session_ttl("chosen", 24)
    await other.extend_session_ttl("chosen", 0.001)
    count = 0

    async def extend() -> None:
        manager = SessionManager("box", redis.factory(f"{redis_server.url}?client_name=third"), strict=True)
        assert await manager.extend_session_ttl("chosen", hours) is True

    def second_time() -> None:
        nonlocal count
        count += 1
        if script is LOWER or count == 2:
            in_another_loop(extend)()

    store = RedisSessionStore(Meddler(redis_server.url, script, second_time, times=9), "box")
    assert await store.extend("chosen", HOUR, from_now=True) is True
    info = await other.get_session_info("chosen")
    assert info is not None
    end = end_of(redis_server, "chosen")
    lifetime = (end - int(str(redis_server.command("HGET", session_key("box", "chosen"), "accessed")))) / 1e6
    assert lifetime == pytest.approx(HOUR * (1 if script is RETIME else 1 + hours), abs=10)
    assert entry_of(redis_server) >= due(end, "chosen")
    assert count >= 1


@pytest.mark.parametrize("from_now", [False, True], ids=["extension", "deadline from now"])
@pytest.mark.parametrize("renewed", [False, True], ids=["ended", "renewed"])
async def test_a_session_that_ends_meanwhile(redis_server: Server, from_now: bool, renewed: bool) -> None:
    """Its entry, which is put back when its deadline is moved, does not stay behind."""
    other = SessionManager("box", redis.factory(f"{redis_server.url}?client_name=other"), strict=True)
    await other.allocate_session("chosen", "alice")

    async def end() -> None:
        manager = SessionManager("box", redis.factory(f"{redis_server.url}?client_name=third"), strict=True)
        assert await (manager.renew_session("chosen", 60) if renewed else manager.delete_session("chosen"))

    store = RedisSessionStore(Meddler(redis_server.url, MOVE, in_another_loop(end)), "box")
    options: dict[str, Any] = {"from_now": True} if from_now else {}
    assert await store.extend("chosen", HOUR, **options) is renewed
    assert number(redis_server, "ZCARD", INDEX) == int(renewed)
    if renewed:
        (info,) = await other.list_user_sessions("alice")
        assert entry_of(redis_server) >= due(end_of(redis_server, info["session_id"]), "chosen")


async def test_many_at_once(redis_server: Server) -> None:
    """Extensions and deadlines from now of one session: at the end the entry does not end before the session."""
    managers = [
        SessionManager("box", redis.factory(f"{redis_server.url}?client_name=m{number}"), strict=True)
        for number in range(4)
    ]
    await managers[0].allocate_session("chosen", "alice")
    calls = []
    for turn in range(10):
        calls += [managers[turn % 4].set_session_ttl("chosen", hours) for hours in (0.5, 30)]
        calls += [managers[turn % 3].extend_session_ttl("chosen", 0.25)]
    assert all(await asyncio.gather(*calls))
    assert await managers[0].set_session_ttl("chosen", 0.1)
    assert entry_of(redis_server) >= due(end_of(redis_server, "chosen"), "chosen")
    assert [info["session_id"] for info in await managers[1].list_user_sessions("alice")] == ["chosen"]
