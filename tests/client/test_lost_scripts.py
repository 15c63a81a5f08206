"""Servers that forget their scripts while calls are under way, as by a restart, a failover or SCRIPT FLUSH."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.exceptions import NoPermissionError
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.scripts import Script
from tests.support.helpers import eventually
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer

if TYPE_CHECKING:
    from tests.support.servers import Server

pytestmark = pytest.mark.redis


async def test_a_deletion_whose_reply_and_script_were_lost_reports_success(
    redis_server: Server, redis_url: str
) -> None:
    """The second try finds nothing to delete, and the first one of the two must have removed it."""
    async with Proxy(redis_server.host, redis_server.port) as proxy:
        manager = SessionManager("box", redis.factory(proxy.url), strict=True)
        assert await manager.delete_session(await manager.allocate_session())
        session_id = await manager.allocate_session()
        proxy.swallowing = True
        deletion = asyncio.create_task(manager.delete_session(session_id))
        await eventually(lambda: redis_server.command("DBSIZE") == 0)
        redis_server.command("SCRIPT", "FLUSH")
        proxy.swallowing = False
        proxy.cut()
        assert await deletion is True
        assert await manager.delete_session(session_id) is False


async def test_what_is_opened_after_its_script_was_lost_is_for_its_owner_all_the_same(
    redis_server: Server, redis_url: str
) -> None:
    manager = SessionManager("box", redis.factory(redis_url), strict=True)
    ids = [await manager.allocate_session(user_id=user) for user in ("alice", "bob") * 20]
    assert await manager.open_session(ids[0], owner="alice")
    redis_server.command("SCRIPT", "FLUSH")
    opened = await asyncio.gather(*(manager.open_session(each, owner="bob") for each in ids))
    assert [info and info["user_id"] for info in opened] == [None, "bob"] * 20


async def test_many_calls_send_the_source_of_a_lost_script_once(redis_server: Server, redis_url: str) -> None:
    async with Proxy(redis_server.host, redis_server.port) as proxy:
        manager = SessionManager("box", redis.factory(proxy.url), strict=True)
        ids = await asyncio.gather(*(manager.allocate_session() for _ in range(1000)))
        assert all(await asyncio.gather(*map(manager.validate_session, ids)))
        redis_server.command("SCRIPT", "FLUSH")
        proxy.requests.clear()
        assert all(await asyncio.gather(*map(manager.validate_session, ids)))
        assert proxy.requests.count(b"\r\nEVAL\r\n") == 1
        redis_server.command("SCRIPT", "FLUSH")
        proxy.requests.clear()
        assert all(await asyncio.gather(*map(manager.delete_session, ids)))
        assert proxy.requests.count(b"\r\nEVAL\r\n") == 1


async def test_a_caller_that_gives_up_with_the_source_has_another_send_it(redis_server: Server, redis_url: str) -> None:
    """The first of the calls is told that the script is missing, and is cancelled before its source is written."""
    async with Proxy(redis_server.host, redis_server.port) as proxy:
        client, count = Client(proxy.url), Script("return redis.call('INCR', KEYS[1])")
        assert await count.run(client, ("n",), ()) == 1
        redis_server.command("SCRIPT", "FLUSH")
        proxy.requests.clear()
        calls = [asyncio.create_task(count.run(client, ("n",), ())) for _ in range(100)]
        being_sent = count._being_sent
        while not being_sent:  # noqa: ASYNC110 - the turn of the loop matters
            await asyncio.sleep(0)
        calls[0].cancel()
        replies = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(replies[0], asyncio.CancelledError)
        assert replies[1:] == list(range(2, 101))
        assert proxy.requests.count(b"\r\nEVAL\r\n") == 1
        assert not being_sent


async def test_a_source_that_the_server_refuses_is_each_callers_error() -> None:
    """A user that may run scripts by their hash only."""
    with RedisServer("user sha on >pw ~* +@all -eval") as server:
        count = Script("return redis.call('INCR', KEYS[1])")
        client = Client(server.url_for("sha", "pw"))
        calls = (count.run(client, ("n",), ()) for _ in range(100))
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(error) for error in errors} == {NoPermissionError}
        assert server.command("EXISTS", "n") == 0
