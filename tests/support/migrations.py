"""What the tests of moving have in common: a run, its counts, and what became of a session."""

from __future__ import annotations

from typing import Any

from chuk_sessions import SessionManager
from chuk_sessions.cli.migrate import Counts, migrate
from chuk_sessions.ids import session_key
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.client import Client

OURS = session_key("box", "id")
METADATA = {"role": "admin", "n": [1, None], "big": 2**70}


def manager_of(url: str, sandbox_id: str = "box") -> SessionManager:
    return SessionManager(sandbox_id, redis.factory(url), strict=True)


async def info_of(url: str, session_id: str, sandbox_id: str = "box") -> dict[str, Any]:
    info = await manager_of(url, sandbox_id).get_session_info(session_id)
    assert info is not None
    return info


def totals(counts: Counts) -> dict[str, int]:
    """The counts that are not zero."""
    return {name: number for name, number in vars(counts).items() if isinstance(number, int) and number}


def settled(counts: Counts) -> dict[str, int]:
    """Those of what became of sessions: in a cluster, one that was moved may come again at the server it is on now."""
    return {name: number for name, number in totals(counts).items() if name not in ("seen", "here")}


async def run(source: str, target: str, **options: Any) -> dict[str, int]:
    return totals(await migrate(Client(source), Client(target), **options))
