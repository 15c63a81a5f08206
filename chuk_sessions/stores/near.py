"""Opens stores with a near cache: answers kept in this process, of a bounded age."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol, TypeGuard

from chuk_sessions.stores.contract import CompleteStore, SessionStore, not_supported
from chuk_sessions.stores.wrapper import complete

__all__ = ["NearFactory", "Reads", "open_near_store"]


class HasInfo(Protocol):
    """A session of which nothing is needed but the info dict: a ``SessionRecord``, or what is kept of one."""

    def info(self, session_id: str, sandbox_id: str) -> dict[str, Any]:
        """See ``SessionRecord``. Each dict, and all that is in it, is the caller's own."""


class Reads(Protocol):
    """Reads of a store, for info dicts."""

    def read(self, session_id: str) -> Coroutine[Any, Any, HasInfo | None]:
        """See ``SessionStore``."""

    def open(self, session_id: str, interval: float, owner: str | None) -> Coroutine[Any, Any, HasInfo | None]:
        """See ``Openable``."""


class NearFactory(Protocol):
    """A factory whose stores can have a near cache."""

    def near_session_store(self, sandbox_id: str, bound: float) -> SessionStore:
        """Open the sessions of one sandbox. No answer that this process gives by itself is over ``bound`` seconds old.

        Raises NotSupportedError if the storage does not tell of changes.
        """


def open_near_store(factory: object, sandbox_id: str, bound: float) -> CompleteStore:
    """Open the sessions of a sandbox with a near cache.

    Raises NotSupportedError if the factory has none. Errors of the factory pass through.
    """
    if not _opens_near(factory):
        raise not_supported("near_cache")
    return complete(factory.near_session_store(sandbox_id, bound))


def _opens_near(factory: Any) -> TypeGuard[NearFactory]:
    """Tell whether a factory has near caches.

    An attribute that a mock or a proxy makes up does not count. Neither does an inherited method if a subclass or the
    object itself has its own ``session_store``, which would be left out.
    """
    if "session_store" in getattr(factory, "__dict__", ()):
        return False
    for each in type(factory).__mro__:
        if "near_session_store" in vars(each):
            return True
        if "session_store" in vars(each):
            return False
    return False
