"""The clock of all deadlines of one client on one event loop: one timer, whatever the number of commands and servers.

Age is counted in ticks, ``TICKS`` to a timeout. The timer runs only while commands wait. Ticks are by the clock of the
loop: a timer that comes late counts the ticks that it missed.

A late timer means that the application held up the loop. Replies may be waiting to be read, or commands to be written.
So nothing is given up at a late timer, but half a tick later. Of several late timers in a row only the first does this,
so that a loop that is always busy has deadlines too. Of a long hold-up at most ``HELD_UP`` ticks are counted, because
the server had no chance in it. For commands of the tick before it none are counted: the code that held up the loop may
have made these commands at the end of the hold-up.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from typing import Protocol

from chuk_sessions.elapsed import elapsed

__all__ = ["TICKS", "Watchdog", "Watched", "clock"]

TICKS = 20  # per timeout: a command is given up between 1.0 and 1.05 times its timeout, and on a busy loop by 1.1
HELD_UP = TICKS // 4
EARLY = 0.1  # ticks by which the timers of a loop may be early
clock = elapsed  # goes on while the machine is suspended: middleboxes forget flows meanwhile


class Watched(Protocol):
    """Holds commands that have deadlines."""

    def is_waiting(self) -> bool:
        """Tell whether there are commands. If no watched object has any, the watchdog sleeps."""

    def on_tick(self, tick: int) -> None:
        """Give up commands that were made ``TICKS`` before ``tick``."""


class Watchdog:
    """Calls ``on_tick`` of all watched objects. Belongs to one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: float) -> None:
        self._loop = loop
        self._counted = 0.0  # when the last tick was
        self._was_late = False
        self._leaps: deque[tuple[int, int]] = deque()  # ticks that a late timer counted: the tick before, and after
        self._timer: asyncio.TimerHandle | None = None
        self._context = contextvars.Context()  # empty: a timer must not keep the first caller's variables alive
        self.period = timeout / TICKS
        self.watched: list[Watched] = []
        self.tick = 0
        self.begun = 0.0  # by ``clock``: the period that the next tick ends
        self.asleep = True

    def wake(self) -> None:
        """Begin to tick. Called at the first command."""
        self._counted = self._loop.time()
        self._wait(self._counted + self.period)

    def stop(self) -> None:
        """Stop ticking."""
        self.asleep = True
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self, due: float) -> None:
        self.stop()  # if there is to be no timer, the next command wakes it again
        self.begun = clock()
        self._timer = self._loop.call_at(due, self._watch, due, context=self._context)
        self.asleep = False

    def _watch(self, due: float) -> None:
        now = self._loop.time()
        passed = int((now - self._counted) / self.period + EARLY)
        self._counted += passed * self.period
        before = self.tick
        self.tick += min(passed, HELD_UP)
        late = now - due > self.period / 2
        if self.tick > before and now - due > EARLY * self.period:
            self._leaps.append((before, self.tick))
        put_off, self._was_late = late and not self._was_late, late
        if put_off:
            self._wait(now + self.period / 2)
        else:
            tick = self._tick_for_deadlines()
            try:
                for watched in list(self.watched):
                    watched.on_tick(tick)
            finally:
                self._go_on()

    def age(self, born: int) -> int:
        """Return how many ticks ago ``born`` was, as deadlines count it: without a leap that began with that tick."""
        leap = next((end - start for start, end in self._leaps if start == born), 0)
        return self.tick - born - leap

    def _tick_for_deadlines(self) -> int:
        """Return the tick now, or an earlier one while a leap must not count for commands made just before it."""
        leaps, born = self._leaps, self.tick - TICKS
        while leaps and leaps[0][1] < born:
            leaps.popleft()
        return leaps[0][0] + TICKS if leaps and leaps[0][0] < born else self.tick

    def _go_on(self) -> None:
        self.asleep = True
        if any(watched.is_waiting() for watched in list(self.watched)):
            self._wait(self._counted + self.period)
