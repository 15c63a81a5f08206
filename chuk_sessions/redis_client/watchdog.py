"""The clock of all deadlines of one client on one event loop: one timer, whatever the number of commands and servers.

Age is counted in ticks, ``TICKS`` to a timeout. The timer runs only while somebody waits. A tick that came late counts
for nothing: it was the application that held up the loop, and the replies may be waiting to be read. Of several late
ones in a row only the first is left out, so that a loop that is always busy has deadlines too.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from functools import partial
from typing import Protocol

__all__ = ["TICKS", "Watchdog", "Watched", "clock"]

TICKS = 10  # per timeout: a command is given up between 1.0 and 1.1 times its timeout
# Seconds that go on while the machine is suspended, where the system can tell: flows are forgotten meanwhile.
clock = partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic


class Watched(Protocol):
    """Holds commands that have deadlines."""

    def is_waiting(self) -> bool:
        """Whether there are any; if nobody has, the watchdog sleeps."""

    def on_tick(self, tick: int) -> None:
        """Give up commands that were made ``TICKS`` before ``tick``."""


class Watchdog:
    """Calls ``on_tick`` of all that it watches. Belongs to one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: float) -> None:
        self._loop = loop
        self._period = timeout / TICKS
        self._was_late = False
        self._timer: asyncio.TimerHandle | None = None
        self._context = contextvars.Context()  # empty: a timer must not keep the first caller's variables alive
        self.watched: list[Watched] = []
        self.tick = 0
        self.begun = 0.0  # by ``clock``: the period that the next tick ends
        self.asleep = True

    def wake(self) -> None:
        """Begin to tick. Called with the first command."""
        self.asleep = False
        self.begun = clock()
        due = self._loop.time() + self._period
        self._timer = self._loop.call_at(due, self._watch, due, context=self._context)

    def stop(self) -> None:
        """Tick no more."""
        self.asleep = True
        if self._timer is not None:
            self._timer.cancel()

    def _watch(self, due: float) -> None:
        late = self._loop.time() - due > self._period / 2
        skip, self._was_late = late and not self._was_late, late
        if not skip:
            self.tick += 1
            for watched in list(self.watched):
                watched.on_tick(self.tick)
        if any(watched.is_waiting() for watched in self.watched):
            self.wake()
        else:
            self.asleep = True
