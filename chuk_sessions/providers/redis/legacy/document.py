"""The legacy format of a session on Redis: one JSON text under ``session:{id}``. Only the text has the sandbox."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any, NamedTuple

from chuk_sessions.flat_json import read_json
from chuk_sessions.models import ACTIVE, SessionRecord

__all__ = ["Published", "decode"]

LAST_TIME = 95_617_584_000.0  # the year 5000: later times have more digits than a record allows


class Published(NamedTuple):
    """A legacy session; ``record.expires`` is infinite if the document has no expiry time."""

    sandbox_id: str
    record: SessionRecord


def decode(text: bytes) -> Published | None:
    """Decode a document of 0.2 to 0.6; return None for any other text."""
    try:
        document = read_json(text)
        sandbox_id, user_id, metadata = document["sandbox_id"], document.get("user_id"), document["custom_metadata"]
        status = document.get("status", ACTIVE)
        status.encode()  # a status that is not UTF-8 could not be stored
        created = _seconds(document["created_at"])
        accessed = max(created, _seconds(document.get("last_accessed") or document["created_at"]))
        expires = _seconds(document["expires_at"]) if document.get("expires_at") else math.inf
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError):
        return None
    if not isinstance(sandbox_id, str) or not isinstance(status, str) or not isinstance(metadata, dict):
        return None
    if not (user_id is None or isinstance(user_id, str)) or not 0 <= created <= accessed < LAST_TIME:
        return None
    return Published(sandbox_id, SessionRecord(user_id, created, expires, accessed, metadata, status))


def _seconds(text: Any) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
