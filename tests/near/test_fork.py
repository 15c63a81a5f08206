"""A forked child begins without a cache; the parent's stays as it was."""

from __future__ import annotations

import asyncio
import os

import pytest

from tests.near.test_manager import Near

pytestmark = pytest.mark.redis


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # of the tests before it
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_serves_nothing_of_its_parent(redis_url: str) -> None:
    """It asks the server over a connection of its own: a session that has ended meanwhile is not found."""
    near = Near(redis_url)

    async def parent() -> int:
        await near.begin()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = _child(near)
            finally:
                os._exit(code)
        _, status = await asyncio.to_thread(os.waitpid, pid, 0)
        near.from_cache(lambda: near.manager.get_session_info(near.id))
        return os.waitstatus_to_exitcode(status)

    assert asyncio.run(parent()) == 0


def _child(near: Near) -> int:
    asyncio._set_running_loop(None)
    if near.manager.get_cache_stats()["cached_sessions"] or near.number("hits"):
        return 2

    async def work() -> int:
        hits = near.number("hits")
        if await near.manager.get_session_info(near.id) is None:
            return 3
        if near.number("hits") != hits:
            return 4
        await near.warm()
        near.from_cache(lambda: near.manager.get_session_info(near.id))
        return 0

    return asyncio.run(work())
