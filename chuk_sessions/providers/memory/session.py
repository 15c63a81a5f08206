"""A session in the memory store: changed in place, and never handed out."""

from __future__ import annotations

from dataclasses import dataclass

from chuk_sessions.codec import Metadata, decode_document, merge_document
from chuk_sessions.models import SessionRecord
from chuk_sessions.stores.contract import counted

__all__ = ["StoredSession", "record_of"]


@dataclass(slots=True, eq=False)
class StoredSession:
    """A session in the map of sessions: changed in place, never handed out, and equal to itself alone."""

    session_id: str
    user_id: str | None
    created: float
    expires: float
    accessed: float
    document: str
    idle: float = 0.0
    end: float = 0.0  # for a session with ``idle``: when it ends however often it is touched
    last: float = 0.0  # the same time by the clock that rules expiry

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
    if session.idle:
        record.idle, record.idle_expires, record.expires = session.idle, session.expires, session.end
    return record
