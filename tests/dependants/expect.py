"""What the drives have in common."""

from __future__ import annotations

import asyncio
import time
from itertools import repeat
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PATIENCE = 15.0  # seconds; only a drive that fails waits so long


class Unmet(Exception):
    """A library did not behave as it should."""


class Steps:
    """Counts what was checked, so that a drive that checked nothing cannot pass."""

    def __init__(self) -> None:
        self.count = 0

    def expect(self, what: str, condition: Any) -> None:
        """Raise Unmet unless `condition` is true."""
        self.count += 1
        if not condition:
            raise Unmet(f"step {self.count}: {what}")

    async def expect_raises(self, what: str, kind: type[Exception], call: Awaitable[Any]) -> None:
        """Raise Unmet unless awaiting it raises that."""
        try:
            await call
        except kind:
            self.expect(what, True)
        else:
            self.expect(what, False)

    async def eventually(self, what: str, condition: Callable[[], Awaitable[Any]]) -> None:
        """Raise Unmet unless `condition` comes true."""
        deadline = time.monotonic() + PATIENCE
        result = await condition()
        for pause in repeat(0.05):
            if result or time.monotonic() >= deadline:
                break
            await asyncio.sleep(pause)
            result = await condition()
        self.expect(what, result)
