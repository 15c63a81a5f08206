"""cashews, its cache in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from importlib import import_module
from typing import Any

from benchmarks.adapters.refusal import memory_only
from benchmarks.workloads.case import Kind, Layer


class Provider:
    """Its calls under the names of a provider's."""

    def __init__(self) -> None:
        cache = import_module("cashews").Cache()
        cache.setup("mem://", size=1_000_000)
        self.get = cache.get
        self.delete = cache.delete
        self._set = cache.set

    def setex(self, key: str, ttl: int, value: str) -> Awaitable[Any]:
        call: Awaitable[Any] = self._set(key, value, expire=ttl)
        return call


class Library:
    """Memory only."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        pass

    def open(self, layer: Layer, kind: Kind) -> AbstractAsyncContextManager[Any]:
        memory_only(layer, kind)
        return nullcontext(Provider())
