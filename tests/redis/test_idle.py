"""Idle times on a server: what a touch that is not written costs, and servers that refuse to write it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.ids import session_key
from chuk_sessions.providers import redis
from tests.redis.test_refusals import make_unable_to_save
from tests.support.helpers import eventually
from tests.support.servers import RedisServer

if TYPE_CHECKING:
    from tests.support.servers import Server

pytestmark = pytest.mark.redis
KEY = session_key("box", "id")


def calls_on(server: Server) -> dict[str, int]:
    """How often the server ran each command since CONFIG RESETSTAT."""
    stats = server.info("commandstats")
    return {
        name.removeprefix("cmdstat_"): int(text.split(",")[0].removeprefix("calls=")) for name, text in stats.items()
    }


async def test_a_fresh_session_costs_one_read(redis_server: Server, redis_url: str) -> None:
    """As one without an idle time does, once such a session was met."""
    manager = SessionManager("box", redis.factory(redis_url), idle_ttl_minutes=10, touch_interval=60)
    await manager.allocate_session("id", "alice")
    for _ in range(3):
        assert await manager.validate_session("id")
    redis_server.command("CONFIG", "RESETSTAT")
    for _ in range(10):
        assert await manager.validate_session("id")
    calls = calls_on(redis_server)
    assert calls["hmget"] == 10
    assert not {"evalsha", "eval", "hset"} & set(calls)


async def test_what_a_touch_is_written_for(redis_server: Server, redis_url: str) -> None:
    """The first one after another manager's, and then one per interval."""
    often = SessionManager("box", redis.factory(redis_url), idle_ttl_minutes=10)
    seldom = SessionManager("box", redis.factory(redis_url), touch_interval=60)
    await often.allocate_session("id")

    async def written(manager: SessionManager) -> bool:
        before = redis_server.command("HGET", KEY, "accessed")
        assert await manager.validate_session("id")
        return redis_server.command("HGET", KEY, "accessed") != before

    assert [await written(seldom) for _ in range(3)] == [True, False, False]
    assert await written(often)
    assert not await written(seldom)  # there is room yet: an interval since the first one
    for name in ("accessed", "expires"):
        moment = int(str(redis_server.command("HGET", KEY, name)))
        redis_server.command("HSET", KEY, name, str(moment - 60_000_000))
    assert [await written(seldom) for _ in range(2)] == [True, False]


async def test_a_server_that_cannot_save_is_asked_again_at_once() -> None:
    """Meanwhile the session lives until the deadline that it has; the first touch that can be written moves it."""
    with RedisServer() as server:
        manager = SessionManager("box", redis.factory(server.url), strict=True, idle_ttl_minutes=1, touch_interval=20)
        await manager.allocate_session("id")
        assert await manager.validate_session("id")
        await make_unable_to_save(server)
        before = await manager.get_session_info("id")
        for name in ("accessed", "expires"):
            moment = int(str(server.command("HGET", KEY, name)))
            server.command("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
            server.command("HSET", KEY, name, str(moment - 25_000_000))
            server.command("CONFIG", "SET", "stop-writes-on-bgsave-error", "yes")
        for _ in range(3):
            assert await manager.validate_session("id") is True
        assert await manager.get_session_info("id") != before
        refused = server.command("HGET", KEY, "accessed")
        (server.folder / "dump.rdb").rmdir()
        server.command("BGSAVE")
        await eventually(lambda: server.info("persistence")["rdb_last_bgsave_status"] == "ok")
        assert await manager.validate_session("id") is True
        assert server.command("HGET", KEY, "accessed") != refused
