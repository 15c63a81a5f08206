"""coredis, an asynchronous Redis client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from benchmarks.adapters import library
from benchmarks.workloads.case import Kind


class Provider(library.DeletesLists):
    def setex(self, key: str, ttl: int, value: str) -> Awaitable[Any]:
        return self._set(key, value, ex=ttl)


class Library(library.Library):
    @asynccontextmanager
    async def on_server(self, kind: Kind) -> AsyncIterator[Any]:
        redis = import_module("coredis").Redis
        url, connections = self.urls[kind], library.CONNECTIONS
        async with redis.from_url(url, decode_responses=True, max_connections=connections) as client:
            yield Provider(client)
