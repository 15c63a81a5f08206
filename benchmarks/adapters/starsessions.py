"""starsessions' store on redis-py: documents of sessions as bytes. That in memory has no lifetimes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from benchmarks.adapters.redis_py import CONNECTIONS
from benchmarks.adapters.refusal import CannotDo, provider_only
from benchmarks.workloads.bodies import TTL
from benchmarks.workloads.case import Kind, Layer


class Provider:
    """Its calls under the names of a provider's. It says ``b""`` where others say None."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def get(self, key: str) -> Awaitable[Any]:
        call: Awaitable[Any] = self._store.read(key, TTL)
        return call

    def setex(self, key: str, ttl: int, value: str) -> Awaitable[Any]:
        call: Awaitable[Any] = self._store.write(key, value.encode(), ttl, ttl)
        return call

    def delete(self, key: str) -> Awaitable[Any]:
        call: Awaitable[Any] = self._store.remove(key)
        return call


class Library:
    """One store, shared by all callers."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = urls

    @asynccontextmanager
    async def open(self, layer: Layer, kind: Kind) -> AsyncIterator[Any]:
        provider_only(layer, kind)
        if kind == "memory":
            raise CannotDo("its store in memory has no lifetimes")
        from redis.asyncio import Redis

        async with Redis.from_url(self._urls[kind], max_connections=CONNECTIONS) as client:
            yield Provider(import_module("starsessions.stores.redis").RedisStore(connection=client))
