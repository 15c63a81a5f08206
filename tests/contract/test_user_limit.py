"""`max_sessions_per_user`, on every implementation that knows the sessions of a user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import NotSupportedError, SessionManager
from tests.contract.test_user_sessions import colliding_users, ids_of
from tests.support import custom_provider
from tests.support.implementations import INDEXED

if TYPE_CHECKING:
    from collections.abc import Callable

    from chuk_sessions.provider import Factory


@pytest.fixture(params=INDEXED)
def store_factory(request: pytest.FixtureRequest) -> Factory:
    """A factory of everything that can tell the sessions of a user."""
    made: Factory = request.param(request)
    return made


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
