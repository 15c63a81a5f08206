"""coredis, an asynchronous Redis client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from benchmarks.adapters.redis_py import CONNECTIONS
from benchmarks.adapters.refusal import redis_only
from benchmarks.workloads.case import Kind, Layer


class Provider:
    """Its calls under the names of a provider's."""

    def __init__(self, client: Any) -> None:
        self.get = client.get
        self._set = client.set
        self._delete = client.delete

    def setex(self, key: str, ttl: int, value: str) -> Awaitable[Any]:
        command: Awaitable[Any] = self._set(key, value, ex=ttl)
        return command

    def delete(self, key: str) -> Awaitable[Any]:
        command: Awaitable[Any] = self._delete([key])
        return command


class Library:
    """One client, shared by all callers."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = urls

    @asynccontextmanager
    async def open(self, layer: Layer, kind: Kind) -> AsyncIterator[Any]:
        redis_only(layer, kind)
        client = import_module("coredis").Redis.from_url(
            self._urls[kind], decode_responses=True, max_connections=CONNECTIONS
        )
        async with client:
            yield Provider(client)
