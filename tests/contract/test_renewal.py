"""A new id for a session, on every implementation that can change two keys in one step."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import NotSupportedError, SessionManager
from chuk_sessions.ids import is_random, slot_tag
from tests.contract.test_user_sessions import ids_of
from tests.support import custom_provider
from tests.support.helpers import time_passes
from tests.support.implementations import INDEXED

if TYPE_CHECKING:
    from collections.abc import Callable

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
    if kind[1] is not None:
        assert await ids_of(manager, kind[1]) == [new_id]


async def test_the_old_id_ends_at_once(manager: SessionManager, kind: Kind) -> None:
    """By every operation, a second renewal included."""
    old_id = await manager.allocate_session(*kind)
    new_id = await renewed(manager, old_id)
    assert await manager.validate_session(old_id) is False
    assert await manager.get_session_info(old_id) is None
    assert await manager.update_session_metadata(old_id, {"a": 1}) is False
    assert await manager.increment_session_metadata(old_id, "n") is None
    assert await manager.extend_session_ttl(old_id, 1) is False
    assert await manager.delete_session(old_id) is False
    assert await manager.renew_session(old_id) is None
    assert await manager.renew_session(old_id, 60) is None
    assert await manager.validate_session(new_id) is True


async def test_the_alias_answers_for_the_session(manager_factory: Callable[..., SessionManager], kind: Kind) -> None:
    """Whatever is done under the old id is done to the session, of which there is one."""
    manager, coarse = manager_factory(), manager_factory(touch_interval=60)
    old_id = await manager.allocate_session(*kind, 1)
    assert await coarse.validate_session(old_id)
    new_id = await renewed(manager, await renewed(manager, old_id, 60), 60)
    assert await manager.validate_session(old_id) is True
    assert await coarse.validate_session(old_id) is True
    assert await manager.update_session_metadata(old_id, {"a": 1}) is True
    assert await manager.increment_session_metadata(old_id, "n", 2) == 2
    before = await info_of(manager, new_id)
    assert await manager.extend_session_ttl(old_id, 1) is True
    assert await manager.allocate_session(old_id, "somebody") == old_id
    after = await info_of(manager, new_id)
    assert after["custom_metadata"] == {"a": 1, "n": 2}
    assert after["expires_at"] > before["expires_at"]
    assert await info_of(manager, old_id) == after
    assert after["session_id"] == new_id
    assert await manager.renew_session(old_id, 60) == new_id
    if kind[1] is not None:
        assert await ids_of(manager, kind[1]) == [new_id]


async def test_deleting_the_alias_deletes_the_session(manager: SessionManager, kind: Kind) -> None:
    old_id = await manager.allocate_session(*kind)
    new_id = await renewed(manager, old_id, 60)
    assert await manager.delete_session(old_id) is True
    for session_id in (old_id, new_id):
        assert await manager.validate_session(session_id) is False
        assert await manager.delete_session(session_id) is False
        assert await manager.renew_session(session_id, 60) is None
    if kind[1] is not None:
        assert await manager.list_user_sessions(kind[1]) == []
    assert await manager.allocate_session(old_id, kind[1]) == old_id
    assert await manager.validate_session(old_id) is True
    assert await manager.validate_session(new_id) is False


async def test_the_alias_ends_with_the_grace(manager: SessionManager, kind: Kind) -> None:
    old_id = await manager.allocate_session(*kind)
    new_id = await renewed(manager, old_id, 0.05)
    await time_passes(0.06)
    assert await manager.validate_session(old_id) is False
    assert await manager.renew_session(old_id, 60) is None
    assert await manager.validate_session(new_id) is True


async def test_a_renewed_session_keeps_its_deadline(manager: SessionManager, kind: Kind) -> None:
    """However long the grace."""
    old_id = await manager.allocate_session(*kind, 0.2 / 3600)
    new_id = await renewed(manager, old_id, 60)
    await time_passes(0.21)
    assert await manager.validate_session(new_id) is False
    assert await manager.validate_session(old_id) is False


async def test_two_renewals_without_a_grace(manager: SessionManager, kind: Kind) -> None:
    """One gets the session, the others nothing."""
    old_id = await manager.allocate_session(*kind)
    found = await asyncio.gather(*[manager.renew_session(old_id) for _ in range(10)])
    (new_id,) = [each for each in found if each is not None]
    assert await manager.validate_session(new_id)
    if kind[1] is not None:
        assert await ids_of(manager, kind[1]) == [new_id]


async def test_two_renewals_with_a_grace(manager: SessionManager, kind: Kind) -> None:
    """All get the same new id."""
    old_id = await manager.allocate_session(*kind)
    found = await asyncio.gather(*[manager.renew_session(old_id, 60) for _ in range(10)])
    assert len(set(found)) == 1
    assert await manager.validate_session(str(found[0]))
    if kind[1] is not None:
        assert await ids_of(manager, kind[1]) == [found[0]]


async def test_ending_all_but_an_alias_keeps_its_session(manager: SessionManager) -> None:
    """A request that came with the old id means the session that it is in."""
    old_ids = [await manager.allocate_session(each, "alice") for each in (None, "my-id", None)]
    new_ids = [await renewed(manager, session_id, 60) for session_id in old_ids]
    assert await manager.delete_user_sessions("alice", keep=old_ids[1]) == 2
    assert await ids_of(manager, "alice") == [new_ids[1]]
    for old_id, new_id in zip(old_ids, new_ids, strict=True):
        assert await manager.validate_session(old_id) is await manager.validate_session(new_id) is (old_id == "my-id")


async def test_the_order_of_sessions_stays(manager_factory: Callable[..., SessionManager]) -> None:
    """A renewed session is as old as it was, also for the limit."""
    manager = manager_factory(max_sessions_per_user=2)
    first = await manager.allocate_session(user_id="alice")
    await time_passes(0.001)
    second = await manager.allocate_session(user_id="alice")
    first = await renewed(manager, first)
    assert await ids_of(manager, "alice") == [first, second]
    await time_passes(0.001)
    third = await manager.allocate_session(user_id="alice")
    assert await ids_of(manager, "alice") == [second, third]


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


@pytest.mark.parametrize("kind", [(None, "alice"), ("my-id", "alice")], ids=str)
async def test_an_old_id_answers_for_all_of_its_grace_while_the_session_is_used(
    manager_factory: Callable[..., SessionManager], kind: Kind
) -> None:
    """Also beyond the idle deadline that the session had when it got the new one."""
    manager = manager_factory(idle_ttl_minutes=1 / 60)
    session_id = await manager.allocate_session(*kind)
    await renewed(manager, session_id, 60)
    end = time.monotonic() + 1.2
    while time.monotonic() < end:
        assert await manager.validate_session(session_id)
        await time_passes(0.02)


async def test_a_custom_provider_cannot() -> None:
    manager = SessionManager("box", custom_provider.factory())
    session_id = await manager.allocate_session()
    with pytest.raises(NotSupportedError, match="not supported by this provider"):
        await manager.renew_session(session_id)
    assert await manager.validate_session(session_id)


async def test_a_login_through_an_alias_leaves_no_known_id(
    manager_factory: Callable[..., SessionManager], kind: Kind
) -> None:
    """A renewal without a grace gives an id that nobody had (fixation), also if it is asked for under an alias."""
    manager = manager_factory(touch_interval=60)
    first = await manager.allocate_session(*kind, 1, {"a": 1})
    second = await renewed(manager, first, 60)
    third = await renewed(manager, second, 60)
    fourth = await renewed(manager, first)
    assert fourth not in (first, second, third)
    assert is_random(fourth)
    for known in (first, second, third):
        assert await manager.validate_session(known) is False
        assert await manager.get_session_info(known) is None
        assert await manager.renew_session(known, 60) is None
        assert await manager.delete_session(known) is False
    assert (await info_of(manager, fourth))["custom_metadata"] == {"a": 1}
    if kind[1] is not None:
        assert await ids_of(manager, kind[1]) == [fourth]


async def test_renewing_through_an_alias_touches(manager: SessionManager) -> None:
    """As every other operation does, also if the session keeps the id that it has."""
    old_id = await manager.allocate_session()
    new_id = await renewed(manager, old_id, 60)
    before = await info_of(manager, new_id)
    await time_passes(0.002)
    assert await manager.renew_session(old_id, 60) == new_id
    assert (await info_of(manager, new_id))["last_accessed"] > before["last_accessed"]


async def test_an_alias_outlives_the_deadline_that_was_extended(manager: SessionManager, kind: Kind) -> None:
    """It answers for its grace, as long as the session lives, whatever deadline that had at the renewal."""
    old_id = await manager.allocate_session(*kind, 0.2 / 3600)
    new_id = await renewed(manager, old_id, 60)
    assert await manager.extend_session_ttl(new_id, 1)
    await time_passes(0.25)
    assert await manager.validate_session(old_id) is True
    assert await manager.delete_session(new_id) is True
    assert await manager.validate_session(old_id) is False


async def test_many_renewals_with_a_grace(manager: SessionManager) -> None:
    """However many aliases lie between an id and its session."""
    first = current = await manager.allocate_session(custom_metadata={"n": 0})
    for _ in range(1200):
        current = await renewed(manager, current, 600)
    assert await manager.validate_session(first) is True
    assert (await info_of(manager, first))["session_id"] == current
    assert await manager.update_session_metadata(first, {"a": 1}) is True
    assert await manager.increment_session_metadata(first, "n") == 1
    assert await manager.extend_session_ttl(first, 1) is True
    assert await manager.renew_session(first, 60) == current
    assert await manager.allocate_session(first) == first
    assert await manager.delete_session(first) is True
    assert await manager.validate_session(current) is False
