"""What the adapters share: a library that opens its store, says what it cannot do, and names its calls as ours are.

What an adapter defines is called by the timed loops: each call goes through at most one plain function.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from benchmarks.workloads.case import Kind, Layer

CONNECTIONS = 1_000  # of a pool: the usual default of 100 fails with more callers than that


class CannotDo(Exception):
    """The library has nothing like it; this is what the table shows."""


class Library:
    """A library of values with lifetimes, with a store in memory, one on Redis, or both: it overrides what it has."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        self.urls = urls  # of the servers, by kind of store

    def open(self, layer: Layer, kind: Kind) -> AbstractAsyncContextManager[Any]:
        """A provider on such a store; CannotDo if the library has none."""
        if layer != "provider":
            raise CannotDo("no sessions with metadata")
        if kind == "memory-clock":
            raise CannotDo("no clock to move")
        return self.in_memory() if kind == "memory" else self.on_server(kind)

    def in_memory(self) -> AbstractAsyncContextManager[Any]:
        """A store in this process."""
        raise CannotDo("a Redis client")

    def on_server(self, kind: Kind) -> AbstractAsyncContextManager[Any]:
        """A store on the server of that kind, shared by all callers."""
        raise CannotDo("memory only")


class Renamed:
    """The calls of a store under the names of a provider's; how ``setex`` tells the lifetime is the adapter's part."""

    def __init__(self, store: Any) -> None:
        self.get: Callable[[str], Awaitable[Any]] = store.get
        self.delete: Callable[[str], Awaitable[Any]] = store.delete
        self._set: Callable[..., Awaitable[Any]] = store.set


class DeletesLists:
    """The same of a client whose ``delete`` takes a list of keys."""

    def __init__(self, client: Any) -> None:
        self.get: Callable[[str], Awaitable[Any]] = client.get
        self._delete: Callable[[list[str]], Awaitable[Any]] = client.delete
        self._set: Callable[..., Awaitable[Any]] = client.set

    def delete(self, key: str) -> Awaitable[Any]:
        return self._delete([key])
