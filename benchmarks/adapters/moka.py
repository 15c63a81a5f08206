"""moka-py, a cache in Rust, which is no coroutine: behind ``async def``, as one would call it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from importlib import import_module
from typing import Any

from benchmarks.adapters import library


class Provider:
    def __init__(self) -> None:
        self._cache: Any = import_module("moka_py").Moka(1_000_000)

    async def get(self, key: str) -> Any:
        return self._cache.get(key)

    async def setex(self, key: str, ttl: int, value: str) -> None:
        self._cache.set(key, value, ttl)

    async def delete(self, key: str) -> bool:
        return self._cache.remove(key) is not None


class Library(library.Library):
    def in_memory(self) -> AbstractAsyncContextManager[Any]:
        return nullcontext(Provider())
