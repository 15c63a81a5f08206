"""The floor of a store with lifetimes: a dict of tuples behind ``async def``, in which nothing ever expires."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from time import monotonic
from typing import Any

from benchmarks.adapters import library


class TupleProvider:
    """A value and its deadline in a tuple, as any store in Python keeps them."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: dict[str, tuple[str, float]] = {}

    async def get(self, key: str) -> str | None:
        entry = self._items.get(key)
        return None if entry is None else entry[0]

    async def setex(self, key: str, ttl: int, value: str) -> None:
        self._items[key] = (value, monotonic() + ttl)

    async def delete(self, key: str) -> bool:
        return self._items.pop(key, None) is not None


class Library(library.Library):
    def in_memory(self) -> AbstractAsyncContextManager[Any]:
        return nullcontext(TupleProvider())
