"""A user's own provider, as in docs/extend/provider.md: setex, get, delete, close and nothing else."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from chuk_sessions.provider import Factory

Data = dict[str, tuple[str, float]]


class CustomSession:
    """Suspends in every call, as one that talks to a server does: only so can callers get in each other's way."""

    def __init__(self, data: Data) -> None:
        self.data = data

    async def setex(self, key: str, ttl: int, value: str) -> None:
        assert type(ttl) is int
        assert ttl > 0
        await asyncio.sleep(0)
        self.data[key] = (value, time.monotonic() + ttl)

    async def get(self, key: str) -> str | None:
        await asyncio.sleep(0)
        value, deadline = self.data.get(key, ("", 0.0))
        return value if deadline > time.monotonic() else None

    async def delete(self, key: str) -> None:
        await asyncio.sleep(0)
        self.data.pop(key, None)

    async def close(self) -> None:
        pass


def factory(data: Data | None = None) -> Factory:
    """A factory over `data`, by default a dict of its own."""
    shared: Data = {} if data is None else data

    @asynccontextmanager
    async def _ctx() -> AsyncIterator[CustomSession]:
        session = CustomSession(shared)
        try:
            yield session
        finally:
            await session.close()

    return _ctx
