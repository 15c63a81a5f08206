"""A session whose creation was sent and whose reply was lost: nobody has its id, so it must not stay."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from chuk_sessions import OutcomeUnknown, SessionManager, StorageError
from chuk_sessions.providers import redis
from tests.support.helpers import eventually
from tests.support.proxy import Proxy

if TYPE_CHECKING:
    from tests.support.servers import Server

pytestmark = pytest.mark.redis


def keys_on(server: Server) -> list[str]:
    keys = server.command("KEYS", "*")
    assert isinstance(keys, list)
    return [str(key) for key in keys]


async def lose_the_reply(proxy: Proxy, server: Server, login: asyncio.Task[str], keys: int) -> None:
    """Once the server has carried out the creation, which shows in so many keys."""
    await eventually(lambda: len(keys_on(server)) == keys)
    proxy.swallowing = False
    proxy.cut()
    with pytest.raises(StorageError) as caught:
        await login
    assert isinstance(caught.value.__cause__, OutcomeUnknown)


async def test_a_session_made_here_is_ended(redis_server: Server, redis_url: str) -> None:
    """As soon as the server can be reached again; nothing is left in the index either."""
    async with Proxy(redis_server.host, redis_server.port) as proxy:
        manager = SessionManager("box", redis.factory(proxy.url))
        await manager.delete_session(await manager.allocate_session(user_id="bob"))
        assert keys_on(redis_server) == []
        proxy.swallowing = True
        login = asyncio.create_task(manager.allocate_session(user_id="alice"))
        await lose_the_reply(proxy, redis_server, login, 2)
        await eventually(lambda: keys_on(redis_server) == [])
        assert await manager.list_user_sessions("alice") == []


async def test_a_session_that_was_there_before_stays(redis_server: Server, redis_url: str) -> None:
    """Its id was given by the caller, who may have it for long."""
    async with Proxy(redis_server.host, redis_server.port) as proxy:
        manager = SessionManager("box", redis.factory(proxy.url))
        session_id = await manager.allocate_session(user_id="alice")
        proxy.swallowing = True
        login = asyncio.create_task(manager.allocate_session(session_id, "alice"))
        await eventually(lambda: manager.session_factory.stats()["in_flight"] == 1)
        await lose_the_reply(proxy, redis_server, login, 2)
        assert await manager.validate_session(session_id) is True
