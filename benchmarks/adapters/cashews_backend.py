"""cashews' memory backend by itself, without the front that an application uses: its lower bound."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from benchmarks.adapters import library
from benchmarks.adapters.cashews import Provider


class Library(library.Library):
    @asynccontextmanager
    async def in_memory(self) -> AsyncIterator[Any]:
        backend = import_module("cashews.backends.memory").Memory(size=1_000_000)
        await backend.init()
        try:
            yield Provider(backend)
        finally:
            await backend.close()
