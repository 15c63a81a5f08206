"""litestar's stores: in memory, and on redis-py. Values come back as bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from benchmarks.adapters.redis_py import CONNECTIONS
from benchmarks.adapters.refusal import provider_only
from benchmarks.workloads.case import Kind, Layer


class Provider:
    """Its calls under the names of a provider's."""

    def __init__(self, store: Any) -> None:
        self.get = store.get
        self.delete = store.delete
        self._set = store.set

    def setex(self, key: str, ttl: int, value: str) -> Awaitable[Any]:
        call: Awaitable[Any] = self._set(key, value, expires_in=ttl)
        return call


class Library:
    """A store of its own for each workload."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = urls

    @asynccontextmanager
    async def open(self, layer: Layer, kind: Kind) -> AsyncIterator[Any]:
        provider_only(layer, kind)
        if kind == "memory":
            yield Provider(import_module("litestar.stores.memory").MemoryStore())
            return
        from redis.asyncio import Redis

        async with Redis.from_url(self._urls[kind], max_connections=CONNECTIONS) as client:
            yield Provider(import_module("litestar.stores.redis").RedisStore(redis=client))
