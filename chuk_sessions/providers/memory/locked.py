"""The expiring map on a Python without a GIL: the same operations, one at a time.

``expiring_map`` and ``user_index`` make adjacent statements atomic between threads by the GIL. A free-threaded build
has no GIL, so each operation of more than one step takes a lock there. One lock guards a map. The sessions of a
sandbox, its users and its aliases share the lock of the map of sessions. No operation waits while it holds a lock,
because operations never suspend. An operation that looks at an item once (``ExpiringMap.get``) takes no lock.

A store asks whether there is a GIL when it is made. With a GIL, this module is not imported.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine, Iterator
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from chuk_sessions.providers.memory.expiring_map import ExpiringMap
from chuk_sessions.providers.memory.session_map import SessionMap

__all__ = ["LockedMap", "LockedSessionMap", "async_locked", "locked", "share_new_lock"]

P = ParamSpec("P")
R = TypeVar("R")


def locked(operation: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], R]:
    """Make the operation run under the lock of its object."""

    @wraps(operation)
    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.lock:
            return operation(self, *args, **kwargs)

    return call


def async_locked(
    operation: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]:
    """Make the operation, which never suspends, run under the lock of its object."""

    @wraps(operation)
    async def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.lock:
            return await operation(self, *args, **kwargs)

    return call


def share_new_lock(*maps: ExpiringMap) -> None:
    """Give these maps, which are locked ones, one lock."""
    lock = threading.RLock()
    for items in cast(tuple[_Locked, ...], maps):
        items.lock = lock


class _Locked(ExpiringMap):
    """What both maps have."""

    __slots__ = ()
    lock: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lock = threading.RLock()  # an operation may call others: ``setex`` reclaims

    account = locked(ExpiringMap.account)
    reclaim = locked(ExpiringMap.reclaim)
    look_at_index = locked(ExpiringMap.look_at_index)
    seconds = locked(ExpiringMap.seconds)

    def _valid(self, filings: list[Any]) -> list[int]:
        """Ask the entries of the keys: without a GIL, ``references`` may be wrong."""
        entries = zip(map(self.items.get, filings[::2]), filings[1::2], strict=True)
        return [int(entry is not None and self.filing_of(entry) is filing) for entry, filing in entries]

    def sweep(self) -> Iterator[int]:
        """See ``ExpiringMap.sweep``; other threads may run between two steps."""
        steps = super().sweep()
        while True:
            with self.lock:
                removed = next(steps, None)
            if removed is None:
                return
            yield removed


class LockedMap(_Locked):
    """An ``ExpiringMap`` for threads without a GIL."""

    __slots__ = ("lock",)

    setex = async_locked(ExpiringMap.setex)
    delete = async_locked(ExpiringMap.delete)


class LockedSessionMap(_Locked, SessionMap):
    """A ``SessionMap`` for threads without a GIL."""

    __slots__ = ("lock",)

    add = locked(SessionMap.add)
    remove = locked(SessionMap.remove)
