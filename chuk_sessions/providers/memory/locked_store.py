"""The sessions of one sandbox on a Python without a GIL: the same operations, one at a time; see ``locked``."""

from __future__ import annotations

from chuk_sessions.providers.memory.locked import LockedMap, async_locked, locked
from chuk_sessions.providers.memory.storage import MemoryStore
from chuk_sessions.providers.memory.store import MemorySessionStore

__all__ = ["LockedSessionStore"]


class LockedSessionStore(MemorySessionStore):
    """A ``MemorySessionStore`` for threads without a GIL."""

    _map: LockedMap
    _aliases: LockedMap

    def __init__(self, store: MemoryStore, sandbox_id: str) -> None:
        super().__init__(store, sandbox_id)
        self.lock = self._aliases.lock = self._map.lock  # the same for whoever opens the sandbox, before it is used

    create = async_locked(MemorySessionStore.create)
    read = async_locked(MemorySessionStore.read)
    touch = async_locked(MemorySessionStore.touch)
    open = async_locked(MemorySessionStore.open)
    update = async_locked(MemorySessionStore.update)
    increment = async_locked(MemorySessionStore.increment)
    extend = async_locked(MemorySessionStore.extend)
    delete = async_locked(MemorySessionStore.delete)
    renew = async_locked(MemorySessionStore.renew)
    list_user = async_locked(MemorySessionStore.list_user)
    delete_user = async_locked(MemorySessionStore.delete_user)
    # The steps of what goes through all sessions, and lets others come between.
    _is_live = locked(MemorySessionStore._is_live)
    _page = locked(MemorySessionStore._page)
