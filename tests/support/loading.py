"""A server that was restarted and reads its data from disk, or from its master, as slowly as a test wants: LOADING."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.servers import RedisServer, ReplyError

__all__ = ["KEYS", "LOAD_SECONDS", "SIZE", "answers_loading", "fill", "loading", "slowly"]

# Over 2 MB, after each of which a server that loads answers; and a millisecond for each key, a second in all.
KEYS, SIZE = 1000, 10_000
LOAD_SECONDS = 1
FILL = "for i = 1, ARGV[1] do redis.call('SET', 'k' .. i, string.rep('x', ARGV[2])) end"


def fill(server: RedisServer) -> None:
    """Give a server, which needs the setting `rdbcompression no`, a lot to load after its next restart."""
    server.command("EVAL", FILL, "0", str(KEYS), str(SIZE))
    server.command("SAVE")


def slowly(seconds: float) -> str:
    """The setting of a server that takes so long to load what `fill` has put there."""
    return f"key-load-delay {seconds * 1_000_000 / KEYS:.0f}"


@asynccontextmanager
async def loading(server: RedisServer, seconds: float = LOAD_SECONDS) -> AsyncIterator[None]:
    """Restarts the server; inside, it loads; at the end it has loaded."""
    server.kill()
    restarting = asyncio.create_task(asyncio.to_thread(server.restart, slowly(seconds)))
    try:
        yield
    finally:
        await restarting


def answers_loading(server: RedisServer) -> bool:
    """Whether the server is loading now."""
    try:
        server.command("PING")
    except (OSError, ReplyError) as error:
        return "LOADING" in str(error)
    return False
