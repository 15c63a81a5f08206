"""aiocache, its cache in memory."""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager, nullcontext
from importlib import import_module
from typing import Any

from benchmarks.adapters import library


class Provider(library.Renamed):
    def setex(self, key: str, ttl: int, value: str) -> Awaitable[Any]:
        return self._set(key, value, ttl=ttl)


class Library(library.Library):
    def in_memory(self) -> AbstractAsyncContextManager[Any]:
        return nullcontext(Provider(import_module("aiocache").SimpleMemoryCache()))
