"""Removing what has expired from a map that nobody writes to."""

from __future__ import annotations

import asyncio
import math
import weakref

from chuk_sessions.providers.memory.expiring_map import SWEEP_SLICE, ExpiringMap

__all__ = ["Sweeper"]

LONGEST_NAP = 3600.0  # seconds: a sweep is looked for at least this often, whatever the deadlines say
SHORTEST_NAP = 0.001  # seconds between two slices of a long sweep, for everybody else on the loop


class Sweeper:
    """Removes expired items from a map when nobody writes to it, a slice per turn of the event loop.

    Each loop that wrote to the map or opened it has a timer while the map holds anything: one loop may end or stop
    at any time, and its timer with it.
    """

    def __init__(self, items: ExpiringMap) -> None:
        self._items = weakref.ref(items)
        self._dues: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, float] = weakref.WeakKeyDictionary()

    def arm(self) -> None:
        """See to it that the running loop sweeps when the map's first second is due."""
        items = self._items()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # used without a loop: writers reclaim
        if items is None or items.due >= self._dues.get(loop, math.inf):
            return
        self._schedule(loop, items)

    def _schedule(self, loop: asyncio.AbstractEventLoop, items: ExpiringMap) -> None:
        due = self._dues[loop] = items.due
        if due < math.inf:
            nap = min(max(due - items.clock(), SHORTEST_NAP), LONGEST_NAP)
            loop.call_later(nap, self._sweep, weakref.ref(loop), due)

    def _sweep(self, running: weakref.ref[asyncio.AbstractEventLoop], due: float) -> None:
        items, loop = self._items(), running()
        if items is None or loop is None or self._dues.get(loop) != due:
            return  # an earlier timer took over
        items.reclaim(SWEEP_SLICE, items.clock())
        self._schedule(loop, items)
