"""Servers that forget their scripts while calls are under way, as by a restart, a failover or SCRIPT FLUSH."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.providers import redis
from tests.support.helpers import eventually
from tests.support.proxy import Proxy

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
