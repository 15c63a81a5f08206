"""Bytes that an item and a session cost: in this process by tracemalloc, on a server by MEMORY USAGE.

Resident memory would be noisy for a thousand items, which fit into what the allocator has in reserve. tracemalloc
counts to the byte what Python asked for: keys, values, entries, the dict and the expiry index.

Sessions are those of the README's quick start: user, role, department and three permissions. How many of them are of
one user matters, since those share an index: hence ``users``.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from sys import getsizeof
from typing import TYPE_CHECKING, Any

from benchmarks.adapters.chuk import SANDBOX
from benchmarks.workloads.bodies import TTL
from benchmarks.workloads.manager_bodies import METADATA, USER

if TYPE_CHECKING:
    from tests.support.servers import Server


@contextmanager
def allocated() -> Iterator[list[int]]:
    """Afterwards the list has how many of the bytes that Python allocated within are still in use."""
    held: list[int] = []
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    yield held
    gc.collect()
    held.append(tracemalloc.get_traced_memory()[0] - before)
    tracemalloc.stop()


def of_items(items: int) -> dict[str, float]:
    """Bytes per item in the memory provider: in total, and of key and value alone, which any store would hold."""
    return asyncio.run(_of_items(items))


async def _of_items(items: int) -> dict[str, float]:
    from chuk_sessions.providers.memory import MemoryStore

    store = MemoryStore().values
    with allocated() as held:
        for number in range(items):
            await store.setex(f"bench:{number:010d}", TTL, f"{number:0100d}")
    assert len(store) == items
    payload = getsizeof(f"bench:{0:010d}") + getsizeof(f"{0:0100d}")
    return {"items": items, "bytes_per_item": held[0] / items, "payload_bytes": payload}


def of_sessions(sessions: int, users: int = 1) -> dict[str, float]:
    """Bytes per session in memory: in total, and of its id alone, which any store would hold."""
    return asyncio.run(_of_sessions(sessions, names(users)))


async def _of_sessions(sessions: int, users: Sequence[str]) -> dict[str, float]:
    from chuk_sessions.providers.memory import MemoryStore, factory

    manager = _manager(factory(store=MemoryStore()))
    await manager.delete_session(await manager.allocate_session(user_id=USER, custom_metadata=METADATA))
    with allocated() as held:
        session_id = await _allocate(manager, sessions, users)
    assert await manager.validate_session(session_id)
    found = {"sessions": sessions, "users": len(users), "bytes_per_session": held[0] / sessions}
    return found | {"id_bytes": getsizeof(session_id)}


def on_server(server: Server, sessions: int = 20, users: int = 1) -> dict[str, float]:
    """Bytes per session on an otherwise empty database, key and index of its user included; then empties it."""
    from chuk_sessions.providers.redis import factory

    server.flush()
    asyncio.run(_allocate(_manager(factory(server.url)), sessions, names(users)))
    keys = server.command("KEYS", "*")
    assert isinstance(keys, list)
    assert len(keys) >= sessions
    held = [server.command("MEMORY", "USAGE", str(key), "SAMPLES", "0") for key in keys]
    server.flush()
    return {"sessions": sessions, "users": users, "bytes_per_session": sum(map(int, map(str, held))) / sessions}


def names(users: int) -> list[str]:
    """So many of them, all of one length."""
    return [f"{USER}-{number:06d}" for number in range(users)] if users > 1 else [USER]


def _manager(factory: Any) -> Any:
    from chuk_sessions import SessionManager

    return SessionManager(SANDBOX, factory)


async def _allocate(manager: Any, sessions: int, users: Sequence[str]) -> str:
    """The id of the last one."""
    session_id = ""
    for number in range(sessions):
        session_id = await manager.allocate_session(user_id=users[number % len(users)], custom_metadata=METADATA)
    return session_id
