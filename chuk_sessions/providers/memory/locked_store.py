"""The sessions of one sandbox on a Python without a GIL: the same operations, one at a time; see ``locked``."""

from __future__ import annotations

from typing import Any

from chuk_sessions.providers.memory.locked import LockedMap, LockedSessionMap, async_locked, locked
from chuk_sessions.providers.memory.store import MemorySessionStore

__all__ = ["LockedSessionStore"]


class LockedSessionStore(MemorySessionStore):
    """A ``MemorySessionStore`` for threads without a GIL."""

    _map: LockedSessionMap
    _aliases: LockedMap  # with the same lock

    @property
    def lock(self) -> Any:
        """The lock of the map, which is another lock in a forked child."""
        return self._map.lock

    create = async_locked(MemorySessionStore.create)
    read = async_locked(MemorySessionStore.read)
    touch = async_locked(MemorySessionStore.touch)
    open = async_locked(MemorySessionStore.open)
    update = async_locked(MemorySessionStore.update)
    increment = async_locked(MemorySessionStore.increment)
    extend = async_locked(MemorySessionStore.extend)
    delete = async_locked(MemorySessionStore.delete)
    renew = async_locked(MemorySessionStore.renew)
    tell_endings = locked(MemorySessionStore.tell_endings)
    # The steps of operations on many sessions, which let other threads run between two steps.
    _is_live = locked(MemorySessionStore._is_live)
    _page = locked(MemorySessionStore._page)
    _part = locked(MemorySessionStore._part)
    _end_some = locked(MemorySessionStore._end_some)
