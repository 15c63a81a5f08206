"""cashews' memory backend by itself, without the front that an application uses: its lower bound."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from benchmarks.adapters.refusal import memory_only
from benchmarks.workloads.case import Kind, Layer


class Provider:
    """Its calls under the names of a provider's."""

    def __init__(self, backend: Any) -> None:
        self.get = backend.get
        self.delete = backend.delete
        self._set = backend.set

    def setex(self, key: str, ttl: int, value: str) -> Awaitable[Any]:
        call: Awaitable[Any] = self._set(key, value, expire=ttl)
        return call


class Library:
    """Memory only."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        pass

    @asynccontextmanager
    async def open(self, layer: Layer, kind: Kind) -> AsyncIterator[Any]:
        memory_only(layer, kind)
        backend = import_module("cashews.backends.memory").Memory(size=1_000_000)
        await backend.init()
        try:
            yield Provider(backend)
        finally:
            await backend.close()
