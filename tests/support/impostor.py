"""Takes the port of a server that was killed, so that attempts to connect to it can be counted and timed."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING, Self

from tests.support.listening import listening

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager


class Impostor:
    """Accepts connections and hangs up at once, or, with `silent`, says nothing until the other side gives up."""

    def __init__(self, port: int, silent: bool = False) -> None:
        self._silent = silent
        self._listening: AbstractAsyncContextManager[str] = listening(self._accept, port=port)
        self._open = 0
        self.most_at_once = 0
        self.times: list[float] = []  # of the attempts, by the clock of the loop

    @property
    def gaps(self) -> list[float]:
        """Seconds between one attempt and the next."""
        return [after - before for before, after in pairwise(self.times)]

    async def __aenter__(self) -> Self:
        await self._listening.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._listening.__aexit__(None, None, None)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.times.append(asyncio.get_running_loop().time())
        self._open += 1
        self.most_at_once = max(self.most_at_once, self._open)
        try:
            while self._silent and await reader.read(1000):
                pass
        finally:
            self._open -= 1
            writer.transport.abort()
