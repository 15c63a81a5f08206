"""Time for tests: a clock that a test moves, and functions that wait where time cannot be moved."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

__all__ = ["PATIENCE", "Clock", "eventually", "time_passes"]

PATIENCE = 10.0  # seconds; only a failing test waits so long
PAUSE = 0.005  # seconds between two looks at a condition


class Clock:
    """Hold a time in seconds that moves only when a test moves it; calling the clock returns the time.

    Use it as ``MemoryStore(clock=clock, wall_clock=clock)``, or with any store that takes its clock as an argument. A
    test may also set the time, the attribute ``now``.
    """

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.now!r})"

    def move(self, seconds: float) -> None:
        """Let some time pass.

        Args:
            seconds: How much; a negative number sets the clock back.
        """
        self.now += seconds


async def eventually(condition: Callable[[], Any], patience: float = PATIENCE) -> None:
    """Wait until ``condition()`` is true, awaiting its result if need be. AssertionError after ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while True:
        result = condition()
        if await result if inspect.isawaitable(result) else result:
            return
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {patience} s")
        await asyncio.sleep(PAUSE)


async def time_passes(seconds: float) -> None:
    """Wait until both clocks of this process have moved on by ``seconds``."""
    wall, monotonic = time.time() + seconds, time.monotonic() + seconds
    await eventually(lambda: time.time() > wall and time.monotonic() > monotonic, seconds + PATIENCE)
