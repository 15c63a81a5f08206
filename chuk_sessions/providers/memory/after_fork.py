"""What a forked child does to a map that threads of its parent were using at that moment.

The child has a copy of the map and none of those threads. A lock that one of them had is never given back, and what
one of them was in the middle of is never finished: a key may be filed nowhere, and would never be reclaimed.

So the child gets new locks at once. The index of deadlines is made anew from the items, which takes as long as there
are items: that is done when the child first reclaims something, so that one which only ends, or runs another program,
costs nothing. The lock that lets one thread visit buckets is what tells of it: until then another object stands there.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

from chuk_sessions.providers.memory.expiring_map import SPARE_FILINGS, ExpiringMap
from chuk_sessions.providers.memory.session import StoredSession
from chuk_sessions.providers.memory.user_index import UserIndex

__all__ = ["begin_in_child", "relist"]


def begin_in_child(items: ExpiringMap, and_then: Callable[[], object] | None = None) -> None:
    """Give a map new locks, and have its index made anew, and ``and_then`` called, before it is first visited."""
    items._heap_lock = threading.RLock()
    items._second_end = -1.0  # that bucket may be one that was taken out
    first_visit: Any = _FirstVisit(items, and_then)
    items._visiting = first_visit


class _FirstVisit:
    """In the place of the lock for those who visit buckets: the first of them makes the index anew."""

    def __init__(self, items: ExpiringMap, and_then: Callable[[], object] | None) -> None:
        self._items = items
        self._and_then = and_then
        self._first = threading.Lock()

    def acquire(self, blocking: bool = True) -> bool:
        """Take the lock that is there from now on."""
        items = self._items
        with self._first:
            if self._is_first():
                lock = threading.Lock()
                lock.acquire()
                items._visiting = lock
                _file_anew(items)
                if self._and_then is not None:
                    self._and_then()
                return True
        return items._visiting.acquire(blocking=blocking)

    def release(self) -> None:
        """Nobody has it: who took it has the lock that took its place."""
        if not self._is_first():
            self._items._visiting.release()

    def _is_first(self) -> bool:
        current: object = self._items._visiting
        return current is self


def _file_anew(items: ExpiringMap) -> None:
    """Make the index from the items. What other threads store meanwhile may be filed twice, which does no harm."""
    with items._heap_lock:
        items._buckets, items._heap, items._unvisited, items._cursor = {}, [], [], 0
        items._second_end, items._due = -1.0, math.inf
        items._stale_and_credit = items._credit = SPARE_FILINGS // 2
    for key, entry in list(items.items.items()):
        items._file(key, entry[2])


def relist(users: UserIndex[StoredSession], items: ExpiringMap) -> None:
    """Make an index of users agree with the sessions: one may have been half allocated, or half ended."""
    for entry in list(items.items.values()):
        session: StoredSession = entry[0]
        if session.user_id is not None:
            users.add(session.user_id, session)
    for session in users.all():
        name = session.session_id
        held = items.items.get(name)
        if (held is None or held[0] is not session) and session.session_id is name:
            users.discard(session)
