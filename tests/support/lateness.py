"""How late the event loop runs: what a promise in seconds must be allowed on a machine that has other things to do.

A callback asks to be called again every few milliseconds. What it is late by was nobody's fault but the machine's, or
the test's own.
"""

from __future__ import annotations

import asyncio
import time
from typing import Self

PERIOD = 0.002  # seconds
WORTH_COUNTING = 0.005


class Lateness:
    """Measures while it is entered. `total` and `worst` in seconds of this loop's clock."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.total = 0.0
        self.worst = 0.0

    def __enter__(self) -> Self:
        self._wait()
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def allow(self, seconds: float) -> float:
        """That time, and what the machine took.

        Three times of it: also what is late by less than is counted adds up.
        """
        return seconds + 3 * self.total

    def _wait(self) -> None:
        due = self._loop.time() + PERIOD
        self._timer = self._loop.call_at(due, self._look, due)

    def _look(self, due: float) -> None:
        late = self._loop.time() - due
        if late > WORTH_COUNTING:
            self.total += late
        self.worst = max(self.worst, late)
        self._wait()


class Turns:
    """The longest turn of the loop while it is entered, in seconds of processor time of this thread.

    Unlike the time on the clock, that is the same on a busy machine.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._last = time.thread_time()
        self._entered = False
        self.longest = 0.0

    def __enter__(self) -> Self:
        self._entered = True
        self._last = time.thread_time()
        self._loop.call_soon(self._look)
        return self

    def __exit__(self, *_: object) -> None:
        self._entered = False

    def _look(self) -> None:
        now = time.thread_time()
        self.longest = max(self.longest, now - self._last)
        self._last = now
        if self._entered:
            self._loop.call_soon(self._look)
