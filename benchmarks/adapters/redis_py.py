"""redis-py's asyncio client. It parses with hiredis when that is installed, which the worker reports."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.workloads.case import Kind, Layer

if TYPE_CHECKING:
    from redis.asyncio import Redis

CONNECTIONS = 1_000  # the default of 100 fails with more callers than that


class Provider:
    """Its calls under the names of a provider's; its own ``setex`` is deprecated, and slower for the warning."""

    def __init__(self, client: Redis) -> None:
        self.get = client.get
        self.delete = client.delete
        self._set = client.set

    def setex(self, key: str, ttl: int, value: str) -> Awaitable[Any]:
        return self._set(key, value, ex=ttl)


class Library:
    """One client, shared by all callers."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = urls

    @asynccontextmanager
    async def open(self, layer: Layer, kind: Kind) -> AsyncIterator[Any]:
        from redis.asyncio import Redis, RedisCluster

        first = self._urls[kind].partition(",")[0]  # of several nodes it takes one
        client: Any = (RedisCluster if kind == "redis-cluster" else Redis).from_url(
            first, decode_responses=True, max_connections=CONNECTIONS
        )
        async with client:
            yield Provider(client)
