"""What one process keeps in memory: values, and the sessions of each sandbox."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from chuk_sessions.provider import DEFAULT_TTL
from chuk_sessions.providers.memory.expiring_map import ExpiringMap
from chuk_sessions.providers.memory.session import StoredSession
from chuk_sessions.providers.memory.sweeper import Sweeper
from chuk_sessions.providers.memory.user_index import UserIndex

__all__ = ["MemoryStore"]


class MemoryStore:
    """What one process keeps: a map of values, and one map of sessions per sandbox.

    ``clock`` (seconds from zero up, monotonic) rules expiry, ``wall_clock`` (seconds since the epoch) the
    timestamps of sessions; the defaults are what ``time.monotonic`` and ``time.time`` are when the store is made, so
    that a library which replaces these in a test moves the time of the stores made there. ``max_items`` bounds the
    values and each sandbox's sessions, each for itself: one more evicts what would expire first. Expired items are
    removed while an event loop runs that wrote or opened the store, idle or not. Event loops of several threads may
    share it; on a Python without a GIL its operations take locks.
    """

    def __init__(
        self,
        *,
        max_items: int | None = None,
        default_ttl: float = DEFAULT_TTL,
        clock: Callable[[], float] | None = None,
        wall_clock: Callable[[], float] | None = None,
    ) -> None:
        self.locked = not has_gil()
        self.max_items = max_items
        self._clock = time.monotonic if clock is None else clock
        self.wall_clock = time.time if wall_clock is None else wall_clock
        self.values = self._new_map(default_ttl)
        self._sessions: dict[str, tuple[ExpiringMap, UserIndex[StoredSession], ExpiringMap]] = {}

    def sessions(self, sandbox_id: str) -> tuple[ExpiringMap, UserIndex[StoredSession], ExpiringMap]:
        """The map of the sessions of one sandbox, which user has which, and the ids that are aliases for a while."""
        if sandbox_id not in self._sessions:
            items, users = self._new_map(DEFAULT_TTL), UserIndex[StoredSession]()
            items.on_end = users.discard
            self._sessions.setdefault(sandbox_id, (items, users, self._new_map(DEFAULT_TTL)))
        return self._sessions[sandbox_id]

    def _new_map(self, default_ttl: float) -> ExpiringMap:
        new_map = locked_map() if self.locked else ExpiringMap
        items = new_map(self._clock, self.max_items, default_ttl)
        items.on_new_second = Sweeper(items).arm
        return items


def has_gil() -> bool:
    """Whether one thread at a time runs Python, as everywhere but on a free-threaded build."""
    return sys._is_gil_enabled() if hasattr(sys, "_is_gil_enabled") else True


def locked_map() -> type[ExpiringMap]:
    """The map for threads without a GIL; imported only where there is none."""
    from chuk_sessions.providers.memory.locked import LockedMap

    return LockedMap
