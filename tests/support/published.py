"""Sessions as 0.2 and 0.6 store them on Redis: what the tests of taking over and moving begin with."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from chuk_sessions.models import iso_timestamp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.servers import Server

HOUR = 3600.0


def document(session_id: str, sandbox_id: str = "box", **changed: Any) -> str:
    """The text of a session of alice, made an hour ago, that ends in two."""
    now = time.time()
    fields = {
        "session_id": session_id,
        "sandbox_id": sandbox_id,
        "user_id": "alice",
        "created_at": iso_timestamp(now - HOUR),
        "expires_at": iso_timestamp(now + 2 * HOUR),
        "status": "active",
        "last_accessed": iso_timestamp(now - HOUR / 2),
        "custom_metadata": {"role": "admin", "n": [1, None], "big": 2**70},
    }
    return json.dumps({**fields, **changed})


def put(server: Server, session_id: str, sandbox_id: str = "box", ttl: int = 7200, **changed: Any) -> dict[str, Any]:
    """Store it as the published versions do, for ``ttl`` seconds; its fields."""
    text = document(session_id, sandbox_id, **changed)
    server.command("SETEX", f"session:{session_id}", str(ttl), text)
    fields: dict[str, Any] = json.loads(text)
    return fields


def put_many(server: Server, session_ids: Sequence[str], ttl: int = 7200) -> None:
    """Store all of them, for ``ttl`` seconds, on one connection."""
    server.commands(*(("SETEX", f"session:{each}", str(ttl), document(each)) for each in session_ids))


def is_there(server: Server, session_id: str) -> bool:
    """Whether the published key exists."""
    return server.command("EXISTS", f"session:{session_id}") == 1
