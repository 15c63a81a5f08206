"""No answer is older than the bound, whatever stands still: connection, server or event loop. All at small bounds.

Random faults, a process that is stopped and a failover take longer: tests/faults/test_near.py.
"""

from __future__ import annotations

import asyncio
import time

import pytest

from chuk_sessions.exceptions import StorageError
from tests.near.test_manager import Near
from tests.support.helpers import eventually
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer, Server

BOUND = 0.3
pytestmark = pytest.mark.redis


async def last_yes(near: Near) -> float:
    """When the last call began that found the session; ends when the session is not found."""
    last = time.monotonic()
    while True:
        begun = time.monotonic()
        try:
            if not await near.manager.validate_session(near.id):
                return last
        except StorageError:
            continue
        last = begun
        await asyncio.sleep(0.002)


async def test_a_connection_that_leads_nowhere(redis_server: Server, redis_url: str) -> None:
    """A middlebox has forgotten it, and nobody is told: the push of the deletion never comes."""
    async with Proxy(redis_server.host, redis_server.port) as proxy:
        other = Near(redis_url).other

        async def is_served_late() -> bool:
            near = await Near(f"{proxy.url}?socket_timeout=1", BOUND).begin()
            await near.warm()
            proxy.forget()
            assert await other.delete_session(near.id)
            deleted = time.monotonic()
            hits = near.number("hits")
            assert await last_yes(near) - deleted <= BOUND
            return near.number("hits") > hits

        await eventually(is_served_late, patience=60)  # else it proves nothing: the machine stood still for the bound


async def test_a_server_that_is_stopped(own_server: RedisServer) -> None:
    """It may have ended the session before it was stopped; nobody can know. It is asked, and the caller waits."""
    near = await Near(f"{own_server.url}?socket_timeout=1", BOUND).begin()

    async def is_served_late() -> bool:
        await near.warm()
        own_server.pause()
        stopped, last = time.monotonic(), 0.0
        try:
            while True:
                begun, hits = time.monotonic(), near.number("hits")
                await near.manager.validate_session(near.id)
                assert near.number("hits") == hits + 1
                last = begun
                await asyncio.sleep(0.002)
        except StorageError:
            pass
        finally:
            own_server.resume()
        assert last - stopped <= BOUND
        await eventually(lambda: _is_valid(near))
        return last > 0

    await eventually(is_served_late, patience=60)  # else it proves nothing: the machine stood still for the bound


async def _is_valid(near: Near) -> bool:
    try:
        return await near.manager.validate_session(near.id)
    except StorageError:
        return False


@pytest.mark.parametrize("call", ["validate_session", "get_session_info", "open_session"])
async def test_an_event_loop_that_is_blocked(near: Near, redis_server: Server, call: str) -> None:
    """The first answer after it comes from the server: the push is in the socket, and nobody has read it."""
    key = near.manager._store._known_key(near.id)  # type: ignore[attr-defined]
    await near.warm()
    redis_server.command("DEL", key)  # this blocks the loop too
    until = time.monotonic() + BOUND
    while time.monotonic() <= until:  # blocked
        pass
    assert not await getattr(near.manager, call)(near.id)


async def test_an_event_loop_that_never_yields(near: Near, redis_server: Server) -> None:
    """A hit does not suspend: nothing but hits is ended by the lease."""

    async def is_served_late() -> bool:
        await near.begin()
        begun = time.monotonic()
        redis_server.command("DEL", near.manager._store._known_key(near.id))  # type: ignore[attr-defined]
        last = last_hit(near)
        assert last - begun <= BOUND
        assert not await near.manager.validate_session(near.id)
        return last > 0

    await eventually(is_served_late, patience=60)  # else it proves nothing: the machine stood still for the bound


def last_hit(near: Near) -> float:
    """When the last call began that was answered without giving control to the event loop; these come first."""
    last = 0.0
    while True:
        now, call = time.monotonic(), near.manager.validate_session(near.id)
        try:
            call.send(None)
        except StopIteration as done:
            found, last = done.value, now
        else:
            call.close()
            return last
        assert found is True


@pytest.fixture
async def near(redis_url: str) -> Near:
    return await Near(redis_url, BOUND).begin()
