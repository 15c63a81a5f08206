"""Arguments of the wrong type or size: the same answer on every implementation, and nothing is stored or ended."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import MetadataError, NotSupportedError, SessionManager
from tests.support import published

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from tests.support.servers import Server

NO_IDS: tuple[Any, ...] = (None, 5, 1.5, True, b"id", bytearray(b"id"), ["id"], ("id",), {"id": 1}, ...)
LONG_IDS = ("x" * 1025, "é" * 513, "☃" * 342, "\ud800" * 342, "x" * 64_000, "☃" * 64_000)
LONGEST_IDS = ("x" * 1024, "é" * 512, "☃" * 341 + "x", "sess-" + "1" * 1000)
LONG_USERS = ("x" * 65_537, "☃" * 21_846)
LONGEST_USERS = ("x" * 65_536, "☃" * 21_845 + "x")


class Id(str, Enum):  # noqa: UP042 (StrEnum prints as its text)
    KNOWN = "known"


async def live_ids(manager: SessionManager) -> list[str]:
    return [session_id for session_id in ("known", "other", "third") if await manager.validate_session(session_id)]


@pytest.fixture
async def alice(manager: SessionManager) -> SessionManager:
    """A manager with two sessions of alice and one of bob."""
    for session_id, user_id in (("known", "alice"), ("other", "alice"), ("third", "bob")):
        await manager.allocate_session(session_id, user_id)
    return manager


# What code written for 0.2 may ask with: what is no text is not found there.
LOOKUPS: dict[str, tuple[Callable[[SessionManager, Any], Awaitable[Any]], Any]] = {
    "validate": (lambda manager, session_id: manager.validate_session(session_id), False),
    "info": (lambda manager, session_id: manager.get_session_info(session_id), None),
    "object": (lambda manager, session_id: manager.get_session_metadata(session_id), None),
    "update": (lambda manager, session_id: manager.update_session_metadata(session_id, {"a": 1}), False),
    "extend": (lambda manager, session_id: manager.extend_session_ttl(session_id, 1), False),
    "delete": (lambda manager, session_id: manager.delete_session(session_id), False),
}
# The calls that 0.2 did not have.
NEWER: dict[str, Callable[[SessionManager, Any], Awaitable[Any]]] = {
    "allocate": lambda manager, session_id: manager.allocate_session(session_id),
    "increment": lambda manager, session_id: manager.increment_session_metadata(session_id, "n"),
    "renew": lambda manager, session_id: manager.renew_session(session_id),
    "set ttl": lambda manager, session_id: manager.set_session_ttl(session_id, 1),
    "open": lambda manager, session_id: manager.open_session(session_id),
}


@pytest.mark.parametrize("call", LOOKUPS)
async def test_asking_with_what_is_no_id(manager: SessionManager, call: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is logged: what a client sends says nothing of the storage."""
    ask, nothing = LOOKUPS[call]
    await manager.allocate_session("id")
    for session_id in (*NO_IDS, *LONGEST_IDS):
        assert await ask(manager, session_id) is nothing, session_id
    for session_id in LONG_IDS:
        with pytest.raises(ValueError, match=r"^session_id must be at most 1024 bytes of UTF-8"):
            await ask(manager, session_id)
    assert await manager.validate_session("id") is True
    assert caplog.messages == []


@pytest.mark.parametrize("call", NEWER)
async def test_what_is_no_id(manager: SessionManager, call: str) -> None:
    for session_id in NO_IDS:
        if call == "allocate" and session_id is None:
            continue
        with pytest.raises(TypeError, match=f"^session_id must be a str, got {type(session_id).__name__}"):
            await NEWER[call](manager, session_id)
    for session_id in LONG_IDS:
        with pytest.raises(ValueError, match=r"^session_id must be at most 1024 bytes of UTF-8"):
            await NEWER[call](manager, session_id)


@pytest.mark.parametrize("user_id", [1, b"alice", ["alice"], True], ids=repr)
async def test_a_user_to_log_in_that_is_no_text(alice: SessionManager, user_id: Any) -> None:
    with pytest.raises(TypeError, match=f"^user_id must be a str or None, got {type(user_id).__name__}"):
        await alice.renew_session("known", user_id=user_id)
    with pytest.raises(ValueError, match=r"^user_id must be at most 65536 bytes of UTF-8"):
        await alice.renew_session("known", user_id="x" * 65_537)
    with pytest.raises((MetadataError, NotSupportedError)):
        await alice.renew_session("known", custom_metadata=[("a", 1)])  # type: ignore[arg-type]
    assert await alice.validate_session("known") is True


@pytest.mark.parametrize("owner", [1, b"alice", ["alice"], True], ids=repr)
async def test_an_owner_that_is_no_text(alice: SessionManager, owner: Any) -> None:
    with pytest.raises(TypeError, match=f"^owner must be a str or None, got {type(owner).__name__}"):
        await alice.open_session("known", owner=owner)
    with pytest.raises(ValueError, match=r"^owner must be at most 65536 bytes of UTF-8"):
        await alice.open_session("known", owner="x" * 65_537)


async def test_the_longest_ids(manager: SessionManager) -> None:
    for number, session_id in enumerate(LONGEST_IDS):
        assert await manager.allocate_session(session_id, "alice", custom_metadata={"n": number}) == session_id
        assert await manager.increment_session_metadata(session_id, "n") == number + 1
        assert await manager.validate_sessions([session_id]) == [True]
        assert await manager.open_session(session_id, owner="alice") is not None
        assert await manager.delete_sessions([session_id]) == [True]


async def test_members_of_a_str_enum(alice: SessionManager) -> None:
    """They are str: everywhere the id is their text."""
    known: Any
    for known in (Id.KNOWN, type("Id", (str,), {})("known")):
        assert await alice.validate_session(known) is True
        assert await alice.validate_sessions([known, "x"]) == [True, False]
        assert await alice.increment_session_metadata(known, "n") is not None
        assert await alice.allocate_session(known, "alice") == "known"
    assert await alice.delete_sessions([Id.KNOWN]) == [True]


@pytest.mark.parametrize("user_id", [None, 5, b"alice", ["alice"]], ids=repr)
async def test_what_is_no_user(manager_of_users: SessionManager, user_id: Any) -> None:
    manager = manager_of_users
    calls: list[Callable[[Any], Awaitable[Any]]] = [manager.list_user_sessions, manager.delete_user_sessions]
    if user_id is not None:
        calls += [
            lambda user: manager.allocate_session(user_id=user),
            lambda user: manager.allocate_session("id", user),
        ]
    for call in calls:
        with pytest.raises(TypeError, match=f"^user_id must be a str.*, got {type(user_id).__name__}"):
            await call(user_id)
    assert await manager.count_sessions() == 0


async def test_users_that_are_too_long(manager_of_users: SessionManager) -> None:
    """64 KiB of UTF-8 are allowed: a user id is part of the index."""
    manager = manager_of_users
    for user_id in LONG_USERS:
        for call in (
            manager.list_user_sessions(user_id),
            manager.delete_user_sessions(user_id),
            manager.allocate_session(user_id=user_id),
            manager.allocate_session("id", user_id),
        ):
            with pytest.raises(ValueError, match=r"^user_id must be at most 65536 bytes of UTF-8"):
                await call
    assert await manager.count_sessions() == 0
    for user_id in LONGEST_USERS:
        made = {await manager.allocate_session(user_id=user_id), await manager.allocate_session("id", user_id)}
        assert {info["session_id"] for info in await manager.list_user_sessions(user_id)} == made
        assert await manager.delete_user_sessions(user_id) == 2


@pytest.fixture
def manager_of_users(manager: SessionManager, request: pytest.FixtureRequest) -> SessionManager:
    """On what knows which sessions a user has."""
    if "custom" in request.node.callspec.id:
        pytest.skip("a custom provider has no index of users")
    return manager


@pytest.fixture
async def alice_indexed(manager_of_users: SessionManager, alice: SessionManager) -> SessionManager:
    return alice


@pytest.mark.parametrize("keep", [b"known", bytearray(b"known"), 0, 5, False, ..., {"known": 1}], ids=repr)
async def test_what_cannot_be_kept(alice_indexed: SessionManager, keep: Any) -> None:
    """It must never end the session that was meant to be kept."""
    with pytest.raises(TypeError, match=f"^keep must be several ids, one id or None, got {type(keep).__name__}"):
        await alice_indexed.delete_user_sessions("alice", keep=keep)
    assert await live_ids(alice_indexed) == ["known", "other", "third"]


@pytest.mark.parametrize("keep", [["known", None], [b"known"], (5,), ["known", 1]], ids=repr)
async def test_items_that_cannot_be_kept(alice_indexed: SessionManager, keep: Any) -> None:
    with pytest.raises(TypeError, match=r"^each id in keep must be a str, got \w+"):
        await alice_indexed.delete_user_sessions("alice", keep=keep)
    with pytest.raises(TypeError, match=r"^each id in keep must be a str, got \w+"):
        await alice_indexed.delete_user_sessions("alice", keep=iter(keep))
    assert await live_ids(alice_indexed) == ["known", "other", "third"]


@pytest.mark.parametrize("long", ["x" * 1025, ["x" * 1025]], ids=["one", "several"])
async def test_ids_to_keep_that_are_too_long(alice_indexed: SessionManager, long: Any) -> None:
    with pytest.raises(ValueError, match=r"keep must be at most 1024 bytes"):
        await alice_indexed.delete_user_sessions("alice", keep=long)
    assert await live_ids(alice_indexed) == ["known", "other", "third"]


@pytest.mark.parametrize("keep", [Id.KNOWN, (Id.KNOWN,), {"known": 1}.keys(), frozenset(["known"])], ids=repr)
async def test_what_can_be_kept(alice_indexed: SessionManager, keep: Any) -> None:
    assert await alice_indexed.delete_user_sessions("alice", keep=keep) == 1
    assert await live_ids(alice_indexed) == ["known", "third"]


@pytest.mark.parametrize("wrong", ["known", b"known", None, 5, {"known": 1}, ...], ids=repr)
async def test_what_is_not_several(alice: SessionManager, wrong: Any) -> None:
    """A single id in the place of several is never taken apart."""
    for call in (alice.validate_sessions, alice.delete_sessions):
        with pytest.raises(TypeError, match=f"^session_ids must be several ids, got {type(wrong).__name__}"):
            await call(wrong)
    with pytest.raises(TypeError, match=f"^requests must be several dicts of arguments, got {type(wrong).__name__}"):
        await alice.allocate_sessions(wrong)
    assert await live_ids(alice) == ["known", "other", "third"]


async def test_one_item_that_is_wrong(alice: SessionManager) -> None:
    """The error stands in its place, and the others are done."""
    for call, last in ((alice.validate_sessions, True), (alice.delete_sessions, False)):
        results = await call(["known", None, "unknown", b"known", 5, "x" * 1025, "third", "known"])  # type: ignore[list-item]
        assert [results[0], results[2], results[6], results[7]] == [True, False, True, last]
        assert [type(results[number]) for number in (1, 3, 4)] == [TypeError] * 3
        assert str(results[1]) == "a session id must be a str, got NoneType"
        assert isinstance(results[5], ValueError)
    assert await live_ids(alice) == ["other"]


class Broken(Mapping[str, Any]):
    """A request that cannot be read."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("no such thing")

    def __iter__(self) -> Iterator[str]:
        return iter(["user_id"])

    def __len__(self) -> int:
        return 1


async def test_one_request_that_is_wrong(manager: SessionManager) -> None:
    wrong: list[Any] = [
        None,
        "user_id",
        [("user_id", "alice")],
        {"user": "alice"},
        {1: 2},
        {"user_id": 5},
        {"session_id": 5},
        {"session_id": "x" * 1025},
        {"ttl_hours": "1"},
        {"custom_metadata": ["a"]},
        Broken(),
    ]
    good: list[Any] = [{"session_id": "first"}, MappingProxyType({"session_id": "last", "user_id": "alice"})]
    results = await manager.allocate_sessions([good[0], *wrong, good[1]])
    assert (results[0], results[-1]) == ("first", "last")
    kinds = [TypeError] * 7 + [ValueError, TypeError, MetadataError, RuntimeError]
    for result, kind in zip(results[1:-1], kinds, strict=True):
        assert isinstance(result, kind), result
    assert str(results[1]) == "a request must be a dict of arguments, got NoneType"
    assert "'user'" in str(results[4])
    assert await manager.validate_sessions(["first", "last"]) == [True, True]


async def test_iterables_that_fail(manager: SessionManager) -> None:
    """What they raise is raised; no call was begun, and none is left that nobody awaits."""

    def ids() -> Iterator[Any]:
        yield {"session_id": "one"}
        raise RuntimeError("half way")

    for call in (manager.allocate_sessions, manager.validate_sessions, manager.delete_sessions):
        with pytest.raises(RuntimeError, match="half way"):
            await call(ids())
    assert await manager.validate_session("one") is False


@pytest.mark.parametrize("field", [None, 1.5, b"n", ["n"]], ids=repr)
async def test_fields_and_amounts_to_count(alice: SessionManager, field: Any) -> None:
    with pytest.raises(TypeError, match=f"^field must be a str, got {type(field).__name__}"):
        await alice.increment_session_metadata("known", field)
    with pytest.raises(TypeError, match=f"^amount must be an int, got {type(field).__name__}"):
        await alice.increment_session_metadata("known", "n", field)
    info = await alice.get_session_info("known")
    assert info is not None
    assert info["custom_metadata"] == {}


@pytest.mark.parametrize("grace", ["1", b"1", [1], {}, ...], ids=repr)
async def test_graces(alice_indexed: SessionManager, grace: Any) -> None:
    with pytest.raises(TypeError, match=f"^grace_seconds must be a number of seconds, got {type(grace).__name__}"):
        await alice_indexed.renew_session("known", grace)
    assert await live_ids(alice_indexed) == ["known", "other", "third"]


def test_every_argument_is_covered() -> None:
    """A new argument of a call gets a test here, in ``test_errors`` (hours, metadata) or in ``test_grid``."""
    members = inspect.getmembers(SessionManager, inspect.isfunction)
    public = [method for name, method in members if not name.startswith("_")]
    assert {name for method in public for name in list(inspect.signature(method).parameters)[1:]} == {
        *("session_id", "user_id", "ttl_hours", "custom_metadata", "merge", "remove", "field", "amount", "owner"),
        *("additional_hours", "grace_seconds", "keep", "thorough", "batch", "requests", "session_ids"),
        *("artifact_id", "grid_key"),
    }


@pytest.mark.redis
async def test_a_long_id_of_a_published_version(redis_server: Server, redis_url: str, legacy_read: None) -> None:
    """It stays where it is."""
    from chuk_sessions.providers import redis
    from tests.support.migrations import run

    session_id = "x" * 2000
    published.put(redis_server, session_id)
    manager = SessionManager("box", redis.factory(redis_url), strict=True)
    for ask, _ in LOOKUPS.values():
        with pytest.raises(ValueError, match=r"^session_id must be at most 1024 bytes of UTF-8"):
            await ask(manager, session_id)
    assert await run(redis_url, redis_url) == {"seen": 1, "left_behind": 1}
    assert published.is_there(redis_server, session_id)
