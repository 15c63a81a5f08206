"""The memory of one process for values, and for the sessions of each sandbox."""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial

from chuk_sessions.provider import DEFAULT_TTL
from chuk_sessions.providers.memory.after_fork import begin_in_child, relist
from chuk_sessions.providers.memory.expiring_map import ExpiringMap
from chuk_sessions.providers.memory.session import StoredSession
from chuk_sessions.providers.memory.session_map import SessionMap
from chuk_sessions.providers.memory.sweeper import Sweeper
from chuk_sessions.providers.memory.user_index import UserIndex

__all__ = ["MemoryStore", "Opened"]

Sandbox = tuple[SessionMap, UserIndex[StoredSession], ExpiringMap]


class Opened:
    """Shows that a sandbox is open: all users of the sandbox hold this object, so it ends with the last of them."""

    __slots__ = ("__weakref__",)


class MemoryStore:
    """Keep values, and the sessions of each sandbox, in the memory of this process.

    Expired items are removed while an event loop runs that wrote or opened the store, idle or not. A sandbox that is
    not open takes no memory once its last session has gone. Event loops of several threads may share the store; on a
    Python without a GIL its operations take locks. A forked child has a copy of the store, whatever threads of the
    parent were doing at the fork.

    Args:
        max_items: How many values, and separately how many sessions of each sandbox, the store may hold. One more
            evicts the item that would expire first. None: no bound.
        default_ttl: How many seconds a value lives that ``set`` stores.
        clock: Rules expiry: gives seconds from zero up, and never runs backwards. The default is the function that
            ``time.monotonic`` is when the store is made: if a library replaces this function in a test, it moves the
            time of the stores made there.
        wall_clock: Rules the timestamps of sessions: gives seconds since the epoch. The default is ``time.time``, taken
            when the store is made.

    Raises:
        ValueError: ``max_items`` is below 1.
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
        self._sessions: dict[str, Sandbox] = {}
        self._opened: dict[str, weakref.ref[Opened]] = {}
        self._opening = threading.RLock()  # guards both dicts; a finalizer that runs meanwhile may release a sandbox
        self._past = [0, 0]  # sessions that expired, and that were evicted, in sandboxes that were forgotten
        _stores.add(self)

    def sessions(self, sandbox_id: str) -> Sandbox:
        """Return the containers of the sessions of one sandbox.

        Args:
            sandbox_id: The sandbox.

        Returns:
            The map of sessions, the index of users, and the map of aliases.
        """
        with self._opening:
            if sandbox_id not in self._sessions:
                self._sessions[sandbox_id] = self._new_sandbox(sandbox_id)
            return self._sessions[sandbox_id]

    def stats(self) -> dict[str, int]:
        """Return numbers of this store, over all its sandboxes.

        Returns:
            A dict. Now: ``sessions`` and ``items``, the values; both may include some that expired within the last
                second. So far: ``expired`` and ``evicted``, the sessions and values that were removed after their
                deadline, and before it because of ``max_items``. What a caller deletes or replaces is in neither.
        """
        with self._opening:
            maps: list[ExpiringMap] = [items for items, _, _ in self._sessions.values()]
            expired, evicted = self._past
        sessions = sum(map(len, maps))
        maps.append(self.values)
        return {
            "sessions": sessions,
            "items": len(self.values),
            "expired": expired + sum(items.expired for items in maps),
            "evicted": evicted + sum(items.evicted for items in maps),
        }

    def open(self, sandbox_id: str) -> tuple[Sandbox, Opened]:
        """Return the containers of the sessions of one sandbox, for a caller that goes on using them.

        Args:
            sandbox_id: The sandbox.

        Returns:
            The result of ``sessions``, and an object that the caller must hold for as long as it uses the result.
        """
        with self._opening:
            sandbox = self.sessions(sandbox_id)
            opened = self._who_has(sandbox_id)
            if opened is None:
                opened = Opened()
                self._opened[sandbox_id] = weakref.ref(opened, self._releasing(sandbox_id))
            return sandbox, opened

    def _who_has(self, sandbox_id: str) -> Opened | None:
        known = self._opened.get(sandbox_id)
        return None if known is None else known()

    def _new_sandbox(self, sandbox_id: str) -> Sandbox:
        release, users = self._releasing(sandbox_id), UserIndex[StoredSession]()
        items, aliases = self._new_session_map(release), self._new_map(release=release)
        items.on_end = users.drop
        if self.locked:
            share_new_lock(items, aliases)
        return items, users, aliases

    def _new_map(self, default_ttl: float = DEFAULT_TTL, release: Callable[..., None] | None = None) -> ExpiringMap:
        new_map = locked_maps()[0] if self.locked else ExpiringMap
        items = new_map(self._clock, self.max_items, default_ttl)
        items.on_new_second = Sweeper(items, release).arm
        return items

    def _new_session_map(self, release: Callable[..., None]) -> SessionMap:
        new_map = locked_maps()[1] if self.locked else SessionMap
        items = new_map(self._clock, self.max_items)
        items.on_new_second = Sweeper(items, release).arm
        return items

    def _releasing(self, sandbox_id: str) -> Callable[..., None]:
        return partial(_release, weakref.ref(self), sandbox_id)

    def _release(self, sandbox_id: str) -> None:
        """Forget a sandbox that has no sessions and is not open."""
        with self._opening:
            if self._who_has(sandbox_id) is None and sandbox_id in self._sessions:
                items, _, aliases = self._sessions[sandbox_id]
                if not items.items and not aliases.items:
                    self._past = [self._past[0] + items.expired, self._past[1] + items.evicted]
                    del self._sessions[sandbox_id]
                    self._opened.pop(sandbox_id, None)

    def _begin_in_child(self) -> None:
        """Renew locks and indexes after a fork: a thread of the parent may have been in the middle of any operation."""
        self._opening = threading.RLock()
        self._renew(None, self.values)
        for sandbox_id, (items, users, aliases) in list(self._sessions.items()):
            self._renew(sandbox_id, items, partial(relist, users, items))
            self._renew(sandbox_id, aliases)
            if self.locked:
                share_new_lock(items, aliases)

    def _renew(self, sandbox_id: str | None, items: ExpiringMap, and_then: Callable[[], object] | None = None) -> None:
        begin_in_child(items, and_then)
        release = None if sandbox_id is None else self._releasing(sandbox_id)
        items.on_new_second = Sweeper(items, release).arm  # the old sweeper has the loops of the parent
        if self.locked:
            share_new_lock(items)


def _release(store: weakref.ref[MemoryStore], sandbox_id: str, *_: object) -> None:
    found = store()
    if found is not None:
        found._release(sandbox_id)


def has_gil() -> bool:
    """Tell whether only one thread at a time runs Python, as on every build but a free-threaded one."""
    return sys._is_gil_enabled() if hasattr(sys, "_is_gil_enabled") else True


def locked_maps() -> tuple[type[ExpiringMap], type[SessionMap]]:
    """Return the maps for threads without a GIL; they are imported only where there is no GIL."""
    from chuk_sessions.providers.memory.locked import LockedMap, LockedSessionMap

    return LockedMap, LockedSessionMap


def share_new_lock(*maps: ExpiringMap) -> None:
    """See ``locked``, which is imported only where there is no GIL."""
    from chuk_sessions.providers.memory import locked

    locked.share_new_lock(*maps)


_stores: weakref.WeakSet[MemoryStore] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for store in list(_stores):
        store._begin_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
