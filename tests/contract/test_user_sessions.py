"""The sessions of a user through a manager, on every implementation: listed, and ended all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import NotSupportedError, SessionManager
from chuk_sessions.ids import user_tag
from tests.support import custom_provider
from tests.support.helpers import time_passes
from tests.support.implementations import INDEXED

if TYPE_CHECKING:
    from collections.abc import Callable

    from chuk_sessions.provider import Factory


@pytest.fixture(params=INDEXED)
def store_factory(request: pytest.FixtureRequest) -> Factory:
    """A factory of everything that can tell the sessions of a user."""
    made: Factory = request.param(request)
    return made


async def ids_of(manager: SessionManager, user_id: str) -> list[str]:
    return [info["session_id"] for info in await manager.list_user_sessions(user_id)]


async def test_a_custom_provider_cannot() -> None:
    """And says so, rather than that there are none."""
    manager = SessionManager("box", custom_provider.factory())
    await manager.allocate_session(user_id="alice")
    with pytest.raises(NotSupportedError, match="not supported by this provider"):
        await manager.list_user_sessions("alice")
    with pytest.raises(NotSupportedError, match="not supported by this provider"):
        await manager.delete_user_sessions("alice")
    with pytest.raises(NotSupportedError, match="not supported by this provider"):
        await anext(manager.iter_user_sessions("alice"))


@pytest.mark.parametrize("chosen", [False, True], ids=["made here", "chosen"])
async def test_listing(manager: SessionManager, chosen: bool) -> None:
    """Each session of the user with all that is known of it, oldest first; nobody else's, and none is touched."""
    made = []
    for number in range(5):
        session_id = f"my-id:{number}" if chosen else None
        made.append(await manager.allocate_session(session_id, "alice", 1, {"n": number}))
        await manager.allocate_session(f"bobs-{number}" if chosen else None, "bob")
        await manager.allocate_session()
        await time_passes(0.002)
    infos = [await manager.get_session_info(session_id) for session_id in made]
    assert await manager.list_user_sessions("alice") == infos
    assert [info["custom_metadata"]["n"] for info in await manager.list_user_sessions("alice")] == list(range(5))
    assert await manager.list_user_sessions("carol") == []


@pytest.mark.parametrize("batch", [1, 7, 500])
async def test_going_through_the_sessions_of_a_user(manager: SessionManager, batch: int) -> None:
    """Each once, as the list has it, however many are read at a time."""
    for number in range(20):
        await manager.allocate_session(f"my-{number}" if number % 2 else None, "alice", 1 + number % 3, {"n": number})
        await manager.allocate_session(user_id="bob")
    found = [info async for info in manager.iter_user_sessions("alice", batch)]
    assert sorted(found, key=str) == sorted(await manager.list_user_sessions("alice"), key=str)
    assert [info async for info in manager.iter_user_sessions("carol", batch)] == []


async def test_going_through_those_of_a_user_while_they_change(manager: SessionManager) -> None:
    """What lives all the while comes, whatever else is allocated, extended, renewed and ended in between."""
    ids = [await manager.allocate_session(user_id="alice") for _ in range(60)]
    staying, going, seen = set(ids[::2]), ids[1::2], set()
    async for info in manager.iter_user_sessions("alice", 5):
        seen.add(info["session_id"])
        await manager.allocate_session(user_id="alice")
        await manager.extend_session_ttl(ids[0], 1)
        if going:
            await manager.delete_session(going.pop())
        if len(seen) > 200:
            break
    assert staying <= seen


def colliding_users(sandbox_id: str) -> tuple[str, str]:
    """Two users whose sessions have the same tag."""
    seen: dict[str, str] = {}
    number = 0
    while True:
        user = f"user-{number}"
        other = seen.setdefault(user_tag(sandbox_id, user), user)
        if other is not user:
            return other, user
        number += 1


async def test_users_with_one_tag_are_apart(manager_factory: Callable[..., SessionManager]) -> None:
    """They share a slot and an index, and neither sees, ends or crowds out the other."""
    manager = manager_factory()
    one, other = colliding_users("box")
    mine = [await manager.allocate_session(user_id=one) for _ in range(2)]
    theirs = [await manager.allocate_session(user_id=other) for _ in range(2)]
    assert sorted(await ids_of(manager, one)) == sorted(mine)
    assert await manager.delete_user_sessions(one) == 2
    assert sorted(await ids_of(manager, other)) == sorted(theirs)


@pytest.mark.parametrize("keep", [None, (), "one", ["one"], ("one", "two"), "unknown"], ids=repr)
async def test_ending_all(manager: SessionManager, keep: Any) -> None:
    """But those that are kept, by one id or several; other users notice nothing."""
    ids: dict[str, str] = {name: await manager.allocate_session(user_id="alice") for name in ("one", "two", "three")}
    ids["chosen"] = await manager.allocate_session("chosen", "alice")
    other = await manager.allocate_session(user_id="bob")
    named: set[str] = {keep} if isinstance(keep, str) else set(keep or ())
    kept = {ids[name] for name in named if name in ids}
    argument = ids.get(keep, keep) if isinstance(keep, str) else keep and [ids[name] for name in keep]
    assert await manager.delete_user_sessions("alice", keep=argument) == 4 - len(kept)
    assert set(await ids_of(manager, "alice")) == kept
    for name in ids:
        assert await manager.validate_session(ids[name]) is (ids[name] in kept)
    assert await manager.validate_session(other)
    assert await manager.delete_user_sessions("alice") == len(kept)


async def test_wrong_arguments(manager: SessionManager) -> None:
    wrong: Any
    for wrong in (None, 1, b"alice"):
        with pytest.raises(TypeError, match="user_id"):
            await manager.list_user_sessions(wrong)
        with pytest.raises(TypeError, match="user_id"):
            await manager.delete_user_sessions(wrong)
        with pytest.raises(TypeError, match="user_id"):
            await anext(manager.iter_user_sessions(wrong))
    for wrong in (0, 10_001):
        with pytest.raises(ValueError, match="batch"):
            await anext(manager.iter_user_sessions("alice", wrong))
