"""At most so many sessions per user, on every implementation that knows the sessions of a user."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import NotSupportedError, SessionManager
from tests.contract.test_user_sessions import colliding_users, ids_of
from tests.support import custom_provider
from tests.support.helpers import time_passes
from tests.support.implementations import INDEXED

if TYPE_CHECKING:
    from collections.abc import Callable

    from chuk_sessions.provider import Factory

HOUR = 3600.0


@pytest.fixture(params=INDEXED)
def store_factory(request: pytest.FixtureRequest) -> Factory:
    """A factory of everything that can tell the sessions of a user."""
    made: Factory = request.param(request)
    return made


@pytest.fixture(params=["made here", "chosen", "mixed"])
def name_of(request: pytest.FixtureRequest) -> Callable[[int], str | None]:
    """Which id to ask for at the n-th login."""
    kind = request.param
    return lambda number: f"my-{number}" if kind == "chosen" or (kind == "mixed" and number % 2) else None


async def test_the_oldest_goes(
    manager_factory: Callable[..., SessionManager], name_of: Callable[[int], str | None]
) -> None:
    """At each login beyond the limit, one; other users and sessions of nobody are not counted."""
    manager = manager_factory(max_sessions_per_user=3)
    others = [await manager.allocate_session(user_id="bob"), await manager.allocate_session()]
    made: list[str] = []
    for number in range(8):
        made.append(await manager.allocate_session(name_of(number), "alice"))
        assert await ids_of(manager, "alice") == made[-3:]
        assert [await manager.validate_session(each) for each in made[:-3]] == [False] * (
            len(made) - 3 if number > 2 else 0
        )
        await time_passes(0.001)
    assert all([await manager.validate_session(each) for each in made[-3:] + others])


async def test_room_for_one(manager_factory: Callable[..., SessionManager]) -> None:
    manager = manager_factory(max_sessions_per_user=1)
    for number in range(4):
        session_id = await manager.allocate_session(f"my-{number}" if number % 2 else None, "alice")
        assert await ids_of(manager, "alice") == [session_id]


async def test_a_live_id_ends_no_other(manager_factory: Callable[..., SessionManager]) -> None:
    """Allocating what is there is a touch."""
    manager = manager_factory(max_sessions_per_user=2)
    made = [await manager.allocate_session(user_id="alice"), await manager.allocate_session("my-id", "alice")]
    for session_id in made:
        assert await manager.allocate_session(session_id, "alice") == session_id
    assert sorted(await ids_of(manager, "alice")) == sorted(made)


async def test_ended_and_expired_sessions_make_room(manager_factory: Callable[..., SessionManager]) -> None:
    manager = manager_factory(max_sessions_per_user=2)
    kept = await manager.allocate_session(user_id="alice")
    await manager.delete_session(await manager.allocate_session(user_id="alice"))
    await manager.allocate_session(user_id="alice", ttl_hours=0.02 / HOUR)
    await time_passes(0.03)
    new = await manager.allocate_session(user_id="alice")
    assert await ids_of(manager, "alice") == [kept, new]


async def test_a_limit_that_comes_later(manager_factory: Callable[..., SessionManager]) -> None:
    """One login brings a user with many sessions under it."""
    await asyncio.gather(*[manager_factory().allocate_session(user_id="alice") for _ in range(250)])
    manager = manager_factory(max_sessions_per_user=5)
    session_id = await manager.allocate_session(user_id="alice")
    listed = await ids_of(manager, "alice")
    assert len(listed) == 5
    assert listed[-1] == session_id


async def test_logins_at_the_same_time(
    manager_factory: Callable[..., SessionManager], name_of: Callable[[int], str | None]
) -> None:
    """Exactly so many are left, all of them listed."""
    managers = [manager_factory(max_sessions_per_user=3) for _ in range(4)]
    logins = [managers[n % 4].allocate_session(name_of(n), "alice") for n in range(40)]
    made = await asyncio.gather(*logins)
    alive = [session_id for session_id in made if await managers[0].validate_session(session_id)]
    assert sorted(await ids_of(managers[0], "alice")) == sorted(alive)
    assert len(alive) == 3


async def test_users_with_one_tag_do_not_crowd_each_other_out(manager_factory: Callable[..., SessionManager]) -> None:
    manager = manager_factory(max_sessions_per_user=1)
    made = {user: await manager.allocate_session(user_id=user) for user in colliding_users("box")}
    for user, session_id in made.items():
        assert await ids_of(manager, user) == [session_id]


async def test_a_custom_provider_cannot() -> None:
    """And says so at a login; what has no user is not limited."""
    manager = SessionManager("box", custom_provider.factory(), max_sessions_per_user=3)
    with pytest.raises(NotSupportedError, match="not supported by this provider"):
        await manager.allocate_session(user_id="alice")
    assert await manager.validate_session(await manager.allocate_session())


def test_wrong_limits() -> None:
    wrong: Any
    for wrong in (0, -1, 10_001):
        with pytest.raises(ValueError, match="max_sessions_per_user"):
            SessionManager("box", max_sessions_per_user=wrong)
    for wrong in (1.0, "1", True):
        with pytest.raises(TypeError, match="max_sessions_per_user"):
            SessionManager("box", max_sessions_per_user=wrong)


async def test_an_id_allocated_anew_counts_once(manager_factory: Callable[..., SessionManager]) -> None:
    """What its former session, which ended unseen, left in the index ends nobody."""
    idle = manager_factory(max_sessions_per_user=3, idle_ttl_minutes=0.05 / 60)
    manager = manager_factory(max_sessions_per_user=3)
    first = await idle.allocate_session(user_id="alice")
    await time_passes(0.06)
    assert await manager.allocate_session(first, "alice") == first
    made = [first, await manager.allocate_session(user_id="alice"), await manager.allocate_session(user_id="alice")]
    assert [await manager.validate_session(each) for each in made] == [True] * 3


async def test_what_ended_unseen_makes_room_among_hundreds(manager_factory: Callable[..., SessionManager]) -> None:
    """More than one script is told of."""
    manager = manager_factory(max_sessions_per_user=210)
    made = await manager.allocate_sessions([{"user_id": "alice"}] * 205)
    await time_passes(0.001)
    idle = manager_factory(idle_ttl_minutes=0.05 / 60)
    await idle.allocate_sessions([{"user_id": "alice"}] * 5)
    await time_passes(0.06)
    made.append(await manager.allocate_session(user_id="alice"))
    assert sorted(await ids_of(manager, "alice")) == sorted(map(str, made))
