"""The new id that a manager gives a session, on every implementation that can change two keys in one step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import NotSupportedError, SessionManager
from chuk_sessions.ids import is_random, slot_tag
from tests.contract.test_user_sessions import ids_of
from tests.support import custom_provider
from tests.support.helpers import time_passes
from tests.support.implementations import INDEXED

if TYPE_CHECKING:
    from chuk_sessions.provider import Factory

# Made here for a user or for nobody; chosen for a user, whose index is then in another slot, or for nobody.
KINDS = [(None, "alice"), (None, None), ("my-id", "alice"), ("my id", None)]


@pytest.fixture(params=INDEXED)
def store_factory(request: pytest.FixtureRequest) -> Factory:
    """A factory of everything that can rename a session."""
    made: Factory = request.param(request)
    return made


@pytest.fixture(params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> tuple[str | None, str | None]:
    chosen: tuple[str | None, str | None] = request.param
    return chosen


Kind = tuple[str | None, str | None]


async def info_of(manager: SessionManager, session_id: str) -> dict[str, Any]:
    info = await manager.get_session_info(session_id)
    assert info is not None
    return info


async def renewed(manager: SessionManager, session_id: str, grace: float = 0) -> str:
    new_id = await manager.renew_session(session_id, grace)
    assert new_id is not None
    return new_id


@pytest.mark.parametrize("grace", [0, 60])
async def test_the_same_session_under_a_new_id(manager: SessionManager, kind: Kind, grace: float) -> None:
    """Of the form of those made here and with the tag of the old one; data and deadline stay, and it is touched."""
    old_id = await manager.allocate_session(*kind, 1, {"a": [1]})
    before = await info_of(manager, old_id)
    await time_passes(0.002)
    new_id = await renewed(manager, old_id, grace)
    assert is_random(new_id)
    assert new_id != old_id
    assert slot_tag(new_id) == slot_tag(old_id)
    assert new_id.rsplit("-", 2)[0] == (old_id.rsplit("-", 2)[0] if kind[0] is None else "sess")
    after = await info_of(manager, new_id)
    assert after["last_accessed"] > before["last_accessed"]
    assert {**after, "last_accessed": 0, "session_id": 0} == {**before, "last_accessed": 0, "session_id": 0}
    if grace:
        assert await info_of(manager, old_id) == after
    if kind[1] is not None:
        assert await ids_of(manager, kind[1]) == [new_id]


async def test_no_such_session(manager: SessionManager) -> None:
    for missing in ("unknown", "", "sess-alice-1767225600-" + 38 * "0"):
        assert await manager.renew_session(missing) is None
        assert await manager.renew_session(missing, 60) is None


async def test_wrong_arguments(manager: SessionManager) -> None:
    session_id = await manager.allocate_session()
    wrong: Any
    for wrong in (-1, float("nan"), float("inf"), 1e20):
        with pytest.raises(ValueError, match="grace_seconds"):
            await manager.renew_session(session_id, wrong)
    for wrong in ("1", None):
        with pytest.raises(TypeError, match="grace_seconds"):
            await manager.renew_session(session_id, wrong)
    assert await manager.validate_session(session_id)


async def test_a_custom_provider_cannot() -> None:
    manager = SessionManager("box", custom_provider.factory())
    session_id = await manager.allocate_session()
    with pytest.raises(NotSupportedError, match="not supported by this provider"):
        await manager.renew_session(session_id)
    assert await manager.validate_session(session_id)
