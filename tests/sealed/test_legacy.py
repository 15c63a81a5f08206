"""SESSION_LEGACY_READ with keys: a session of 0.2 to 0.6 is sealed when it is taken over."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions.providers.redis.legacy.store import LegacyReadingStore
from chuk_sessions.providers.redis.transfer.move import TAKE
from tests.sealed.places import keyring, manager_of, sealed_with, store_of
from tests.support import published
from tests.support.meddler import Meddler
from tests.support.places import ClusterPlace, server_or_cluster, sessions_in

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.cluster_servers import ClusterServers
    from tests.support.servers import Server

pytest.importorskip("cryptography", reason="the extra `encryption` is not installed")
pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("legacy_read", "redis_url")]
redis_server = server_or_cluster

METADATA: dict[str, Any] = {"role": "admin", "n": [1, None], "big": 2**70}


@pytest.mark.parametrize("write", ["k1", None])
async def test_a_session_that_is_taken_over(redis_server: Server, write: str | None) -> None:
    """By any call; with its metadata, and for good."""
    redis_server.flush()
    manager = manager_of(redis_server.url, keyring(write))
    calls: list[Callable[[str], Awaitable[object]]] = [
        manager.get_session_info,
        manager.open_session,
        manager.validate_session,
        lambda session_id: manager.update_session_metadata(session_id, {"role": "admin"}),
    ]
    for number, call in enumerate(calls):
        published.put(redis_server, f"id-{number}")
        assert await call(f"id-{number}")
        assert await sealed_with(redis_server.url, f"id-{number}") == dict.fromkeys(METADATA, write or "plain")
        info = await manager.get_session_info(f"id-{number}")
        assert info is not None
        assert info["custom_metadata"] == METADATA


async def test_a_login(redis_server: Server) -> None:
    """Which takes it over, and then seals its values for the tag of the user."""
    redis_server.flush()
    published.put(redis_server, "id", user_id=None)
    manager = manager_of(redis_server.url, keyring())
    new_id = await manager.renew_session("id", user_id="alice")
    assert new_id is not None
    info = await manager.get_session_info(new_id)
    assert info is not None
    assert info["custom_metadata"] == METADATA
    assert set((await sealed_with(redis_server.url, new_id)).values()) == {"k1"}


async def test_a_copy_that_is_taken_back(calm_cluster: ClusterServers, cluster_url: str) -> None:
    """The session changed while it was copied to another slot: the copy is known again though it is sealed."""
    place = ClusterPlace(calm_cluster)
    published.put(place, "id")
    changed = json.dumps(json.loads(str(place.command("GET", "session:id"))) | {"custom_metadata": {"new": 1}})
    client = Meddler(place.url, TAKE, lambda: place.command("SETEX", "session:id", "5000", changed))
    record = await LegacyReadingStore(store_of(client), client, "box").read("id")
    assert record is not None
    assert record.metadata == {"new": 1}
    assert sessions_in(place) == 1
