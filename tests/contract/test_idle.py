"""Sessions that end because nobody used them, on every implementation."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import NotSupportedError, SessionManager, SessionMetadata
from chuk_sessions.providers import memory
from chuk_sessions.providers.memory.store import MemorySessionStore
from tests.support.helpers import time_passes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MINUTE = 60.0
KINDS = [(None, "alice"), (None, None), ("my-id", "alice")]


async def info_of(manager: SessionManager, session_id: str) -> dict[str, Any]:
    info = await manager.get_session_info(session_id)
    assert info is not None
    return info


def seconds(info: dict[str, Any], end: str, start: str) -> float:
    return (datetime.fromisoformat(info[end]) - datetime.fromisoformat(info[start])).total_seconds()


async def test_the_two_deadlines(manager_factory: Callable[..., SessionManager]) -> None:
    """The idle one counts from the last touch, and is never later than the other."""
    manager = manager_factory(idle_ttl_minutes=10, touch_interval=30)
    info = await info_of(manager, await manager.allocate_session(ttl_hours=1))
    assert seconds(info, "expires_at", "created_at") == pytest.approx(3600, abs=0.01)
    assert seconds(info, "idle_expires_at", "last_accessed") == pytest.approx(10 * MINUTE + 30, abs=0.01)
    info = await info_of(manager, await manager.allocate_session(ttl_hours=0.1))
    assert info["idle_expires_at"] == info["expires_at"]
    plain = manager_factory()
    assert "idle_expires_at" not in await info_of(plain, await plain.allocate_session())


@pytest.mark.parametrize("kind", KINDS, ids=str)
async def test_it_ends_when_it_is_not_touched(
    manager_factory: Callable[..., SessionManager], kind: tuple[str | None, str | None]
) -> None:
    """Reading is no touch; and then it is gone for every call."""
    manager = manager_factory(idle_ttl_minutes=0.2 / MINUTE)
    session_id = await manager.allocate_session(*kind, 1)
    await info_of(manager, session_id)
    await time_passes(0.21)
    assert await manager.get_session_info(session_id) is None
    assert await manager.validate_session(session_id) is False
    assert await manager.extend_session_ttl(session_id, 1) is False
    assert await manager.update_session_metadata(session_id, {"a": 1}) is False


TOUCHES: dict[str, Callable[[SessionManager, str], Awaitable[Any]]] = {
    "validate": lambda m, s: m.validate_session(s),
    "merge": lambda m, s: m.update_session_metadata(s, {"a": 1}),
    "replace": lambda m, s: m.update_session_metadata(s, {"a": 1}, merge=False),
    "increment": lambda m, s: m.increment_session_metadata(s, "n"),
    "extend": lambda m, s: m.extend_session_ttl(s, 1),
    "allocate": lambda m, s: m.allocate_session(s),
    "by another manager": lambda m, s: SessionManager(m.sandbox_id, m.session_factory).validate_session(s),
}


@pytest.mark.parametrize(
    ("name", "kind"), [*((name, KINDS[0]) for name in TOUCHES), *(("extend", kind) for kind in KINDS)]
)
async def test_every_touch_keeps_it(
    manager_factory: Callable[..., SessionManager], name: str, kind: tuple[str | None, str | None]
) -> None:
    """The idle deadline moves, the other one only by extending; also in the storage."""
    manager = manager_factory(idle_ttl_minutes=0.3 / MINUTE)
    session_id = await manager.allocate_session(*kind, 1)
    before = await info_of(manager, session_id)
    end = time.monotonic() + 0.4
    while time.monotonic() < end:
        assert await TOUCHES[name](manager, session_id)
        await time_passes(0.02)
    after = await info_of(manager, session_id)
    assert seconds(after, "idle_expires_at", "last_accessed") == pytest.approx(0.3, abs=0.01)
    assert (after["expires_at"] == before["expires_at"]) == (name != "extend")


async def test_the_lifetime_ends_it_all_the_same(manager_factory: Callable[..., SessionManager]) -> None:
    manager = manager_factory(idle_ttl_minutes=0.1 / MINUTE)
    session_id = await manager.allocate_session(ttl_hours=0.3 / 3600)
    deadline = time.monotonic() + 0.3
    while await manager.validate_session(session_id):
        await time_passes(0.01)
        assert time.monotonic() < deadline + 1
    assert time.monotonic() >= deadline - 0.1


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


@pytest.mark.parametrize("ended", [None, "ended"])
@pytest.mark.parametrize("chosen", [None, "newest"])
async def test_what_ended_unseen_makes_room(
    request: pytest.FixtureRequest,
    manager_factory: Callable[..., SessionManager],
    chosen: str | None,
    ended: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A session that nobody touched does not take the place of an older one that is in use, whatever its id."""
    monkeypatch.setattr("chuk_sessions.providers.redis.index.UNDER_WAY", 10_000)
    if "custom" in request.node.callspec.id:
        with pytest.raises(NotSupportedError, match="not supported"):
            await manager_factory(max_sessions_per_user=2).allocate_session(user_id="alice")
        return
    lasting = manager_factory(max_sessions_per_user=2)
    oldest = await lasting.allocate_session(user_id="alice")
    brief = manager_factory(max_sessions_per_user=2, idle_ttl_minutes=0.05 / MINUTE)
    await brief.allocate_session(ended, "alice")
    await time_passes(0.06)
    newest = await lasting.allocate_session(chosen, "alice")
    assert await lasting.validate_session(newest)
    assert await lasting.validate_session(oldest)


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


@pytest.mark.parametrize("jump", [-86_400, 86_400], ids=["back", "ahead"])
async def test_a_wall_clock_that_is_set_changes_no_idle_time(jump: float) -> None:
    """In memory expiry has a clock of its own: in use the session lives, and unused it ends."""
    clock, wall = 1_000.0, 1_700_000_000.0
    values = memory.MemoryStore(clock=lambda: clock, wall_clock=lambda: wall)
    store = MemorySessionStore(values, "box")
    await store.create("id", "alice", 3600, {}, idle=60)
    wall += jump
    for _ in range(10):
        clock, wall = clock + 30, wall + 30
        assert await store.touch("id", 10)
    clock += 59
    assert await store.touch("id", 10)
    clock += 61
    assert not await store.touch("id", 10)
    await store.create("id", "alice", 600, {}, idle=60)
    for _ in range(19):
        clock += 30
        assert await store.touch("id", 10)
    clock += 31
    assert not await store.touch("id", 10)
