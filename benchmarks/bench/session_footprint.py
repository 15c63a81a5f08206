"""Bytes that a stored session costs: in this process by tracemalloc, on a server by MEMORY USAGE.

Sessions are those of the README's quick start: user, role, department and three permissions. How many of them are of
one user matters, since those share an index: hence ``users``.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from sys import getsizeof
from typing import TYPE_CHECKING

from benchmarks.workloads.manager_bodies import METADATA, USER

if TYPE_CHECKING:
    from tests.support.servers import Server

SANDBOX = "my-app"


def names(users: int) -> list[str]:
    """So many of them, all of one length."""
    return [f"{USER}-{number:06d}" for number in range(users)] if users > 1 else [USER]


def in_memory(sessions: int, users: int = 1) -> dict[str, float]:
    """Bytes per session: everything that Python allocated for it, and of that its id, which any store would hold."""
    return asyncio.run(_in_memory(sessions, names(users)))


async def _in_memory(sessions: int, users: list[str]) -> dict[str, float]:
    from chuk_sessions import SessionManager
    from chuk_sessions.providers.memory import MemoryStore, factory

    manager = SessionManager(SANDBOX, factory(store=MemoryStore()))
    await manager.delete_session(await manager.allocate_session(user_id=USER, custom_metadata=METADATA))
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    session_id = ""
    for number in range(sessions):
        session_id = await manager.allocate_session(user_id=users[number % len(users)], custom_metadata=METADATA)
    gc.collect()
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert await manager.validate_session(session_id)
    return {
        "sessions": sessions,
        "users": len(users),
        "bytes_per_session": held / sessions,
        "id_bytes": getsizeof(session_id),
    }


def on_server(server: Server, sessions: int = 20, users: int = 1) -> dict[str, float]:
    """Bytes per session on an otherwise empty database, key and index of its user included; then empties it."""
    server.flush()
    asyncio.run(_allocate(server.url, sessions, names(users)))
    keys = server.command("KEYS", "*")
    assert isinstance(keys, list)
    assert len(keys) >= sessions
    held = [server.command("MEMORY", "USAGE", str(key), "SAMPLES", "0") for key in keys]
    server.flush()
    return {
        "sessions": sessions,
        "users": users,
        "bytes_per_session": sum(map(int, map(str, held))) / sessions,
    }


async def _allocate(url: str, sessions: int, users: list[str]) -> None:
    from chuk_sessions import SessionManager
    from chuk_sessions.providers.redis import factory

    manager = SessionManager(SANDBOX, factory(url))
    for number in range(sessions):
        await manager.allocate_session(user_id=users[number % len(users)], custom_metadata=METADATA)
