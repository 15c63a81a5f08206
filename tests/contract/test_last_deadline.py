"""A session may live until the year 9999, on every implementation: to extend it further changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.providers import memory
from tests.support.migrations import run

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.servers import RedisServer

CENTURY = 100 * 365.25 * 24
CENTURIES = 79  # of these the last one would end after the year 9999


async def info_of(manager: SessionManager, session_id: str) -> dict[str, Any]:
    info = await manager.get_session_info(session_id)
    assert info is not None
    return info


async def extend_to_the_last(manager: SessionManager, session_id: str) -> dict[str, Any]:
    """Extend by centuries until it is refused; what the session is then."""
    for _ in range(CENTURIES - 1):
        assert await manager.extend_session_ttl(session_id, CENTURY) is True
    before = await info_of(manager, session_id)
    with pytest.raises(ValueError, match="beyond the year 9999; its deadline was not changed"):
        await manager.extend_session_ttl(session_id, CENTURY)
    assert await info_of(manager, session_id) == before
    return before


@pytest.mark.parametrize("idle", [None, 60])
@pytest.mark.parametrize("chosen", ["chosen", None])
async def test_centuries(
    manager_factory: Callable[..., SessionManager], chosen: str | None, idle: float | None
) -> None:
    """Also of an id whose user's index is in another slot; the session lives on as any other."""
    manager = manager_factory(strict=True, idle_ttl_minutes=idle)
    session_id = await manager.allocate_session(chosen, "alice", ttl_hours=CENTURY)
    info = await extend_to_the_last(manager, session_id)
    assert info["expires_at"].startswith("99")
    assert await manager.extend_session_ttl(session_id, 24) is True
    assert (await info_of(manager, session_id))["expires_at"] > info["expires_at"]
    assert await manager.validate_session(session_id) is True
    assert await manager.update_session_metadata(session_id, {"a": 1}) is True
    assert await manager.increment_session_metadata(session_id, "a") == 2
    assert await manager.allocate_session(session_id, "alice") == session_id
    assert await manager.delete_session(session_id) is True


async def test_what_needs_an_index(
    manager_factory: Callable[..., SessionManager], request: pytest.FixtureRequest
) -> None:
    """Listed, given new ids, found under an alias, counted, and ended with all others."""
    if "custom" in request.node.callspec.id:
        pytest.skip("a custom provider has no index of users")
    manager = manager_factory(strict=True)
    for chosen in ("chosen", None):
        session_id = await manager.allocate_session(chosen, "alice", ttl_hours=CENTURY)
        info = await extend_to_the_last(manager, session_id)
        new_id = await manager.renew_session(session_id, grace_seconds=60)
        assert new_id is not None
        with pytest.raises(ValueError, match="beyond the year 9999"):
            await manager.extend_session_ttl(session_id, CENTURY)
        (listed,) = await manager.list_user_sessions("alice")
        assert (listed["session_id"], listed["expires_at"]) == (new_id, info["expires_at"])
        assert [each["session_id"] async for each in manager.iter_sessions()] == [new_id]
        assert await manager.delete_user_sessions("alice") == 1
        assert await manager.validate_session(new_id) is False


async def test_the_last_second() -> None:
    """To the number: 9999-12-31T23:59:59Z may be, a moment later not."""
    last = 253402300799.0
    store = memory.MemoryStore(clock=lambda: 0.0, wall_clock=lambda: last - 7200)
    manager = SessionManager("box", memory.factory(store), strict=True)
    session_id = await manager.allocate_session(ttl_hours=1)
    with pytest.raises(ValueError, match="beyond the year 9999"):
        await manager.extend_session_ttl(session_id, 1.001)
    assert await manager.extend_session_ttl(session_id, 1) is True
    assert (await info_of(manager, session_id))["expires_at"] == "9999-12-31T23:59:59.000000Z"


@pytest.mark.redis
async def test_moving_one(redis_url: str, target: RedisServer) -> None:
    """To another server it comes with as much time as fits; a later run merges what is there."""
    from chuk_sessions.providers import redis

    here, there = (SessionManager("box", redis.factory(url), strict=True) for url in (redis_url, target.url))
    for manager, by in ((there, 1), (here, 2)):
        await manager.allocate_session("id", "alice", ttl_hours=CENTURY, custom_metadata={f"k{by}": by})
        await extend_to_the_last(manager, "id")
    assert await run(redis_url, target.url) == {"seen": 1, "moved": 1, "merged": 1}
    info = await info_of(there, "id")
    assert info["custom_metadata"] == {"k1": 1, "k2": 2}
    assert info["expires_at"].startswith("99")
    with pytest.raises(ValueError, match="beyond the year 9999"):
        await there.extend_session_ttl("id", CENTURY)
