"""Sessions of published versions with deeply nested metadata live on, whoever asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import MetadataError
from tests.support import published
from tests.support.deep import awaited_at_depth, levels_of, nested
from tests.support.migrations import info_of, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from chuk_sessions import SessionManager
    from tests.support.servers import RedisServer, Server

pytestmark = pytest.mark.redis
LEVELS = 800  # published versions took some 980 in a document, less where they were called from further down


def put_deep(server: Server) -> None:
    """A text that a process with more of the stack left could write."""
    fields: dict[str, Any] = published.put(server, "id", custom_metadata={"top": "HERE"})
    assert fields
    text = str(server.command("GET", "session:id")).replace('"HERE"', "[" * (LEVELS - 1) + "]" * (LEVELS - 1))
    server.command("SETEX", "session:id", "7200", text)


@pytest.mark.parametrize("left", [150, 900])
async def test_taken_over(redis_server: Server, open_process: Callable[[], SessionManager], left: int) -> None:
    put_deep(redis_server)
    manager = open_process()
    assert await awaited_at_depth(left, lambda: manager.validate_session("id")) is True
    info = await manager.get_session_info("id")
    assert info is not None
    assert levels_of(info["custom_metadata"]) == LEVELS
    with pytest.raises(MetadataError, match="nested deeper than 200 levels"):
        await manager.update_session_metadata("id", nested(201, "list"))
    assert not published.is_there(redis_server, "id")


async def test_moved(redis_server: Server, redis_url: str, target: RedisServer) -> None:
    put_deep(redis_server)
    assert await run(redis_url, target.url) == {"seen": 1, "moved": 1}
    assert levels_of((await info_of(target.url, "id"))["custom_metadata"]) == LEVELS
    assert await run(target.url, redis_url) == {"seen": 1, "moved": 1}
    assert levels_of((await info_of(redis_url, "id"))["custom_metadata"]) == LEVELS
