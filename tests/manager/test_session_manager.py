"""SessionManager does what its documentation says, on every implementation."""

from __future__ import annotations

import re
import sys
import time
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import SessionManager, SessionMetadata, SessionStatus, SessionTakenError
from chuk_sessions.providers import memory
from tests.support.helpers import Clock, time_passes

if TYPE_CHECKING:
    from collections.abc import Callable

INFO_KEYS = [
    "session_id",
    "sandbox_id",
    "user_id",
    "created_at",
    "expires_at",
    "status",
    "last_accessed",
    "custom_metadata",
]
NO_IDS: tuple[Any, ...] = (None, 5, 1.5, b"x", [], {}, object(), "", "unknown", ".", "a/b", "\ud800")


def seconds(timestamp: str) -> float:
    """Seconds since the epoch of one of our timestamps, which must be in UTC and to the microsecond."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", timestamp)
    return datetime.fromisoformat(timestamp).timestamp()


async def info_of(manager: SessionManager, session_id: str) -> dict[str, Any]:
    info = await manager.get_session_info(session_id)
    assert info is not None
    return info


async def test_life_of_a_session(manager: SessionManager) -> None:
    """The seed's walk through all methods."""
    session_id = await manager.allocate_session(user_id="alice", ttl_hours=8, custom_metadata={"role": "admin"})
    assert await manager.validate_session(session_id) is True
    assert await manager.update_session_metadata(session_id, {"files": 5}) is True
    info = await info_of(manager, session_id)
    assert info["custom_metadata"] == {"role": "admin", "files": 5}
    assert await manager.extend_session_ttl(session_id, additional_hours=4) is True
    longer = await info_of(manager, session_id)
    assert seconds(longer["expires_at"]) - seconds(info["expires_at"]) == pytest.approx(4 * 3600, abs=1e-3)
    assert await manager.delete_session(session_id) is True
    assert await manager.validate_session(session_id) is False
    assert await manager.get_session_info(session_id) is None
    assert await manager.update_session_metadata(session_id, {"files": 6}) is False
    assert await manager.extend_session_ttl(session_id, 1) is False
    assert await manager.delete_session(session_id) is False


async def test_info(manager: SessionManager) -> None:
    """All keys, in order, with the times of the allocation."""
    before = datetime.now(UTC).timestamp()
    session_id = await manager.allocate_session(user_id="alice", ttl_hours=2, custom_metadata={"a": [1]})
    after = datetime.now(UTC).timestamp()
    info = await info_of(manager, session_id)
    assert list(info) == INFO_KEYS
    assert (info["session_id"], info["sandbox_id"], info["user_id"]) == (session_id, "box", "alice")
    assert (info["status"], info["custom_metadata"]) == ("active", {"a": [1]})
    assert before - 1e-3 <= seconds(info["created_at"]) <= after + 1e-3
    assert info["last_accessed"] == info["created_at"]
    assert seconds(info["expires_at"]) - seconds(info["created_at"]) == pytest.approx(7200, abs=1e-3)


async def test_defaults(manager: SessionManager) -> None:
    """Nobody's session, without metadata, for a day."""
    info = await info_of(manager, await manager.allocate_session())
    assert (info["user_id"], info["custom_metadata"]) == (None, {})
    assert seconds(info["expires_at"]) - seconds(info["created_at"]) == pytest.approx(86400, abs=1e-3)


async def test_hours(manager_factory: Callable[..., SessionManager]) -> None:
    """The manager's default counts unless the call says otherwise; fractions count."""
    manager = manager_factory(default_ttl_hours=0.5)
    for hours, expected in ((None, 1800), (0.25, 900), (36, 129600), (876_600, 3_155_760_000)):
        info = await info_of(manager, await manager.allocate_session(ttl_hours=hours))
        assert seconds(info["expires_at"]) - seconds(info["created_at"]) == pytest.approx(expected, abs=1e-3)


async def test_ids_differ(manager: SessionManager) -> None:
    ids = {await manager.allocate_session(user_id="alice") for _ in range(200)}
    assert len(ids) == 200


async def test_expired_sessions_are_not_found(manager: SessionManager) -> None:
    session_id = await manager.allocate_session(ttl_hours=0.05 / 3600)
    await time_passes(0.06)
    assert await manager.validate_session(session_id) is False
    assert await manager.get_session_info(session_id) is None
    assert await manager.update_session_metadata(session_id, {}) is False
    assert await manager.extend_session_ttl(session_id, 1) is False
    assert await manager.delete_session(session_id) is False


async def test_a_chosen_id(manager: SessionManager) -> None:
    """It is taken as it is; a live one is returned and stays as it was."""
    assert await manager.allocate_session("mine", "alice", 1, {"a": 1}) == "mine"
    old = await info_of(manager, "mine")
    assert await manager.allocate_session("mine", "alice", 9, {"b": 2}) == "mine"
    new = await info_of(manager, "mine")
    assert {**new, "last_accessed": old["last_accessed"]} == old


async def test_a_chosen_id_after_deletion(manager: SessionManager) -> None:
    await manager.allocate_session("mine", "alice", 1, {"a": 1})
    await manager.delete_session("mine")
    await manager.allocate_session("mine", "bob", 1, {"b": 2})
    info = await info_of(manager, "mine")
    assert (info["user_id"], info["custom_metadata"]) == ("bob", {"b": 2})


async def test_a_live_id_of_another_user(manager_factory: Callable[..., SessionManager]) -> None:
    """Returned as it is, as 0.2 did; an error when strict. Either way it stays the first user's."""
    lenient, strict = manager_factory(), manager_factory(strict=True)
    await lenient.allocate_session("mine", "alice")
    assert await lenient.allocate_session("mine", "bob") == "mine"
    assert await lenient.allocate_session("mine") == "mine"
    for user_id in ("bob", None):
        with pytest.raises(SessionTakenError, match="another user"):
            await strict.allocate_session("mine", user_id)
    assert await strict.allocate_session("mine", "alice") == "mine"
    assert (await info_of(strict, "mine"))["user_id"] == "alice"


async def test_what_touches(manager: SessionManager) -> None:
    """Validating, updating, extending and allocating again touch a session; reading it does not."""
    session_id = await manager.allocate_session()
    calls: list[tuple[bool, Callable[[], Any]]] = [
        (True, lambda: manager.validate_session(session_id)),
        (True, lambda: manager.update_session_metadata(session_id, {"a": 1})),
        (True, lambda: manager.update_session_metadata(session_id, {"a": 1}, merge=False)),
        (True, lambda: manager.extend_session_ttl(session_id, 1)),
        (True, lambda: manager.allocate_session(session_id)),
        (False, lambda: manager.get_session_info(session_id)),
        (False, manager.cleanup_expired_sessions),
    ]
    for number, (touches, call) in enumerate(calls):
        old = (await info_of(manager, session_id))["last_accessed"]
        await time_passes(0.005)
        assert await call() or call == manager.cleanup_expired_sessions
        assert ((await info_of(manager, session_id))["last_accessed"] > old) is touches, number


async def test_touch_interval(manager_factory: Callable[..., SessionManager]) -> None:
    """With an interval, validating soon again writes nothing; the next manager without one does."""
    often, seldom = manager_factory(), manager_factory(touch_interval=60)
    session_id = await often.allocate_session()
    old = (await info_of(often, session_id))["last_accessed"]
    await time_passes(0.005)
    for _ in range(3):
        assert await seldom.validate_session(session_id) is True
    assert (await info_of(often, session_id))["last_accessed"] == old
    assert await often.validate_session(session_id) is True
    assert (await info_of(often, session_id))["last_accessed"] > old
    await often.delete_session(session_id)
    assert await seldom.validate_session(session_id) is False


async def test_merge_and_replace(manager: SessionManager) -> None:
    session_id = await manager.allocate_session(custom_metadata={"a": 1, "b": 2})
    assert await manager.update_session_metadata(session_id, {"b": 3, "c": 4}) is True
    assert (await info_of(manager, session_id))["custom_metadata"] == {"a": 1, "b": 3, "c": 4}
    assert await manager.update_session_metadata(session_id, {"d": 5}, merge=False) is True
    assert (await info_of(manager, session_id))["custom_metadata"] == {"d": 5}


async def test_extend_hours_are_fractions(manager: SessionManager) -> None:
    session_id = await manager.allocate_session(ttl_hours=1)
    assert await manager.extend_session_ttl(session_id, 0.25) is True
    info = await info_of(manager, session_id)
    assert seconds(info["expires_at"]) - seconds(info["created_at"]) == pytest.approx(4500, abs=1e-3)


@pytest.mark.parametrize("strict", [False, True])
async def test_what_is_no_session_id(
    manager_factory: Callable[..., SessionManager], strict: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a cookie or a header gave is simply not a session, also when strict: no error, no line in the log."""
    manager = manager_factory(strict=strict)
    await manager.allocate_session("known")
    for session_id in NO_IDS:
        assert await manager.validate_session(session_id) is False
        assert await manager.get_session_info(session_id) is None
        assert await manager.update_session_metadata(session_id, {}) is False
        assert await manager.extend_session_ttl(session_id, 1) is False
        assert await manager.delete_session(session_id) is False
    assert await manager.validate_session("known") is True
    assert [record for record in caplog.records if record.name.startswith("chuk_sessions")] == []


async def test_members_of_a_str_enum(manager: SessionManager) -> None:
    """As an id, a user or a sandbox such a member counts as its text, whatever it prints as."""

    class Name(str, Enum):  # noqa: UP042 (StrEnum prints as its text)
        ALICE = "alice"

    session_id = await manager.allocate_session(Name.ALICE, Name.ALICE)
    assert type(session_id) is str
    info = await info_of(manager, "alice")
    assert type(info["user_id"]) is str
    assert info["user_id"] == "alice"
    for known in (Name.ALICE, "alice"):
        assert await manager.validate_session(known) is True
        assert (await info_of(manager, known))["session_id"] == "alice"
        assert await manager.update_session_metadata(known, {}) is True
        assert await manager.extend_session_ttl(known, 1) is True
    assert await manager.delete_session(Name.ALICE) is True
    assert SessionManager(Name.ALICE).get_session_prefix_pattern() == "grid/alice/"


async def test_two_managers_see_the_same_sessions(manager_factory: Callable[..., SessionManager]) -> None:
    """A session ended through one is ended for the other, at once."""
    one, other = manager_factory(), manager_factory()
    session_id = await one.allocate_session(custom_metadata={"a": 1})
    assert await other.validate_session(session_id) is True
    assert await other.update_session_metadata(session_id, {"b": 2}) is True
    assert (await info_of(one, session_id))["custom_metadata"] == {"a": 1, "b": 2}
    assert await other.delete_session(session_id) is True
    assert await one.validate_session(session_id) is False


async def test_sandboxes_are_isolated(manager_factory: Callable[..., SessionManager]) -> None:
    """No tenant reads, changes or deletes another's session, even knowing its id; both may use the same id."""
    mine, theirs = manager_factory("mine"), manager_factory("theirs")
    session_id = await theirs.allocate_session("shared", "bob", 1, {"secret": 1})
    assert await mine.validate_session(session_id) is False
    assert await mine.get_session_info(session_id) is None
    assert await mine.update_session_metadata(session_id, {"secret": 2}) is False
    assert await mine.extend_session_ttl(session_id, 1) is False
    assert await mine.delete_session(session_id) is False
    assert await mine.allocate_session("shared", "alice", 1, {"own": 1}) == "shared"
    assert (await info_of(mine, "shared"))["custom_metadata"] == {"own": 1}
    assert await mine.delete_session("shared") is True
    info = await info_of(theirs, "shared")
    assert (info["user_id"], info["custom_metadata"], info["sandbox_id"]) == ("bob", {"secret": 1}, "theirs")


async def test_cache_stats(manager_factory: Callable[..., SessionManager], request: pytest.FixtureRequest) -> None:
    """Live sessions of this sandbox on memory, 0 where nothing is kept in the process."""
    manager, other = manager_factory(default_ttl_hours=2.5), manager_factory("other")
    session_ids = [await manager.allocate_session() for _ in range(3)]
    await manager.delete_session(session_ids[0])
    await other.allocate_session()
    live, most = (2, sys.maxsize) if request.node.callspec.id in ("memory", "memory-no-gil", "wrapped") else (0, 0)
    assert manager.get_cache_stats() == {
        "cached_sessions": live,
        "max_cache_size": most,
        "sandbox_id": "box",
        "default_ttl_hours": 2.5,
    }


def test_cache_stats_of_a_bounded_store() -> None:
    """The bound is the store's own, whatever the variables say."""
    manager = SessionManager("box", memory.factory(memory.MemoryStore(max_items=7)))
    assert manager.get_cache_stats()["max_cache_size"] == 7


async def test_session_metadata(manager_factory: Callable[..., SessionManager]) -> None:
    """The info dict as an object; None where that is None; no touch."""
    manager = manager_factory()
    session_id = await manager.allocate_session(user_id="alice", custom_metadata={"a": [1]})
    info = await info_of(manager, session_id)
    metadata = await manager.get_session_metadata(session_id)
    assert isinstance(metadata, SessionMetadata)
    assert metadata.to_dict() == info == await manager.get_session_info(session_id)
    assert metadata.status is SessionStatus.ACTIVE
    assert await manager.get_session_metadata("unknown") is None


async def test_cleanup(manager_factory: Callable[..., SessionManager]) -> None:
    """Storage that cleans up by itself has nothing to report, and what lives stays."""
    manager = manager_factory()
    session_id = await manager.allocate_session()
    assert await manager.cleanup_expired_sessions() == 0
    assert await manager.validate_session(session_id) is True


async def test_cleanup_on_memory() -> None:
    """What has expired in this sandbox is counted and removed, once; other sandboxes are left alone."""
    clock = Clock()
    factory = memory.factory(memory.MemoryStore(clock=clock))
    mine, theirs = SessionManager("mine", factory), SessionManager("theirs", factory)
    for _ in range(5):
        await mine.allocate_session(ttl_hours=1)
        await theirs.allocate_session(ttl_hours=1)
    kept = await mine.allocate_session(ttl_hours=2)
    clock.move(3600)
    assert await mine.cleanup_expired_sessions() == 5
    assert await mine.cleanup_expired_sessions() == 0
    assert await mine.validate_session(kept) is True
    assert await theirs.cleanup_expired_sessions() == 5


async def test_times_are_now(manager: SessionManager) -> None:
    """Of two sessions the later one was created later, and both are as old as the clock says."""
    first = await manager.allocate_session()
    await time_passes(0.01)
    second = await manager.allocate_session()
    times = [seconds((await info_of(manager, session_id))["created_at"]) for session_id in (first, second)]
    assert times[0] + 0.01 <= times[1] <= time.time() + 1e-3
