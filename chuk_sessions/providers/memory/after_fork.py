"""Repairs a map in a forked child: threads of the parent may have been using the map at the time of the fork.

The child has a copy of the map and none of those threads. If one of them had a lock, the lock is never released. If one
was in the middle of an operation, the operation is never finished: a key may have no filing, and would never be
reclaimed.

So the child gets new locks at once. It must also make the index of deadlines anew from the items, which takes longer
the more items there are. That is done when the child first reclaims something: a child that only ends, or runs another
program, does not pay for it. Until then another object is in the place of the lock that lets one thread visit buckets.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from chuk_sessions.providers.memory.expiring_map import SPARE_FILINGS, ExpiringMap
from chuk_sessions.providers.memory.session import StoredSession
from chuk_sessions.providers.memory.session_map import SessionMap
from chuk_sessions.providers.memory.user_index import UserIndex

__all__ = ["begin_in_child", "relist"]

ALWAYS_DUE = -1  # a second before all others, without a bucket: the next visit drops it


def begin_in_child(items: ExpiringMap, and_then: Callable[[], object] | None = None) -> None:
    """Give a map new locks. Before the first visit of a bucket its index is made anew and ``and_then`` is called."""
    items._heap_lock = threading.RLock()
    items._second_end = -1.0  # that bucket may be one that was removed
    first_visit: Any = _FirstVisit(items, and_then)
    items._visiting = first_visit


class _FirstVisit:
    """Stands in the place of the lock for visits of buckets: the first visit makes the index anew."""

    def __init__(self, items: ExpiringMap, and_then: Callable[[], object] | None) -> None:
        self._items = items
        self._and_then = and_then
        self._first = threading.Lock()

    def acquire(self, blocking: bool = True) -> bool:
        """Take the lock that replaces this object."""
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
        """Release the lock that replaced this object; nothing ever holds this object itself."""
        if not self._is_first():
            self._items._visiting.release()

    def _is_first(self) -> bool:
        current: object = self._items._visiting
        return current is self


def _file_anew(items: ExpiringMap) -> None:
    """Make the index from the items. A key that another thread stores meanwhile may be filed twice; it does no harm.

    Until this thread has ended its visit, something is due. So nobody begins to create a session at once, and who began
    before sees that ``_second`` has been replaced: see ``at_once``.
    """
    with items._heap_lock:
        items._buckets, items._heap, items._unvisited, items._cursor = {}, [ALWAYS_DUE], [], 0
        items._second, items._second_end, items._due = 0.0, -1.0, ALWAYS_DUE + 1.0
        items._stale_and_credit = items._credit = SPARE_FILINGS // 2
    for key, entry in list(items.items.items()):
        items._file(key, items.filing_of(entry))


def relist(users: UserIndex[StoredSession], items: SessionMap) -> None:
    """Make an index of users agree with the sessions: a session may have been half allocated, or half ended."""
    for session in list(items.items.values()):
        if session.user_id is not None:
            users.add(session.user_id, session)
    for session in users.all():
        while session.user_id is not None and _has_ended(session, items):
            users.discard(session)
            if _has_ended(session, items):
                break
            users.add(session.user_id, session)  # a thread of this process stored it in between


def _has_ended(session: StoredSession, items: SessionMap) -> bool:
    name = session.session_id
    return items.items.get(name) is not session and session.session_id is name
