"""What a near cache keeps of a session: compact, quick to look at, and quick to copy.

This is ``decode_record`` in two steps: what every look needs is decoded once, the metadata anew for each copy.
"""

from __future__ import annotations

from contextlib import suppress
from sys import getsizeof, intern
from typing import Any

from orjson import dumps, loads

from chuk_sessions.codec import JSON_MARK, decode_fields
from chuk_sessions.models import ACTIVE, SessionRecord
from chuk_sessions.providers.redis.record import DEADLINE_DIGITS, METADATA, VERSIONS, in_seconds, to_text

__all__ = ["WORTH_IT", "Snapshot"]

OBJECTS, NAME = 1000, 100  # bytes of a snapshot with an info, and of one name more: measured on CPython 3.11
OF_EACH: dict[str, Any] = dict.fromkeys(("session_id", "sandbox_id", "custom_metadata"))  # what no two infos share
WIDEST = 4  # bytes that a character may take
WORTH_IT = 2  # the copy at which one text of names and values is made: most sessions with a second copy get many


class Snapshot:
    """A session as the server sent it; ``record`` makes a copy of it. Raises one of SHAPES for what is no session.

    The metadata stays JSON, joined to one text for one call of the decoder: at first the values that the server has,
    and from the third copy on the ``document``, an object with their names, which takes half as long to decode.
    ``opened_by`` is what has opened sealed values, and has refused plain ones if it does that; None if nothing has.
    """

    __slots__ = (
        "_copies",
        "_created",
        "_fields",
        "_info",
        "_json",
        "_names",
        "_status",
        "accessed",
        "document",
        "ends",
        "idle",
        "last",
        "opened_by",
        "size",
        "user_id",
    )

    def __init__(self, reply: dict[bytes, bytes], opened_by: object = None) -> None:
        fixed: dict[bytes, bytes] = {}
        names, texts = [], []
        for name, value in reply.items():
            if name.startswith(METADATA):
                names.append(intern(to_text(name[len(METADATA) :])))
                texts.append(value.decode())
            else:
                fixed[name] = value
        if fixed[b"v"] not in VERSIONS:
            raise ValueError("a record of another version")
        user, joined = fixed.get(b"user"), ",".join(texts)
        self.user_id = None if user is None else to_text(user)
        self.accessed = in_seconds(fixed[b"accessed"])
        self.ends = self.last = in_seconds(fixed[b"expires"], DEADLINE_DIGITS)  # if it is not touched; in any case
        self.idle = 0.0
        self.opened_by = opened_by
        self._created = in_seconds(fixed[b"created"])
        self._status = intern(fixed[b"status"].decode()) if b"status" in fixed else ACTIVE
        if b"idle" in fixed:
            self.idle, self.last = in_seconds(fixed[b"idle"]), in_seconds(fixed[b"end"], DEADLINE_DIGITS)
        self._names, self._json = tuple(names), f"[{joined}]"
        self.document, self._copies = b"", 0
        self._info: dict[str, Any] | None = None
        self._fields = dict(zip(names, texts, strict=True)) if JSON_MARK in joined else None
        text = max(getsizeof(self._json), len(joined.encode()))  # as it is kept at first, and then
        size = OBJECTS + NAME * len(names) + WIDEST * (len(user or b"") + sum(map(len, names))) + text
        self.size = size if self._fields is None else 2 * size  # in bytes, rather too many

    def record(self) -> SessionRecord:
        """Return a copy of the session. Raises ValueError if the metadata cannot be decoded."""
        metadata = loads(self.document) if self.document else self._metadata()
        record = SessionRecord(self.user_id, self._created, self.last, self.accessed, metadata, self._status)
        if self.idle:
            record.idle, record.idle_expires = self.idle, self.ends
        return record

    def info(self, session_id: str, sandbox_id: str) -> dict[str, Any]:
        """Make the info dict, as the record of ``record`` does; only while there is a ``document``."""
        if self._info is None:
            self._info = self.record().info(session_id, sandbox_id) | OF_EACH
        info = self._info.copy()
        info["session_id"] = session_id
        info["sandbox_id"] = sandbox_id
        info["custom_metadata"] = loads(self.document)
        return info

    def is_recent(self, interval: float, now: float) -> bool:
        """Tell whether no touch is due: by the rule of ``RedisSessionStore``, but never for a time in the future."""
        if not 0 <= now - self.accessed < interval:
            return False
        return not self.idle or self.ends - now >= min(self.idle, self.last - now)

    def _metadata(self) -> dict[str, Any]:
        """Decode the metadata by its values. The second time, join them with their names for all later copies.

        Raises ValueError if it cannot be decoded.
        """
        if self._fields is not None:
            return decode_fields(self._fields)
        metadata = dict(zip(self._names, loads(self._json), strict=True))
        self._copies += 1
        if self._copies == WORTH_IT:
            # A name with surrogates, or more levels than the encoder takes, or than the caller's stack has left.
            with suppress(TypeError, RecursionError):
                text = dumps(metadata).decode().encode()  # not the bytes of orjson: a shortened buffer of 1 KB
                # Names full of control characters take more than was counted for them.
                if len(text) <= self.size - OBJECTS and loads(text) == metadata:
                    self.document, self._names, self._json = text, (), ""
        return metadata
