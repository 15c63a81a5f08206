"""starsessions' store on redis-py: documents of sessions as bytes. That in memory has no lifetimes."""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from typing import Any

from benchmarks.adapters import library, redis_py
from benchmarks.workloads.bodies import TTL


class Provider:
    """It says ``b""`` where others say None."""

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


class Library(redis_py.Library):
    options = redis_py.BYTES

    def in_memory(self) -> AbstractAsyncContextManager[Any]:
        raise library.CannotDo("its store in memory has no lifetimes")

    def provider(self, client: Any) -> Provider:
        return Provider(import_module("starsessions.stores.redis").RedisStore(connection=client))
