"""cachetools, whose cache with a lifetime per item is no coroutine: behind ``async def``, as one would call it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from importlib import import_module
from typing import Any

from benchmarks.adapters import library


def _deadline(key: str, entry: tuple[float, str], now: float) -> float:
    return now + entry[0]


class Provider:
    """Entries carry their lifetime, which is how the cache learns of it."""

    def __init__(self) -> None:
        self._cache: Any = import_module("cachetools").TLRUCache(maxsize=1_000_000, ttu=_deadline)

    async def get(self, key: str) -> str | None:
        entry: tuple[float, str] | None = self._cache.get(key)
        return None if entry is None else entry[1]

    async def setex(self, key: str, ttl: int, value: str) -> None:
        self._cache[key] = (ttl, value)

    async def delete(self, key: str) -> bool:
        return self._cache.pop(key, None) is not None


class Library(library.Library):
    def in_memory(self) -> AbstractAsyncContextManager[Any]:
        return nullcontext(Provider())
