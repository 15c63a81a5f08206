"""Which sessions a user has, for the memory store: a dict of users, each with a dict of sessions, oldest first.

Whatever ends a session takes it out (the map tells of those that expire or are evicted), so that the index is no larger
than what the map holds. Threads may share it under the GIL without a lock: a user's dict is dropped in adjacent
statements, and who adds to one looks afterwards whether it is still the one in use.
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

__all__ = ["UserIndex"]


class Owned(Protocol):
    """What is listed: it knows its user, and under which id it is kept."""

    user_id: str | None
    session_id: str


S = TypeVar("S", bound=Owned)


class UserIndex(Generic[S]):
    """Sessions by user. A session is in it by identity: another one with the same id is another one."""

    __slots__ = ("users",)

    def __init__(self) -> None:
        self.users: dict[str, dict[str, S]] = {}

    def add(self, user_id: str, session: S) -> None:
        """List a session as the newest of its user."""
        users = self.users
        while True:
            try:
                sessions = users[user_id]
            except KeyError:
                sessions = users.setdefault(user_id, {})
            sessions.pop(session.session_id, None)
            sessions[session.session_id] = session
            if users.get(user_id) is sessions:
                return

    def discard(self, session: S) -> None:
        """Take a session out, if it is in."""
        user_id = session.user_id
        if user_id is None:
            return
        users = self.users
        try:
            sessions = users[user_id]
            if sessions[session.session_id] is session:  # adjacent to the next line: no other thread comes between
                del sessions[session.session_id]
        except KeyError:
            return
        if not sessions and user_id in users and users[user_id] is sessions:
            del users[user_id]

    def of(self, user_id: str) -> list[S]:
        """The sessions of a user, oldest first; some may have expired."""
        return list(self.users.get(user_id, {}).values())
