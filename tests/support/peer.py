"""A server of one rule, for answers that no real server gives, or not when a test needs them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class HangUp(Exception):
    """Raised by a rule: send the bytes given, and close the connection."""


@asynccontextmanager
async def peer(rule: Callable[[bytes], bytes]) -> AsyncIterator[str]:
    """Listens at the ``host:port`` given, and answers what it reads by ``rule``; ends without an open connection."""
    links: set[asyncio.Task[None]] = set()

    async def link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        links.add(task)
        try:
            while data := await reader.read(10_000):
                writer.write(rule(data))
        except HangUp as last:
            writer.write(last.args[0])
        except (OSError, asyncio.CancelledError):
            pass
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(link, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in links:
            task.cancel()
        await asyncio.gather(*links, return_exceptions=True)
