"""The outcomes of an adoption: the moving of a session from another storage into a store."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Adoption"]


class Adoption(IntEnum):
    """The outcome of an adoption: over zero if the session is in the store now."""

    EXPIRED = 0  # the session has expired, or was ended in the store after its creation; nothing was written
    CREATED = 1  # the store had no session with this id
    # The store had the session. Metadata keys of both are kept; a common key has the value of the session that was
    # touched last. The later deadline holds.
    MERGED = 2
    UNREADABLE = -1  # the key holds a record that this version cannot read; the record was left alone
    CONFLICT = -2  # a live session of another user has this id; that session was left alone
    CHANGED = -3  # the old storage no longer holds the session that was read from it; nothing was written
