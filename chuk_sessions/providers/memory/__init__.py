"""Sessions and values in the memory of this process: the default provider."""

from __future__ import annotations

import os
import threading

from chuk_sessions.environment import shown, variable
from chuk_sessions.exceptions import ProviderError
from chuk_sessions.provider import ProviderSession, default_ttl_from_env
from chuk_sessions.providers.memory.expiring_map import ExpiringMap
from chuk_sessions.providers.memory.storage import MemoryStore
from chuk_sessions.providers.memory.store import MemorySessionStore

__all__ = ["MemoryFactory", "MemoryStore", "factory"]


class _OpenMap(ProviderSession[ExpiringMap]):
    __slots__ = ()

    async def __aenter__(self) -> ExpiringMap:
        if self._provider.on_new_second is not None:
            self._provider.on_new_second()  # this loop sweeps what a loop that has ended left
        return self._provider


class MemoryFactory:
    """Open the values of a memory store (call the factory) and the sessions of a sandbox.

    Args:
        store: The store.
    """

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def __call__(self) -> ProviderSession[ExpiringMap]:
        """Open the values.

        Returns:
            An asynchronous context manager that gives the shared map of values, a ``Provider``.
        """
        return _OpenMap(self._store.values)

    def stats(self) -> dict[str, int]:
        """Return numbers of the memory store.

        Returns:
            The dict of ``MemoryStore.stats``: ``sessions``, ``items``, ``expired`` and ``evicted``.
        """
        return self._store.stats()

    def session_store(self, sandbox_id: str) -> MemorySessionStore:
        """Open the sessions of one sandbox.

        Args:
            sandbox_id: The sandbox.

        Returns:
            A ``SessionStore``.
        """
        if self._store.locked:
            from chuk_sessions.providers.memory.locked_store import LockedSessionStore

            return LockedSessionStore(self._store, sandbox_id)
        return MemorySessionStore(self._store, sandbox_id)

    def near_session_store(self, sandbox_id: str, bound: float) -> MemorySessionStore:
        """Open the sessions of one sandbox. They are in this process, so that a near cache would change nothing.

        Args:
            sandbox_id: The sandbox.
            bound: Has no effect.

        Returns:
            A ``SessionStore``.
        """
        return self.session_store(sandbox_id)


_shared: MemoryStore | None = None
_making_shared = threading.Lock()


def _after_fork_in_child() -> None:
    """Replace the lock: a thread of the parent, which does not exist here, may have had it."""
    global _making_shared
    _making_shared = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def factory(store: MemoryStore | None = None) -> MemoryFactory:
    """Make a factory on a memory store, or on the store that the whole process shares.

    The first call makes the shared store. The store takes two settings from the environment:
    ``SESSION_MEMORY_MAX_ITEMS`` (default: no bound) and ``SESSION_DEFAULT_TTL`` (how long a value of ``set`` lives,
    default: 3600 seconds).

    Args:
        store: The store; None for the shared store.

    Returns:
        The factory for ``SessionManager(session_factory=...)``.

    Raises:
        ProviderError: ``SESSION_MEMORY_MAX_ITEMS`` is no whole number of at least 1, or ``SESSION_DEFAULT_TTL`` no
            number over 0.
    """
    global _shared
    if store is None:
        with _making_shared:
            if _shared is None:
                _shared = MemoryStore(max_items=_max_items_from_env(), default_ttl=default_ttl_from_env())
            store = _shared
    return MemoryFactory(store)


def _max_items_from_env() -> int | None:
    text = variable("SESSION_MEMORY_MAX_ITEMS")
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ProviderError(f"SESSION_MEMORY_MAX_ITEMS must be a whole number of at least 1, got {shown(text)}")
    return int(text)
