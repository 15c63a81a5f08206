"""The expiring map of the sessions of a sandbox: an entry is the session itself.

A call on one of very many sessions takes most of its time to load what it needs from memory that no cache holds. So
there is no tuple between the key and the session, as ``ExpiringMap`` has for values: the session has the fields
``bound`` and ``filing``, which mean the same as in such a tuple. An operation that moves a deadline changes these two
fields in place, where ``ExpiringMap`` replaces the tuple. Before that it sees that both are still the objects that it
has read: every change of a deadline makes new ones. As there, no call is between the look and the change.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from chuk_sessions.providers.memory.expiring_map import CLEAR_CREDIT, RECLAIM_SLICE, ExpiringMap
from chuk_sessions.providers.memory.session import StoredSession

__all__ = ["SessionMap"]


class SessionMap(ExpiringMap):
    """An ``ExpiringMap`` of sessions, distinct objects. ``get``, ``set`` and ``setex`` are for maps of values only."""

    __slots__ = ()

    items: dict[Hashable, Any]

    def live(self, key: Hashable) -> Any:
        """Return the session of ``key`` if it has not expired, else None."""
        session = self.items.get(key)
        if session is not None and (session.bound > (now := self.clock()) or session.filing > now):
            return session
        return None

    def add(self, key: Hashable, ttl: float, session: StoredSession) -> StoredSession | None:
        """Store a session for ``ttl`` seconds (over 0) and return None. If the key is live, only return its session."""
        clock = self.clock  # not called as it is loaded: Python would look for a method first
        now = clock()
        deadline = now + ttl
        bound = self._second
        session.bound = bound if bound < deadline else deadline
        session.filing = deadline
        while True:
            old: StoredSession = self.items.setdefault(key, session)
            if old is session:
                try:
                    if self._second <= deadline < self._second_end:  # never so where there is a bound
                        self._bucket += (key, deadline)
                    else:
                        if self.max_items is not None:
                            self._make_room(self.max_items)
                        self._file(key, deadline)
                except BaseException:
                    if key in self.items and self.items[key] is session:
                        del self.items[key]
                    raise
                break
            if old.bound > now or old.filing > now:
                return old
            if self._exchange(key, old, session, deadline):
                self.expired += 1
                if self.on_end is not None:
                    self.on_end(old, False)
                break
        if now >= self._due:
            self.reclaim(RECLAIM_SLICE, now)
        return None

    def remove(self, key: Hashable, session: StoredSession) -> bool:
        """Remove ``key`` if it has that very session; else return False."""
        try:
            if self.items[key] is not session:
                return False
            del self.items[key]
        except KeyError:
            return False
        self._credit = credit = self._credit - 1
        if credit < CLEAR_CREDIT and (credit < 0 or not self.items):
            self._settle()
        return True

    def filing_of(self, entry: Any) -> float:
        """See ``ExpiringMap.filing_of``."""
        filing: float = entry.filing
        return filing

    def _visit(
        self, second: int, bucket: list[Any], cursor: int, limit: int, now: float, evicts: bool = False
    ) -> tuple[int, int]:
        """See ``ExpiringMap._visit``."""
        items = self.items
        removed = 0
        for _ in range(min(limit, (len(bucket) - cursor) // 2)):
            key, filing = bucket[cursor], bucket[cursor + 1]
            ended = None
            try:
                session = items[key]
                if session.filing is not filing:
                    self._stale_and_credit -= 1
                elif session.bound <= now and filing <= now:
                    del items[key]
                    removed += 1
                    ended = session
                elif session.bound < second + 1 and filing < second + 1:
                    cursor += 2
                    continue
                else:
                    deadline = session.bound if session.bound > filing else filing
                    session.filing = deadline
                    try:
                        self._file(key, deadline, second)
                    except BaseException:
                        if session.filing is deadline:
                            session.filing = filing
                        raise
            except KeyError:
                self._stale_and_credit -= 1
            bucket[cursor] = bucket[-2]
            bucket[cursor + 1] = bucket[-1]
            del bucket[-2:]
            if ended is not None and self.on_end is not None:
                self.on_end(ended, evicts)
        if not bucket:
            self._drop(second, bucket)
        return cursor, removed
