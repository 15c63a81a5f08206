"""Random calls of the session lifecycle, many at a time: whatever came out, the index and the sessions agree."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.providers import redis
from tests.support.places import server_or_cluster, sessions_in, texts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.servers import Server

pytestmark = pytest.mark.redis
redis_server = server_or_cluster

USERS = ["alice", "bob", "c:1"]
ROUNDS, AT_A_TIME = 40, 12


class Calls:
    """Calls that a seed decides on, of managers with a limit, with an idle time and without either."""

    def __init__(self, url: str, seed: int) -> None:
        factory = redis.factory(url)
        self.random = random.Random(seed)
        self.managers = [
            SessionManager("box", factory, max_sessions_per_user=3),
            SessionManager("box", factory, idle_ttl_minutes=10, opaque_ids=True),
            SessionManager("box", factory),
        ]
        self.ids = [f"my-{number}" for number in range(6)]

    async def any(self) -> None:
        manager, user = self.random.choice(self.managers), self.random.choice(USERS)
        session_id = self.random.choice(self.ids[-40:])
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: self._allocate(manager, None, user),
            lambda: self._allocate(manager, session_id, self.random.choice([user, None])),
            lambda: self._renew(manager, session_id),
            lambda: manager.delete_session(session_id),
            lambda: manager.extend_session_ttl(session_id, self.random.choice([0.5, 3])),
            lambda: manager.set_session_ttl(session_id, self.random.choice([0.2, 4])),
            lambda: manager.update_session_metadata(session_id, {"b": 1}, merge=self.random.random() < 0.5),
            lambda: manager.update_session_metadata(session_id, {"c": 1}, remove=["b"]),
            lambda: manager.increment_session_metadata(session_id, "n"),
            lambda: manager.validate_session(session_id),
            lambda: self._open(manager, session_id, self.random.choice([user, None])),
            lambda: manager.delete_user_sessions(user, keep=session_id),
        ]
        weights = [3, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 0.3]
        await self.random.choices(calls, weights)[0]()

    async def _allocate(self, manager: SessionManager, session_id: str | None, user: str | None) -> None:
        self.ids.append(await manager.allocate_session(session_id, user, self.random.choice([0.1, 1, 5])))

    async def _open(self, manager: SessionManager, session_id: str, owner: str | None) -> None:
        info = await manager.open_session(session_id, owner=owner)
        assert info is None or owner in (None, info["user_id"])

    async def _renew(self, manager: SessionManager, session_id: str) -> None:
        new = await manager.renew_session(session_id, self.random.choice([0, 5]))
        if new is not None:
            self.ids.append(new)


def nodes(server: Server) -> list[Server]:
    return list(getattr(server, "nodes", [server]))


@pytest.mark.parametrize("seed", range(3))
async def test_index_and_sessions_agree(redis_url: str, redis_server: Server, seed: int) -> None:
    """Each session of a user is in the index once, nothing else is, and every key has an end."""
    calls = Calls(redis_url, seed)
    for _ in range(ROUNDS):
        await asyncio.gather(*[calls.any() for _ in range(AT_A_TIME)])
    await asyncio.gather(*map(calls.managers[-1].delete_session, calls.ids[::2]))  # a login at the limit would tidy up
    assert sessions_in(redis_server) > 0
    for node in nodes(redis_server):
        assert all(int(str(node.command("PTTL", key))) > 0 for key in texts(node, "KEYS", "*"))
    manager = calls.managers[-1]
    listed = {info["session_id"] for user in USERS for info in await manager.list_user_sessions(user)}
    owned = {info["session_id"] async for info in manager.iter_sessions() if info["user_id"] is not None}
    assert listed == owned
