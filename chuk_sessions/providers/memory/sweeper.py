"""Removes expired items from a map that no caller writes to."""

from __future__ import annotations

import asyncio
import math
import weakref
from collections.abc import Callable

from chuk_sessions.providers.memory.expiring_map import SWEEP_SLICE, ExpiringMap

__all__ = ["Sweeper"]

LONGEST_NAP = 3600.0  # seconds: the timer comes at least this often, whatever the deadlines are
SHORTEST_NAP = 0.001  # seconds between two slices of a long sweep, for the other tasks of the loop

Loop = asyncio.AbstractEventLoop


class Sweeper:
    """Removes expired items from a map when no caller writes to it, a slice per turn of the event loop.

    Each loop that wrote to the map or opened it has one timer while the map holds anything, because each loop may end
    or stop at any time, and its timer with it. ``emptied`` is called after a sweep that left the map empty.
    """

    def __init__(self, items: ExpiringMap, emptied: Callable[[], object] | None = None) -> None:
        self._items = weakref.ref(items, self._disarm)
        self._emptied = emptied
        # By loop: when its timer is due, and a weak reference to the timer, because the timer holds the loop.
        self._timers: weakref.WeakKeyDictionary[Loop, tuple[float, weakref.ref[asyncio.TimerHandle]]]
        self._timers = weakref.WeakKeyDictionary()

    def arm(self) -> None:
        """Make sure that the running loop sweeps when the first second of the map is due."""
        items = self._items()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # the map is used without a loop: writers reclaim
        if items is None:
            return
        armed = self._timers.get(loop)
        if armed is not None:
            if items.due >= armed[0]:
                return
            self._disarm()
        self._schedule(loop, items)

    def _disarm(self, *_: object) -> None:
        """Cancel the timer of the running loop. The timer of another loop will find that the map has gone."""
        try:
            armed = self._timers.pop(asyncio.get_running_loop(), None)
        except RuntimeError:
            return
        timer = None if armed is None else armed[1]()
        if timer is not None:
            timer.cancel()

    def _schedule(self, loop: Loop, items: ExpiringMap) -> None:
        due = items.due
        if due < math.inf:
            nap = min(max(due - items.clock(), SHORTEST_NAP), LONGEST_NAP)
            self._timers[loop] = due, weakref.ref(loop.call_later(nap, self._sweep, weakref.ref(loop)))
        else:
            self._timers.pop(loop, None)

    def _sweep(self, running: weakref.ref[Loop]) -> None:
        items, loop = self._items(), running()
        if items is None or loop is None:
            return
        items.reclaim(SWEEP_SLICE, items.clock())
        self._schedule(loop, items)
        if self._emptied is not None and not len(items):
            self._emptied()
