"""What may become of a session that exists elsewhere when it is put into a store."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Adoption"]


class Adoption(IntEnum):
    """The outcome: over zero if the session is in the store now."""

    EXPIRED = 0  # or it was ended here since it was created: nothing was written
    CREATED = 1
    MERGED = 2  # with one that was there: keys of both, of common ones the side used last; the later deadline
    UNREADABLE = -1  # a record that this version cannot read has its key; left alone
    CONFLICT = -2  # a live session of another user has its id; left alone
    CHANGED = -3  # the place it comes from no longer holds what was read; nothing was written
