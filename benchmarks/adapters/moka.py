"""moka-py, a cache in Rust, which is no coroutine: behind ``async def``, as one would call it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from importlib import import_module
from typing import Any

from benchmarks.adapters.refusal import memory_only
from benchmarks.workloads.case import Kind, Layer


class Provider:
    """Its calls under the names of a provider's."""

    def __init__(self) -> None:
        self._cache: Any = import_module("moka_py").Moka(1_000_000)

    async def get(self, key: str) -> Any:
        return self._cache.get(key)

    async def setex(self, key: str, ttl: int, value: str) -> None:
        self._cache.set(key, value, ttl)

    async def delete(self, key: str) -> bool:
        return self._cache.remove(key) is not None


class Library:
    """Memory only."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        pass

    def open(self, layer: Layer, kind: Kind) -> AbstractAsyncContextManager[Any]:
        memory_only(layer, kind)
        return nullcontext(Provider())
