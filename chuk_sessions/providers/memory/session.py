"""A session in the memory store: changed in place, and never handed out."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

from orjson import loads

from chuk_sessions.codec import Metadata, decode_document, merge_document
from chuk_sessions.models import ACTIVE, SessionRecord, begin_and_end, iso_timestamp
from chuk_sessions.stores.contract import counted

__all__ = ["Away", "StoredSession", "record_of"]


class Away(NamedTuple):
    """How long the user of a session may be away, for a session with an idle time."""

    idle: float  # seconds from a touch to the end of the session
    end: float  # when it ends however often it is touched
    last: float  # the same time by the clock that rules expiry


class StoredSession:
    """A session in the map of sessions: changed in place, never handed out, and equal to itself alone.

    Python lays out slots in the order of their names. So what a validation needs is in the first 64 bytes.
    """

    __slots__ = ("accessed", "away", "bound", "created", "document", "expires", "filing", "session_id", "user_id")

    session_id: str
    user_id: str | None
    created: float
    accessed: float
    expires: float
    document: str
    away: Away | None
    bound: float  # this and the next one are set by ``SessionMap.add``
    filing: float

    @classmethod
    def of(cls, session_id: str, user_id: str | None, created: float, expires: float, document: str) -> Self:
        """Make a session. There is no ``__init__``: to call one takes longer than to set all fields."""
        session = cls()
        session.session_id = session_id
        session.user_id = user_id
        session.created = session.accessed = created
        session.expires = expires
        session.document = document
        session.away = None
        return session

    def info(self, session_id: str, sandbox_id: str) -> dict[str, Any]:
        """See ``SessionRecord.info``; the id is the one that is valid now."""
        created, expires, accessed, away = self.created, self.expires, self.accessed, self.away
        document = self.document
        created_at, expires_at = begin_and_end(created, expires if away is None else away.end)
        info = {
            "session_id": self.session_id,
            "sandbox_id": sandbox_id,
            "user_id": self.user_id,
            "created_at": created_at,
            "expires_at": expires_at,
            "status": ACTIVE,
            "last_accessed": created_at if accessed == created else iso_timestamp(accessed),
            "custom_metadata": loads(document) if document[0] == "{" else decode_document(document),
        }
        if away is not None:
            info["idle_expires_at"] = iso_timestamp(expires)
        return info

    def touch(self, now: float) -> None:
        """Set the time of last access to ``now``, unless it is later."""
        if now > self.accessed:
            self.accessed = now

    def merge(self, metadata: Metadata) -> None:
        """Set the keys of ``metadata``, in one step for all threads. Raises MetadataError if they cannot be stored."""
        while True:
            before = self.document
            after = merge_document(before, metadata)
            if self.document is before:  # adjacent to the next line: no other thread comes between
                self.document = after
                return

    def increment(self, field: str, amount: int) -> int:
        """Increment as ``SessionStore.increment``, in one step for all threads."""
        while True:
            before = self.document
            value = counted(decode_document(before), field, amount)
            after = merge_document(before, {field: value})
            if self.document is before:  # adjacent to the next line: no other thread comes between
                self.document = after
                return value


def record_of(session: StoredSession) -> SessionRecord:
    """Make a copy of the session that stores may hand out."""
    metadata = decode_document(session.document)
    record = SessionRecord(session.user_id, session.created, session.expires, session.accessed, metadata)
    if session.away is not None:
        record.idle, record.idle_expires, record.expires = session.away.idle, session.expires, session.away.end
    return record
