"""The floor: a dict behind ``async def``, without lifetimes, and a sandbox for paths made by an f-string."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from benchmarks.adapters import library
from benchmarks.workloads.case import Kind, Layer


class DictProvider:
    """What any store has to do at the least."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: dict[str, str] = {}

    async def get(self, key: str) -> str | None:
        return self._items.get(key)

    async def setex(self, key: str, ttl: int, value: str) -> None:
        self._items[key] = value

    async def delete(self, key: str) -> bool:
        return self._items.pop(key, None) is not None


class Sandbox:
    """In the place of a manager; only its name is used."""

    sandbox_id = "my-app"


class Library(library.Library):
    def open(self, layer: Layer, kind: Kind) -> AbstractAsyncContextManager[Any]:
        return nullcontext(DictProvider() if layer == "provider" else Sandbox())
