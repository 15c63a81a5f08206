"""`idle_ttl_minutes` together with the other settings of a manager, on every implementation."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import SessionManager, SessionMetadata
from tests.support.helpers import time_passes
from tests.support.implementations import CLUSTER_SKEW, on_a_cluster

if TYPE_CHECKING:
    from collections.abc import Callable

MINUTE = 60.0


async def info_of(manager: SessionManager, session_id: str) -> dict[str, Any]:
    info = await manager.get_session_info(session_id)
    assert info is not None
    return info


def seconds(info: dict[str, Any], end: str, start: str) -> float:
    return (datetime.fromisoformat(info[end]) - datetime.fromisoformat(info[start])).total_seconds()


async def test_the_two_deadlines(
    manager_factory: Callable[..., SessionManager], request: pytest.FixtureRequest
) -> None:
    """The idle one counts from the last touch, and is never later than the other."""
    skew = CLUSTER_SKEW if on_a_cluster(request) else 0.01
    manager = manager_factory(idle_ttl_minutes=10, touch_interval=30)
    info = await info_of(manager, await manager.allocate_session(ttl_hours=1))
    assert seconds(info, "expires_at", "created_at") == pytest.approx(3600, abs=skew)
    assert seconds(info, "idle_expires_at", "last_accessed") == pytest.approx(10 * MINUTE, abs=skew)
    info = await info_of(manager, await manager.allocate_session(ttl_hours=0.1))
    assert info["idle_expires_at"] == info["expires_at"]
    plain = manager_factory()
    assert "idle_expires_at" not in await info_of(plain, await plain.allocate_session())


async def test_never_early_with_a_touch_interval(manager_factory: Callable[..., SessionManager]) -> None:
    """A touch that was not written counts all the same."""
    manager = manager_factory(idle_ttl_minutes=0.2 / MINUTE, touch_interval=0.1)
    session_id = await manager.allocate_session(ttl_hours=1)
    await time_passes(0.08)
    used = time.monotonic()
    assert await manager.validate_session(session_id) is True
    while await manager.get_session_info(session_id) is not None:
        await time_passes(0.005)
        assert time.monotonic() < used + 5
    assert time.monotonic() - used >= 0.2


async def test_never_early_through_another_manager(manager_factory: Callable[..., SessionManager]) -> None:
    """Which touches seldom, and may know nothing of the idle time."""
    manager, seldom = manager_factory(idle_ttl_minutes=0.3 / MINUTE), manager_factory(touch_interval=3600)
    session_id = await manager.allocate_session(ttl_hours=1)
    end = time.monotonic() + 1
    while time.monotonic() < end:
        assert await seldom.validate_session(session_id) is True
        await time_passes(0.02)
    used = time.monotonic()
    assert await seldom.validate_session(session_id) is True
    while await manager.get_session_info(session_id) is not None:
        await time_passes(0.005)
        assert time.monotonic() < used + 5
    assert time.monotonic() - used >= 0.29


@pytest.mark.parametrize("seconds", [1e-3, 1e-6, 1e-7])
async def test_the_shortest_times(manager_factory: Callable[..., SessionManager], seconds: float) -> None:
    """No idle time is so short that it counts as none, and no touch interval either."""
    manager, seldom = manager_factory(idle_ttl_minutes=seconds / MINUTE), manager_factory(touch_interval=seconds)
    session_id = await manager.allocate_session(ttl_hours=1)
    await time_passes(0.02)
    assert await manager.validate_session(session_id) is False
    session_id = await seldom.allocate_session(ttl_hours=1)
    for _ in range(3):
        assert await seldom.open_session(session_id) is not None
        assert await seldom.validate_session(session_id) is True


async def test_the_object_has_the_known_fields(manager_factory: Callable[..., SessionManager]) -> None:
    manager = manager_factory(idle_ttl_minutes=10)
    session_id = await manager.allocate_session(user_id="alice")
    found = await manager.get_session_metadata(session_id)
    assert isinstance(found, SessionMetadata)
    assert found.expires_at == (await info_of(manager, session_id))["expires_at"]


def test_wrong_arguments() -> None:
    wrong: Any
    for wrong in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="idle_ttl_minutes"):
            SessionManager("box", idle_ttl_minutes=wrong)
    with pytest.raises(TypeError, match="idle_ttl_minutes"):
        SessionManager("box", idle_ttl_minutes="1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="touch_interval"):
        SessionManager("box", idle_ttl_minutes=1, touch_interval=30.1)
    SessionManager("box", idle_ttl_minutes=1, touch_interval=30)
