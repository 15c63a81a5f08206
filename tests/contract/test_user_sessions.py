"""The sessions of a user, on every implementation: listed, and ended all at once."""

from __future__ import annotations

import asyncio
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

HOUR = 3600.0
ODD_USERS = ("", "alice", "alice:", "5:alice", "a:b/{c}", "\0", "Ærøskøbing", "\ud800", "*", "a\r\nb")


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


async def test_odd_users_are_apart(manager: SessionManager) -> None:
    """No name runs into another."""
    made = {user: [await manager.allocate_session(user_id=user) for _ in range(2)] for user in ODD_USERS}
    for user in ODD_USERS:
        made[user].append(await manager.allocate_session(f"my-{ODD_USERS.index(user)}", user))
    for user in ODD_USERS:
        assert sorted(await ids_of(manager, user)) == sorted(made[user])
        assert await manager.delete_user_sessions(user) == 3
        assert await ids_of(manager, user) == []


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


async def test_sandboxes_are_apart(manager_factory: Callable[..., SessionManager]) -> None:
    here, there = manager_factory("here"), manager_factory("there")
    session_id = await here.allocate_session(user_id="alice")
    assert await ids_of(there, "alice") == []
    assert await there.delete_user_sessions("alice") == 0
    assert await ids_of(here, "alice") == [session_id]


@pytest.mark.parametrize("chosen", [None, "my-id"])
async def test_what_has_ended_is_not_listed(manager: SessionManager, chosen: str | None) -> None:
    """Deleted, expired, or made again for another user."""
    await manager.allocate_session(chosen, "alice", 0.05 / HOUR)
    await time_passes(0.06)
    assert await ids_of(manager, "alice") == []
    session_id = await manager.allocate_session(chosen, "alice")
    assert await ids_of(manager, "alice") == [session_id]
    await manager.delete_session(session_id)
    assert await ids_of(manager, "alice") == []
    await manager.allocate_session(session_id, "bob")
    assert await ids_of(manager, "alice") == []
    assert await manager.delete_user_sessions("alice") == 0
    assert await ids_of(manager, "bob") == [session_id]


@pytest.mark.parametrize("chosen", [None, "my-id"])
async def test_an_extended_session_stays_listed(manager: SessionManager, chosen: str | None) -> None:
    """Past its first deadline, and past those of all others."""
    session_id = await manager.allocate_session(chosen, "alice", 0.2 / HOUR)
    await manager.extend_session_ttl(session_id, 1)
    await manager.extend_session_ttl(session_id, 1)
    await manager.allocate_session(user_id="alice", ttl_hours=0.01 / HOUR)
    await time_passes(0.25)
    assert await ids_of(manager, "alice") == [session_id]


async def test_allocating_a_live_id_changes_no_list(manager: SessionManager) -> None:
    """It is still the session of who made it, also if that is nobody."""
    await manager.allocate_session("my-id", "alice")
    await manager.allocate_session("my-id", "bob")
    await manager.allocate_session("nobodys")
    await manager.allocate_session("nobodys", "bob")
    assert await ids_of(manager, "alice") == ["my-id"]
    assert await ids_of(manager, "bob") == []
    assert await manager.delete_user_sessions("bob") == 0
    assert await manager.validate_session("my-id")
    assert await manager.validate_session("nobodys")


@pytest.mark.parametrize("keep", [None, (), "one", ["one"], {"one", "two"}, "unknown"], ids=repr)
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


async def test_ending_many(manager: SessionManager) -> None:
    """More than one script ends; a new one is untouched."""
    made = await asyncio.gather(*[manager.allocate_session(user_id="alice") for _ in range(450)])
    made += await asyncio.gather(*[manager.allocate_session(f"my-{n}", "alice") for n in range(20)])
    assert sorted(await ids_of(manager, "alice")) == sorted(made)
    assert await manager.delete_user_sessions("alice") == 470
    assert not any(await asyncio.gather(*map(manager.validate_session, made)))
    new = await manager.allocate_session(user_id="alice")
    assert await ids_of(manager, "alice") == [new]


async def test_logins_while_all_are_ended(manager_factory: Callable[..., SessionManager]) -> None:
    """What lives afterwards is exactly what is listed, and each was allocated by a call that was under way."""
    managers = [manager_factory() for _ in range(3)]
    before = [await managers[0].allocate_session(f"old-{n}" if n % 2 else None, "alice") for n in range(20)]
    logins = [managers[n % 3].allocate_session(f"my-{n}" if n % 2 else None, "alice") for n in range(60)]
    ending = asyncio.create_task(managers[1].delete_user_sessions("alice"))
    made = await asyncio.gather(*logins)
    await ending
    assert not any([await managers[0].validate_session(session_id) for session_id in before])
    alive = {session_id for session_id in made if await managers[0].validate_session(session_id)}
    assert set(await ids_of(managers[0], "alice")) == alive


async def test_wrong_arguments(manager: SessionManager) -> None:
    wrong: Any
    for wrong in (None, 1, b"alice"):
        with pytest.raises(TypeError, match="user_id"):
            await manager.list_user_sessions(wrong)
        with pytest.raises(TypeError, match="user_id"):
            await manager.delete_user_sessions(wrong)
