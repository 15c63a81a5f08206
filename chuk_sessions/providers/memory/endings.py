"""Tells managers which sessions of a sandbox have expired or were evicted; loaded when a manager asks for that."""

from __future__ import annotations

from weakref import WeakMethod

from chuk_sessions.providers.memory.session import StoredSession
from chuk_sessions.providers.memory.user_index import UserIndex
from chuk_sessions.stores.contract import Tell

__all__ = ["Endings"]


class Endings:
    """Takes the place of ``UserIndex.drop`` as the ``on_end`` of a map. A manager that is gone is not told any more."""

    def __init__(self, users: UserIndex[StoredSession]) -> None:
        self._users = users
        self._told: tuple[WeakMethod[Tell], ...] = ()  # replaced whole: threads may share it

    def tell(self, tell: Tell) -> None:
        """Tell a bound method from now on."""
        self._told = (*(each for each in self._told if each() is not None), WeakMethod(tell))

    def __call__(self, session: StoredSession, evicted: bool) -> None:
        """Remove the session from the index, and tell of it."""
        self._users.drop(session, evicted)
        for each in self._told:
            tell = each()
            if tell is not None:
                tell(session.session_id, session.user_id, "evicted" if evicted else "expired")
