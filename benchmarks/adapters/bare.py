"""The floor of all floors: a call of an ``async def`` that does nothing."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from benchmarks.adapters import library


class Nothing:
    """Cannot fail."""

    async def nothing(self, key: str) -> None:
        pass


class Library(library.Library):
    """Needs no store."""

    def in_memory(self) -> AbstractAsyncContextManager[Any]:
        return nullcontext(Nothing())
