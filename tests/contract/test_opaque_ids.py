"""``SessionManager(opaque_ids=True)``: ids without user and time, which do all that the usual ones do."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import NotSupportedError, SessionManager
from chuk_sessions.cli import main as cli
from chuk_sessions.ids import fingerprint, is_random, slot_tag
from chuk_sessions.providers import memory
from tests.contract.test_user_sessions import ids_of
from tests.support.migrations import run

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.servers import RedisServer, Server

OPAQUE = re.compile(r"sess-[0-9a-f]{38}")


@pytest.fixture
def opaque(manager_factory: Callable[..., SessionManager]) -> SessionManager:
    return manager_factory(strict=True, opaque_ids=True)


def is_indexed(request: pytest.FixtureRequest) -> bool:
    return "custom" not in request.node.callspec.id


async def test_the_life_of_a_session(opaque: SessionManager) -> None:
    """By each call that takes an id; the info has the user and the time that the id does not tell."""
    for user_id in ("alice", None, "12345678"):
        session_id = await opaque.allocate_session(user_id=user_id, custom_metadata={"a": 1})
        assert OPAQUE.fullmatch(session_id)
        assert is_random(session_id)
        assert await opaque.validate_session(session_id) is True
        assert await opaque.allocate_session(session_id, user_id) == session_id
        assert await opaque.update_session_metadata(session_id, {"b": 2}, remove=["a"]) is True
        assert await opaque.increment_session_metadata(session_id, "b") == 3
        assert await opaque.extend_session_ttl(session_id, 1) is True
        assert await opaque.set_session_ttl(session_id, 1) is True
        info = await opaque.get_session_info(session_id)
        assert info is not None
        assert (info["session_id"], info["user_id"], info["custom_metadata"]) == (session_id, user_id, {"b": 3})
        assert await opaque.delete_session(session_id) is True
        assert await opaque.validate_session(session_id) is False


async def test_other_managers_know_them(
    opaque: SessionManager, manager_factory: Callable[..., SessionManager], request: pytest.FixtureRequest
) -> None:
    """The form is a matter of whoever makes an id, and of nobody else."""
    usual = manager_factory(strict=True)
    theirs, ours = await usual.allocate_session(user_id="alice"), await opaque.allocate_session(user_id="alice")
    assert not OPAQUE.fullmatch(theirs)
    assert (slot_tag(theirs) == slot_tag(ours)) is ("memory" not in request.node.callspec.id)  # where there are slots
    assert await usual.validate_session(ours) is True
    assert await opaque.validate_session(theirs) is True
    assert await usual.delete_session(ours) is True
    assert await opaque.delete_session(theirs) is True


async def test_many_at_once(opaque: SessionManager) -> None:
    """Each id is another one."""
    made = await opaque.allocate_sessions([{"user_id": "alice"}] * 20 + [{}] * 20)
    assert len({each for each in made if isinstance(each, str) and OPAQUE.fullmatch(each)}) == 40
    ids: Any = made
    assert await opaque.validate_sessions(ids) == [True] * 40
    assert await opaque.delete_sessions(ids) == [True] * 40


async def test_the_sessions_of_a_user(
    opaque: SessionManager, manager_factory: Callable[..., SessionManager], request: pytest.FixtureRequest
) -> None:
    """Listed, counted, limited and ended, whatever the form of their ids."""
    if not is_indexed(request):
        with pytest.raises(NotSupportedError):
            await opaque.list_user_sessions("alice")
        return
    made = [await opaque.allocate_session(user_id="alice"), await manager_factory().allocate_session(user_id="alice")]
    assert await ids_of(opaque, "alice") == made
    assert {info["session_id"] async for info in opaque.iter_sessions()} == set(made)
    assert await opaque.count_sessions() == 2
    limited = manager_factory(max_sessions_per_user=2, opaque_ids=True)
    for _ in range(3):
        made = [made[-1], await limited.allocate_session(user_id="alice")]
        assert await ids_of(opaque, "alice") == made
    assert await opaque.delete_user_sessions("alice", keep=made[1]) == 1
    assert await opaque.delete_user_sessions("alice", thorough=True) == 1


@pytest.mark.parametrize("grace", [0, 60])
@pytest.mark.parametrize(
    ("made_opaque", "renewed_opaque", "chosen"),
    [(True, False, None), (False, True, None), (True, True, None), (False, True, "my-id"), (False, False, None)],
)
async def test_renewals(
    manager_factory: Callable[..., SessionManager],
    request: pytest.FixtureRequest,
    made_opaque: bool,
    renewed_opaque: bool,
    chosen: str | None,
    grace: float,
) -> None:
    """An opaque id gets an opaque one from any manager, and every id gets one from a manager that makes such ids."""
    maker, renewer = (manager_factory(strict=True, opaque_ids=each) for each in (made_opaque, renewed_opaque))
    for user_id in ("alice", None):
        old_id = await maker.allocate_session(chosen, user_id)
        if not is_indexed(request):
            with pytest.raises(NotSupportedError):
                await renewer.renew_session(old_id)
            return
        new_id = await renewer.renew_session(old_id, grace)
        assert new_id is not None
        assert bool(OPAQUE.fullmatch(new_id)) is (made_opaque or renewed_opaque)
        assert slot_tag(new_id) == slot_tag(old_id)
        assert await maker.validate_session(new_id) is True
        assert await maker.validate_session(old_id) is bool(grace)
        info = await maker.get_session_info(old_id)
        assert (info and info["session_id"]) == (new_id if grace else None)
        if user_id:
            assert await ids_of(maker, user_id) == [new_id]
        assert await maker.delete_session(new_id) is True


@pytest.mark.parametrize("made_opaque", [True, False])
@pytest.mark.parametrize("renewed_opaque", [True, False])
@pytest.mark.parametrize("owner", ["alice", None])
async def test_logins(
    manager_factory: Callable[..., SessionManager],
    request: pytest.FixtureRequest,
    made_opaque: bool,
    renewed_opaque: bool,
    owner: str | None,
) -> None:
    """An opaque id stays one also if its session is given to a user, or is that user's already."""
    maker, renewer = (manager_factory(strict=True, opaque_ids=each) for each in (made_opaque, renewed_opaque))
    if not is_indexed(request):
        pytest.skip("a custom provider cannot renew a session")
    new_id = await renewer.renew_session(await maker.allocate_session(user_id=owner), user_id="alice")
    assert new_id is not None
    assert bool(OPAQUE.fullmatch(new_id)) is (made_opaque or renewed_opaque)
    assert await ids_of(maker, "alice") == [new_id]


@pytest.mark.parametrize("wrong", [1, 0, None, "yes", "", []], ids=repr)
def test_what_is_no_bool(wrong: Any) -> None:
    """The text of a variable, "false" above all, must not turn it on."""
    with pytest.raises(TypeError, match=f"^opaque_ids must be a bool, got {type(wrong).__name__}$"):
        SessionManager("box", memory.factory(), opaque_ids=wrong)


async def test_a_user_id_that_is_too_long() -> None:
    with pytest.raises(ValueError, match=r"^user_id must be at most"):
        await SessionManager("box", memory.factory(), opaque_ids=True).allocate_session(user_id="x" * 65_537)


@pytest.mark.redis
async def test_inspecting_them(redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As others: by their fingerprint, and by the id if asked for."""
    from chuk_sessions.providers import redis

    manager = SessionManager("box", redis.factory(redis_url), strict=True, opaque_ids=True)
    session_id = await manager.allocate_session(user_id="alice")
    for option, shown in (("--json", False), ("--show-ids", True)):
        assert await asyncio.to_thread(cli.main, ["inspect", redis_url, "--json", option]) == 0
        text = capsys.readouterr().out
        assert (session_id in text) is shown
        (row,) = json.loads(text)["sessions"]
        assert row["session_id" if shown else "fingerprint"] == (session_id if shown else fingerprint(session_id))


@pytest.mark.redis
async def test_moving_them(redis_server: Server, redis_url: str, target: RedisServer) -> None:
    """To another server, with the index of their users."""
    from chuk_sessions.providers import redis

    here, there = (
        SessionManager("box", redis.factory(url), strict=True, opaque_ids=True) for url in (redis_url, target.url)
    )
    users = [f"user-{number}" for number in range(5)]
    made = await asyncio.gather(*[here.allocate_session(user_id=user, custom_metadata={"u": user}) for user in users])
    assert await run(redis_url, target.url) == {"seen": 5, "moved": 5}
    for user, session_id in zip(users, made, strict=True):
        assert await ids_of(there, user) == [session_id]
        assert await here.validate_session(session_id) is False
