"""litestar's stores: in memory, and on redis-py. Values come back as bytes."""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager, nullcontext
from importlib import import_module
from typing import Any

from benchmarks.adapters import library, redis_py


class Provider(library.Renamed):
    def setex(self, key: str, ttl: int, value: str) -> Awaitable[Any]:
        return self._set(key, value, expires_in=ttl)


class Library(redis_py.Library):
    options = redis_py.BYTES

    def in_memory(self) -> AbstractAsyncContextManager[Any]:
        return nullcontext(Provider(import_module("litestar.stores.memory").MemoryStore()))

    def provider(self, client: Any) -> Provider:
        return Provider(import_module("litestar.stores.redis").RedisStore(redis=client))
