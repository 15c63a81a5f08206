"""Goes through the sessions of a map while the map changes, without a copy of it: by its index of deadlines.

The walk goes from the first second to the last, and within a bucket from its end to its begin. Both directions agree
with the moves of filings in the map (see ``expiring_map``). If a key is filed anew because its deadline was moved
later, its new second is a later one. If a filing takes the place of another in its bucket, it comes from the end. So
every filing that was not looked at stays ahead of the walk, and some filings may come twice. A deadline that is moved
earlier may pass from ahead of the walk to behind it.
"""

from __future__ import annotations

from chuk_sessions.providers.memory.session import StoredSession
from chuk_sessions.providers.memory.session_map import SessionMap

__all__ = ["PART", "Walk"]

PART = 500  # filings that are looked at in one step
GAP = 200  # seconds without a bucket that are tried one by one; after them the next bucket is found among all


class Walk:
    """Walks once over the sessions of a map. A session that exists all the time comes at least once."""

    def __init__(self, items: SessionMap) -> None:
        self._map = items
        self._second = 0  # the second of the current bucket
        self._ahead: int | None = None  # places at the begin of that bucket that are not looked at yet; None: all
        self._seconds: list[int] = []  # those that had a bucket when so many had been opened, the first one last
        self._opened = -1
        items.look_at_index()

    def part(self) -> list[StoredSession] | None:
        """Return the next sessions, maybe none, in one step for all threads; None at the end. Some may have expired."""
        found: list[StoredSession] = []
        left = PART
        while left > 0:
            bucket = self._map.bucket_of(self._second)
            if bucket is None:
                second = self._next_second()
                if second is None:
                    return found or None
                self._second, self._ahead = second, None
                left -= 1
                continue
            ahead = len(bucket) if self._ahead is None else min(self._ahead, len(bucket))
            begin = max(0, ahead - 2 * left)
            found += self._sessions(bucket[begin:ahead])
            left -= (ahead - begin) // 2 + 1
            self._ahead = begin
            if begin == 0:
                self._second, self._ahead = self._second + 1, None
        return found

    def _sessions(self, filings: list[object]) -> list[StoredSession]:
        """Return the sessions of the valid filings."""
        entries = self._map.items
        pairs = [(entries.get(key), filing) for key, filing in zip(filings[::2], filings[1::2], strict=True)]
        return [session for session, filing in pairs if session is not None and session.filing is filing]

    def _next_second(self) -> int | None:
        """Find the first second with a bucket, from the current one on."""
        for second in range(self._second, self._second + GAP):
            if self._map.bucket_of(second) is not None:
                return second
        return self._next_of_all(self._second + GAP)

    def _next_of_all(self, begin: int) -> int | None:
        if self._opened != self._map.opened:
            self._opened = self._map.opened  # before the look: a bucket that is opened meanwhile is not missed
            self._seconds = self._map.seconds()
            self._seconds.reverse()
        while self._seconds and self._seconds[-1] < begin:
            self._seconds.pop()
        return self._seconds[-1] if self._seconds else None
