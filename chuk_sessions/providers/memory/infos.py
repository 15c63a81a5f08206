"""Reads of the memory store of which only the info dict is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chuk_sessions.providers.memory.session import StoredSession
    from chuk_sessions.providers.memory.store import MemorySessionStore

__all__ = ["Infos"]


class Infos:
    """Reads and opens sessions as the store does, but gives the sessions themselves: no record of them is made.

    The manager calls ``info`` of such a session at once and forgets it. See ``Reads``.
    """

    __slots__ = ("_clock", "_entries", "_live_as_alias", "_stay", "_wall_clock")

    def __init__(self, store: MemorySessionStore) -> None:
        self._entries = store._entries
        self._clock, self._wall_clock = store._clock, store._wall_clock
        self._live_as_alias, self._stay = store._live_as_alias, store._stay

    async def read(self, session_id: str) -> StoredSession | None:
        """See ``SessionStore``."""
        session: StoredSession | None = self._entries.get(session_id)
        clock = self._clock  # not called as it is loaded, as in the store
        if session is None or (session.bound <= (monotonic := clock()) and session.filing <= monotonic):
            return self._live_as_alias(session_id)
        return session

    async def open(self, session_id: str, interval: float, owner: str | None) -> StoredSession | None:
        """See ``Openable``."""
        session: StoredSession | None = self._entries.get(session_id)
        clock, wall_clock = self._clock, self._wall_clock
        if session is None or (session.bound <= (monotonic := clock()) and session.filing <= monotonic):
            session = self._live_as_alias(session_id)
            if session is None:
                return None
        if owner is not None and session.user_id != owner:
            return None
        now = wall_clock()
        if now - session.accessed >= interval:
            session.accessed = now
        if session.away is not None:
            self._stay(session, now)
        return session
