"""The floor of all floors: a call of an ``async def`` that does nothing."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from benchmarks.workloads.case import Kind, Layer


class Nothing:
    """Cannot fail."""

    async def nothing(self, key: str) -> None:
        pass


class Library:
    """Needs no store."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        pass

    def open(self, layer: Layer, kind: Kind) -> AbstractAsyncContextManager[Any]:
        return nullcontext(Nothing())
