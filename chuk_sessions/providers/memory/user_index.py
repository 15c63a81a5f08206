"""The index of the sessions of users, for the memory store.

Most users have one session, which is stored directly. A user with more sessions has a dict of them, in the order in
which they came. Every operation that ends a session removes it here, and the map reports sessions that expire or are
evicted. So the index is no larger than the map.

Threads may share the index under the GIL without a lock: statements that must be atomic are adjacent and have no call
between them, see ``expiring_map``. A user is in ``one`` or in ``many``, or has no session at all.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar

__all__ = ["UserIndex"]


class Owned(Hashable, Protocol):
    """An object in the index: it knows its user, and is equal to itself alone."""

    user_id: str | None


S = TypeVar("S", bound=Owned)


class UserIndex(Generic[S]):
    """Holds sessions by user. A session is in the index by identity, whatever its id."""

    __slots__ = ("many", "one")

    def __init__(self) -> None:
        self.one: dict[str, S] = {}
        self.many: dict[str, dict[S, None]] = {}

    def add(self, user_id: str, session: S) -> None:
        """List a session of that user; do nothing if it is listed."""
        one, many = self.one, self.many
        while True:
            if user_id in many:
                many[user_id][session] = None
                return
            first = one.setdefault(user_id, session)  # before a call, threads are not switched
            if first is session:
                return
            both = {first: None, session: None}
            if user_id in one and one[user_id] is first:
                many[user_id] = both
                del one[user_id]
                return

    def discard(self, session: S) -> None:
        """Remove a session, if it is listed."""
        user_id, one, many = session.user_id, self.one, self.many
        if user_id is None:
            return
        if user_id in many:
            sessions = many[user_id]
            if session in sessions:
                del sessions[session]
                if not sessions:
                    del many[user_id]
        elif user_id in one and one[user_id] is session:
            del one[user_id]

    def drop(self, session: S, evicted: bool) -> None:
        """Remove a session that expired, or was evicted; see ``ExpiringMap.on_end``."""
        self.discard(session)

    def all(self) -> list[S]:
        """Return the sessions of all users."""
        return [*list(self.one.values()), *(each for several in list(self.many.values()) for each in list(several))]

    def count(self, user_id: str) -> int:
        """Count the listed sessions of a user; some may have expired."""
        many = self.many.get(user_id)
        return len(many) if many is not None else int(user_id in self.one)

    def of(self, user_id: str) -> list[S]:
        """Return the sessions of a user, in the order in which they came; some may have expired."""
        one, many = self.one, self.many
        if user_id in many:
            return list(many[user_id])
        if user_id in one:
            return [one[user_id]]
        return []
