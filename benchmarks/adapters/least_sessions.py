"""The floor of a session manager: what it cannot do without, on a dict of objects, behind ``async def``.

A session is one object with slots, found by one look-up. A call reads the clocks that it needs. Metadata is JSON by
orjson, the quickest copy that is the caller's own. An id has a user part, the second and 128 random bits. The sessions
of a user are listed. The texts of times are made as this version makes them.

All else is left out: nothing is checked, sessions that begin within a second share a deadline, nothing is removed after
it, a session has no other id, threads are not thought of, errors are not told.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from os import urandom
from time import monotonic, time
from typing import Any

from orjson import dumps, loads

from benchmarks.adapters import library
from benchmarks.workloads.case import Kind, Layer
from chuk_sessions.models import begin_and_end, iso_timestamp

SANDBOX = "my-app"
LIFETIME = 86_400.0


class Session:
    """As few fields as an info dict takes, and the deadline by the clock that nobody sets.

    The document is a str: bytes stay in the place of 1,024 that orjson wrote them to, which many updates pay for.
    """

    __slots__ = ("accessed", "created", "deadline", "document", "user_id")

    def __init__(self, user_id: str, created: float, deadline: float, document: str) -> None:
        self.user_id = user_id
        self.created = self.accessed = created
        self.deadline = deadline
        self.document = document


class LeastManager:
    """The calls of a ``SessionManager`` that the workloads at scale need."""

    __slots__ = ("_deadline", "_sessions", "_users")

    def __init__(self) -> None:
        self._deadline = 0.0  # one object for the sessions of a second, so that most looks load no number of their own
        self._sessions: dict[str, Session] = {}
        self._users: dict[str, Session | list[Session]] = {}

    async def allocate_session(self, user_id: str, custom_metadata: dict[str, Any]) -> str:
        now = time()
        session_id = f"sess-{user_id[:8]}-{int(now)}-{urandom(16).hex()}"
        deadline = monotonic() + LIFETIME
        if deadline >= self._deadline + 1.0:
            self._deadline = deadline
        session = Session(user_id, now, self._deadline, dumps(custom_metadata).decode())
        self._sessions[session_id] = session
        listed = self._users.setdefault(user_id, session)
        if listed is not session:
            self._users[user_id] = [*listed, session] if isinstance(listed, list) else [listed, session]
        return session_id

    async def validate_session(self, session_id: str) -> bool:
        session = self._sessions.get(session_id)
        if session is None or session.deadline <= monotonic():
            return False
        session.accessed = time()
        return True

    async def update_session_metadata(self, session_id: str, custom_metadata: dict[str, Any]) -> bool:
        session = self._sessions.get(session_id)
        if session is None or session.deadline <= monotonic():
            return False
        metadata = loads(session.document)
        metadata |= custom_metadata
        session.document = dumps(metadata).decode()
        session.accessed = time()
        return True

    async def get_session_info(self, session_id: str) -> dict[str, Any] | None:
        session = self._sessions.get(session_id)
        if session is None or session.deadline <= monotonic():
            return None
        created, accessed = session.created, session.accessed
        created_at, expires_at = begin_and_end(created, created + LIFETIME)
        return {
            "session_id": session_id,
            "sandbox_id": SANDBOX,
            "user_id": session.user_id,
            "created_at": created_at,
            "expires_at": expires_at,
            "status": "active",
            "last_accessed": created_at if accessed == created else iso_timestamp(accessed),
            "custom_metadata": loads(session.document),
        }

    async def delete_session(self, session_id: str) -> None:
        """For cleaning up only: a session of a user who has others stays listed."""
        session = self._sessions.pop(session_id, None)
        if session is not None and self._users.get(session.user_id) is session:
            del self._users[session.user_id]


class Library(library.Library):
    def open(self, layer: Layer, kind: Kind) -> AbstractAsyncContextManager[Any]:
        if layer != "manager" or kind != "memory":
            raise library.CannotDo("sessions in memory only")
        return nullcontext(LeastManager())
