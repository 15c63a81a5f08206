"""The contract of `SessionStore`, for every implementation."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import MetadataError
from chuk_sessions.models import SessionRecord
from chuk_sessions.stores.contract import Existing
from tests.support.helpers import eventually, time_passes

if TYPE_CHECKING:
    from collections.abc import Callable

    from chuk_sessions.stores.contract import SessionStore

ODD_IDS = ("a:b", "{a}", "a b", "ключ", "*", "a%2Fb", "a\r\nb", "a\0b", "\ud800", "a/b", "x" * 5000)


async def read(store: SessionStore, session_id: str = "id") -> SessionRecord:
    """The session, which must be there."""
    record = await store.read(session_id)
    assert record is not None
    return record


async def test_create_and_read(session_store: SessionStore) -> None:
    """All parts come back; the times are those of the call."""
    before = time.time()
    assert await session_store.create("id", "alice", 3600, {"role": "admin"}) is None
    after = time.time()
    record = await read(session_store)
    assert record.user_id == "alice"
    assert record.metadata == {"role": "admin"}
    assert record.status == "active"
    assert before - 0.001 <= record.created <= after + 0.001
    assert record.accessed == record.created
    assert record.expires == pytest.approx(record.created + 3600, abs=1e-3)


@pytest.mark.parametrize("user_id", [None, "", "alice", "a:b/{c}", "\0", "Ærøskøbing", "\ud800"], ids=repr)
async def test_user_ids(session_store: SessionStore, user_id: str | None) -> None:
    """Any text is a user, and the empty one is not nobody."""
    await session_store.create("id", user_id, 3600, {})
    assert (await read(session_store)).user_id == user_id
    assert await session_store.create("id", "other", 3600, {}) == Existing(user_id)


async def test_what_is_not_there(session_store: SessionStore) -> None:
    """Not found is an answer, never an error, and no operation but `create` brings a session into being."""
    for _ in range(2):
        assert await session_store.read("id") is None
        assert await session_store.touch("id", 0) is False
        assert await session_store.touch("id", 60) is False
        assert await session_store.update("id", {"a": 1}, False) is False
        assert await session_store.update("id", {"a": 1}, True) is False
        assert await session_store.extend("id", 60) is False
        assert await session_store.delete("id") is False


async def test_a_deleted_session_is_not_revived(session_store: SessionStore) -> None:
    await session_store.create("id", None, 3600, {})
    assert await session_store.touch("id", 60) is True
    assert await session_store.delete("id") is True
    await test_what_is_not_there(session_store)


async def test_an_expired_session_is_not_found(session_store: SessionStore) -> None:
    """Nor can it be touched, changed, extended or deleted back to life."""
    await session_store.create("id", None, 0.05, {})
    await time_passes(0.06)
    await test_what_is_not_there(session_store)


async def test_an_id_can_be_used_again(session_store: SessionStore) -> None:
    """A new session in the place of a deleted or an expired one has nothing of the old."""
    await session_store.create("id", "old", 3600, {"old": 1})
    await session_store.delete("id")
    assert await session_store.create("id", "short", 0.05, {"short": 1}) is None
    await time_passes(0.06)
    assert await session_store.create("id", None, 3600, {"new": 1}) is None
    record = await read(session_store)
    assert (record.user_id, record.metadata) == (None, {"new": 1})


async def test_create_on_a_live_id_touches_only(session_store: SessionStore) -> None:
    """The session that is there is reported; user, deadline and metadata stay its own."""
    await session_store.create("id", "alice", 3600, {"a": 1})
    old = await read(session_store)
    await time_passes(0.01)
    assert await session_store.create("id", "bob", 60, {"b": 2}) == Existing("alice")
    new = await read(session_store)
    assert new.accessed > old.accessed
    new.accessed = old.accessed
    assert new == old


async def test_the_deadline_of_create_on_a_live_id_stays(session_store: SessionStore) -> None:
    """Neither record nor storage takes the shorter lifetime."""
    await session_store.create("id", None, 3600, {})
    await session_store.create("id", None, 0.05, {})
    await time_passes(0.1)
    assert await session_store.touch("id", 0) is True


async def test_reading_does_not_touch(session_store: SessionStore) -> None:
    await session_store.create("id", None, 3600, {})
    old = await read(session_store)
    await time_passes(0.01)
    assert await read(session_store) == old


async def test_touch(session_store: SessionStore) -> None:
    """Only the time of last access changes; in particular the deadline does not move."""
    await session_store.create("id", "alice", 3600, {"a": 1})
    old = await read(session_store)
    await time_passes(0.01)
    assert await session_store.touch("id", 0) is True
    new = await read(session_store)
    assert new.accessed >= old.accessed + 0.01
    new.accessed = old.accessed
    assert new == old


async def test_touch_interval(session_store: SessionStore) -> None:
    """A session touched less than the interval ago is alive all the same, and is not written."""
    await session_store.create("id", None, 3600, {})
    old = await read(session_store)
    await time_passes(0.02)
    for _ in range(3):
        assert await session_store.touch("id", 60) is True
        assert await read(session_store) == old
    assert await session_store.touch("id", 0.01) is True
    assert (await read(session_store)).accessed > old.accessed


async def test_touch_interval_comes_round(session_store: SessionStore) -> None:
    """Once the interval has passed, the same call writes."""
    await session_store.create("id", None, 3600, {})
    old = await read(session_store)

    async def written() -> bool:
        assert await session_store.touch("id", 0.05) is True
        return (await read(session_store)).accessed > old.accessed

    await eventually(written, patience=2)
    assert (await read(session_store)).accessed >= old.accessed + 0.045


async def test_touch_interval_and_deletion(open_sessions: Callable[[str], SessionStore]) -> None:
    """However long the interval, a session that another store deleted is not found at once."""
    mine, theirs = open_sessions("box"), open_sessions("box")
    await mine.create("id", None, 3600, {})
    assert await mine.touch("id", 60) is True
    assert await mine.touch("id", 60) is True
    assert await theirs.delete("id") is True
    assert await mine.touch("id", 60) is False


async def test_merge(session_store: SessionStore) -> None:
    """Given keys are set, others stay, values are replaced whole; and the session is touched."""
    await session_store.create("id", "alice", 3600, {"a": 1, "b": {"x": 1}})
    old = await read(session_store)
    await time_passes(0.01)
    assert await session_store.update("id", {"b": {"y": 2}, "c": None}, False) is True
    new = await read(session_store)
    assert new.metadata == {"a": 1, "b": {"y": 2}, "c": None}
    assert new.accessed > old.accessed
    assert (new.user_id, new.created, new.expires) == (old.user_id, old.created, old.expires)


async def test_replace(session_store: SessionStore) -> None:
    """The metadata becomes exactly what is given; and the session is touched."""
    await session_store.create("id", "alice", 3600, {"a": 1, "b": 2})
    old = await read(session_store)
    await time_passes(0.01)
    assert await session_store.update("id", {"b": 3}, True) is True
    new = await read(session_store)
    assert new.metadata == {"b": 3}
    assert new.accessed > old.accessed
    assert (new.user_id, new.created, new.expires) == (old.user_id, old.created, old.expires)


@pytest.mark.parametrize("replace", [False, True])
async def test_update_with_nothing(session_store: SessionStore, replace: bool) -> None:
    """Merging nothing changes nothing, replacing by nothing leaves nothing; both touch."""
    await session_store.create("id", None, 3600, {"a": 1})
    old = await read(session_store)
    await time_passes(0.01)
    assert await session_store.update("id", {}, replace) is True
    new = await read(session_store)
    assert new.metadata == ({} if replace else {"a": 1})
    assert new.accessed > old.accessed


async def test_merging_keys_that_are_no_text(session_store: SessionStore) -> None:
    """A key is the text that JSON makes of it, also where it meets one that is stored."""
    await session_store.create("id", None, 3600, {"1": "old", 2: "old", "false": "old", None: "old", "0.5": "old"})
    await session_store.update("id", {1: "new", "2": "new", False: "new", "null": "new", 0.5: "new"}, False)
    assert (await read(session_store)).metadata == dict.fromkeys(("1", "2", "false", "null", "0.5"), "new")


async def test_merging_two_keys_with_one_text(session_store: SessionStore) -> None:
    """Of 1 and "1" in one update the later one counts, whatever was stored before."""
    await session_store.create("id", None, 3600, {"1": "old"})
    await session_store.update("id", {1: "first", "1": "second"}, False)
    assert (await read(session_store)).metadata == {"1": "second"}


@pytest.mark.parametrize("metadata", [{"a": object()}, {"a": {"b": {1, 2}}}, {("a",): 1}, ["a"], "a", None], ids=repr)
async def test_refused_metadata_changes_nothing(session_store: SessionStore, metadata: Any) -> None:
    """Neither is a session made, nor one touched; and a refusal comes before `not found`."""
    with pytest.raises(MetadataError):
        await session_store.create("id", None, 3600, metadata)
    with pytest.raises(MetadataError):
        await session_store.update("id", metadata, False)
    assert await session_store.read("id") is None
    await session_store.create("id", None, 3600, {"kept": 1})
    old = await read(session_store)
    for replace in (False, True):
        with pytest.raises(MetadataError):
            await session_store.update("id", metadata, replace)
    with pytest.raises(MetadataError):
        await session_store.create("id", None, 3600, metadata)
    assert await read(session_store) == old


async def test_extend_counts_from_the_deadline(session_store: SessionStore) -> None:
    """Not from now; and it touches."""
    await session_store.create("id", "alice", 100, {"a": 1})
    old = await read(session_store)
    await time_passes(0.02)
    for times in (1, 2):
        assert await session_store.extend("id", 50.5) is True
        new = await read(session_store)
        assert new.expires == pytest.approx(old.expires + times * 50.5, abs=1e-3)
    assert new.accessed > old.accessed
    assert (new.user_id, new.created, new.metadata) == (old.user_id, old.created, old.metadata)


async def test_an_extended_session_lives_on(session_store: SessionStore) -> None:
    """The storage keeps it past its first deadline; touches and updates do not take the extension back."""
    await session_store.create("id", None, 0.2, {})
    await session_store.extend("id", 3600)
    await session_store.touch("id", 0)
    await session_store.update("id", {"a": 1}, False)
    await time_passes(0.25)
    assert await session_store.touch("id", 0) is True
    assert (await read(session_store)).metadata == {"a": 1}


async def test_an_extended_session_ends(session_store: SessionStore) -> None:
    await session_store.create("id", None, 0.05, {})
    assert await session_store.extend("id", 0.05) is True
    await time_passes(0.11)
    assert await session_store.read("id") is None
    assert await session_store.touch("id", 0) is False


async def test_touching_and_updating_do_not_lengthen_life(session_store: SessionStore) -> None:
    await session_store.create("id", None, 0.2, {})
    deadline = time.monotonic() + 0.2
    while await session_store.touch("id", 0) and await session_store.update("id", {"a": 1}, False):
        assert time.monotonic() < deadline + 1


async def test_what_is_read_is_a_copy(session_store: SessionStore) -> None:
    """Neither changing the dict that was stored nor the one that was read changes the session."""
    metadata: dict[str, Any] = {"list": [1], "dict": {"a": 1}}
    await session_store.create("id", None, 3600, metadata)
    metadata["list"].append(2)
    record = await read(session_store)
    record.metadata["dict"]["a"] = 2
    record.metadata["new"] = 1
    record.user_id = "mallory"
    assert (await read(session_store)).metadata == {"list": [1], "dict": {"a": 1}}
    assert (await read(session_store)).user_id is None


async def test_odd_ids_are_different_sessions(session_store: SessionStore) -> None:
    for number, session_id in enumerate(ODD_IDS):
        assert await session_store.create(session_id, None, 3600, {"n": number}) is None
    for number, session_id in enumerate(ODD_IDS):
        assert (await read(session_store, session_id)).metadata == {"n": number}
        assert await session_store.delete(session_id) is True


async def test_sandboxes_are_apart(open_sessions: Callable[[str], SessionStore]) -> None:
    """The same id in two sandboxes, even with names that would run together, is two sessions."""
    pairs = [("a", "b:c"), ("a:b", "c"), ("A", "b:c"), ("a%3Ab", "c"), ("a ", "b:c")]
    for sandbox, session_id in pairs:
        assert await open_sessions(sandbox).create(session_id, sandbox, 3600, {}) is None
    for sandbox, session_id in pairs:
        assert (await read(open_sessions(sandbox), session_id)).user_id == sandbox
        assert await open_sessions(sandbox).delete(session_id) is True
