"""redis-py's asyncio client. It parses with hiredis when that is installed, which the worker reports."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from benchmarks.adapters import library
from benchmarks.workloads.case import Kind

BYTES: Mapping[str, Any] = {"max_connections": library.CONNECTIONS}
TEXT: Mapping[str, Any] = {"decode_responses": True}


class Provider(library.Renamed):
    """The client's own ``setex`` is deprecated, and slower for the warning."""

    def setex(self, key: str, ttl: int, value: str) -> Awaitable[Any]:
        return self._set(key, value, ex=ttl)


class Library(library.Library):
    """One client, shared by all callers; what stands on it has ``options`` and a ``provider`` of its own."""

    options: ClassVar[Mapping[str, Any]] = {**TEXT, **BYTES}

    @asynccontextmanager
    async def on_server(self, kind: Kind) -> AsyncIterator[Any]:
        from redis.asyncio import Redis, RedisCluster

        first = self.urls[kind].partition(",")[0]  # of several nodes it takes one
        client: Any = (RedisCluster if kind == "redis-cluster" else Redis).from_url(first, **self.options)
        async with client:
            yield self.provider(client)

    def provider(self, client: Any) -> Any:
        """The calls that are timed."""
        return Provider(client)
