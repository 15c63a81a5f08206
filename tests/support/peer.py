"""A server of one rule, for answers that no real server gives, or not when a test needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.listening import listening

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager


class HangUp(Exception):
    """Raised by a rule: send the bytes given, and close the connection."""


def peer(rule: Callable[[bytes], bytes]) -> AbstractAsyncContextManager[str]:
    """Listens at the ``host:port`` given, and answers what it reads by ``rule``; ends without an open connection."""

    async def link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(10_000):
                writer.write(rule(data))
        except HangUp as last:
            writer.write(last.args[0])

    return listening(link)
