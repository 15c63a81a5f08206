"""cachetools, whose cache with a lifetime per item is no coroutine: behind ``async def``, as one would call it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from importlib import import_module
from typing import Any

from benchmarks.adapters.refusal import memory_only
from benchmarks.workloads.case import Kind, Layer


def _deadline(key: str, entry: tuple[float, str], now: float) -> float:
    return now + entry[0]


class Provider:
    """Its calls under the names of a provider's; entries carry their lifetime, which is how it learns of it."""

    def __init__(self) -> None:
        self._cache: Any = import_module("cachetools").TLRUCache(maxsize=1_000_000, ttu=_deadline)

    async def get(self, key: str) -> str | None:
        entry: tuple[float, str] | None = self._cache.get(key)
        return None if entry is None else entry[1]

    async def setex(self, key: str, ttl: int, value: str) -> None:
        self._cache[key] = (ttl, value)

    async def delete(self, key: str) -> bool:
        return self._cache.pop(key, None) is not None


class Library:
    """Memory only."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        pass

    def open(self, layer: Layer, kind: Kind) -> AbstractAsyncContextManager[Any]:
        memory_only(layer, kind)
        return nullcontext(Provider())
