"""The life of a session: it is created, read, touched and deleted, and is separate from all others."""

from __future__ import annotations

from typing import Any

import pytest

from chuk_sessions.stores import Existing, SessionStore, complete
from chuk_sessions.testing.contract.base import HOUR, OpenStore, StoreFixtures, Time, read

__all__ = ["LifeTests", "check_not_found"]

ODD_IDS = ("a:b", "{a}", "a b", "ключ", "*", "a%2Fb", "a\r\nb", "a\0b", "a", "A", "\ud800", "a/b", "x" * 1024)
# A store that joined the names of sandbox and session would take two of these for one.
RUNNING_TOGETHER = (("a", "b:c"), ("a:b", "c"), ("A", "b:c"), ("a%3Ab", "c"), ("a ", "b:c"))


async def check_not_found(store: SessionStore, session_id: str = "id") -> None:
    """Assert that no operation finds the session, and that none makes it."""
    for _ in range(2):
        assert await store.read(session_id) is None
        assert await store.touch(session_id, 0) is False
        assert await store.touch(session_id, 60) is False
        assert await complete(store).open(session_id, 0, None) is None
        assert await store.update(session_id, {"a": 1}, False) is False
        assert await store.update(session_id, {"a": 1}, True) is False
        assert await store.increment(session_id, "a", 1) is None
        assert await store.extend(session_id, 60) is False
        assert await store.extend(session_id, 60, from_now=True) is False
        assert await store.delete(session_id) is False


class LifeTests(StoreFixtures):
    """``create``, ``read``, ``touch``, ``delete`` and ``aclose``."""

    async def test_create_and_read(self, store: SessionStore, time: Time) -> None:
        """All parts are read back; the times are those of the call."""
        before = time.now()
        assert await store.create("id", "alice", HOUR, {"role": "admin"}) is None
        after = time.now()
        record = await read(store)
        assert record.user_id == "alice"
        assert record.metadata == {"role": "admin"}
        assert record.status == "active"
        assert before - self.clock_skew <= record.created <= after + self.clock_skew
        assert record.accessed == record.created
        assert record.expires == pytest.approx(record.created + HOUR, abs=1e-3)
        assert (record.idle, record.idle_expires) == (0, None)

    @pytest.mark.parametrize("user_id", [None, "", "alice", "a:b/{c}", "\0", "Ærøskøbing", "\ud800"], ids=repr)
    async def test_user_ids(self, store: SessionStore, user_id: str | None) -> None:
        """Any text is a user, and the empty text is a user too."""
        await store.create("id", user_id, HOUR, {})
        assert (await read(store)).user_id == user_id
        assert await store.create("id", "other", HOUR, {}) == Existing(user_id)

    async def test_a_session_that_never_was(self, store: SessionStore) -> None:
        """A session that is not found is no error, and only ``create`` makes a session."""
        await check_not_found(store)

    async def test_a_deleted_session_is_not_revived(self, store: SessionStore) -> None:
        """It stays deleted under all operations until it is created again."""
        await store.create("id", None, HOUR, {})
        assert await store.touch("id", 60) is True
        assert await store.delete("id") is True
        await check_not_found(store)

    async def test_an_expired_session_is_not_found(self, store: SessionStore, time: Time) -> None:
        """It cannot be touched, changed, extended or deleted either."""
        await store.create("id", None, 0.05, {})
        await time.passes(0.06)
        await check_not_found(store)

    async def test_an_id_can_be_used_again(self, store: SessionStore, time: Time) -> None:
        """A new session under the id of a deleted or an expired session has no data of the old session."""
        await store.create("id", "old", HOUR, {"old": 1})
        await store.delete("id")
        assert await store.create("id", "short", 0.05, {"short": 1}) is None
        await time.passes(0.06)
        assert await store.create("id", None, HOUR, {"new": 1}) is None
        record = await read(store)
        assert (record.user_id, record.metadata) == (None, {"new": 1})

    async def test_create_on_a_live_id_touches_only(self, store: SessionStore, time: Time) -> None:
        """The existing session is returned; it keeps its user, its deadline and its metadata."""
        await store.create("id", "alice", HOUR, {"a": 1})
        old = await read(store)
        await time.passes(0.01)
        assert await store.create("id", "bob", 60, {"b": 2}) == Existing("alice")
        new = await read(store)
        assert new.accessed > old.accessed
        new.accessed = old.accessed
        assert new == old

    async def test_the_deadline_of_create_on_a_live_id_stays(self, store: SessionStore, time: Time) -> None:
        """Neither the record nor the storage takes over the shorter lifetime."""
        await store.create("id", None, HOUR, {})
        await store.create("id", None, 0.05, {})
        await time.passes(0.1)
        assert await store.touch("id", 0) is True

    async def test_reading_does_not_touch(self, store: SessionStore, time: Time) -> None:
        """Two reads give the same record."""
        await store.create("id", None, HOUR, {})
        old = await read(store)
        await time.passes(0.01)
        assert await read(store) == old
        assert await read(store) == old

    async def test_touch(self, store: SessionStore, time: Time) -> None:
        """Only the time of last access changes; the deadline does not move."""
        await store.create("id", "alice", HOUR, {"a": 1})
        old = await read(store)
        await time.passes(0.01)
        assert await store.touch("id", 0) is True
        new = await read(store)
        assert new.accessed >= old.accessed + 0.01 - 1e-6
        new.accessed = old.accessed
        assert new == old

    async def test_touch_interval(self, store: SessionStore, time: Time) -> None:
        """A session that was touched less than the interval ago is found, and is not written."""
        await store.create("id", None, HOUR, {})
        old = await read(store)
        await time.passes(0.02)
        for _ in range(3):
            assert await store.touch("id", 60) is True
            assert await read(store) == old
        assert await store.touch("id", 0.01) is True
        assert (await read(store)).accessed > old.accessed

    async def test_touch_interval_comes_round(self, store: SessionStore, time: Time) -> None:
        """Once the interval has passed, the same call writes."""
        await store.create("id", None, HOUR, {})
        old = await read(store)

        async def written() -> bool:
            assert await store.touch("id", 0.05) is True
            return (await read(store)).accessed > old.accessed

        await time.until(written)
        assert (await read(store)).accessed >= old.accessed + 0.045

    async def test_touch_interval_and_deletion(self, open_sandbox: OpenStore) -> None:
        """A session that another store deleted is not found from that moment on, however long the interval is."""
        mine, theirs = open_sandbox("box"), open_sandbox("box")
        await mine.create("id", None, HOUR, {})
        assert await mine.touch("id", 60) is True
        assert await mine.touch("id", 60) is True
        assert await theirs.delete("id") is True
        assert await mine.touch("id", 60) is False

    async def test_what_is_read_is_a_copy(self, store: SessionStore) -> None:
        """Changing the dict that was stored, or the dict that was read, does not change the session."""
        metadata: dict[str, Any] = {"list": [1], "dict": {"a": 1}}
        await store.create("id", None, HOUR, metadata)
        metadata["list"].append(2)
        record = await read(store)
        record.metadata["dict"]["a"] = 2
        record.metadata["new"] = 1
        record.user_id = "mallory"
        assert (await read(store)).metadata == {"list": [1], "dict": {"a": 1}}
        assert (await read(store)).user_id is None

    async def test_what_was_merged_is_a_copy(self, store: SessionStore) -> None:
        """Changing a dict that was given to an update does not change the session."""
        await store.create("id", None, HOUR, {})
        for replace in (False, True):
            metadata = {"list": [1]}
            await store.update("id", metadata, replace)
            metadata["list"].append(2)
            assert (await read(store)).metadata == {"list": [1]}

    async def test_odd_ids_are_different_sessions(self, store: SessionStore) -> None:
        """Any text is an id, and two different texts are two different ids."""
        for number, session_id in enumerate(ODD_IDS):
            assert await store.create(session_id, None, HOUR, {"n": number}) is None
        for number, session_id in enumerate(ODD_IDS):
            assert (await read(store, session_id)).metadata == {"n": number}
            assert await store.delete(session_id) is True

    async def test_sandboxes_are_apart(self, open_sandbox: OpenStore) -> None:
        """The same id in two sandboxes is two sessions, even where sandbox and id, joined, give the same text."""
        for sandbox, session_id in RUNNING_TOGETHER:
            assert await open_sandbox(sandbox).create(session_id, sandbox, HOUR, {}) is None
        for sandbox, session_id in RUNNING_TOGETHER:
            assert (await read(open_sandbox(sandbox), session_id)).user_id == sandbox
            assert await open_sandbox(sandbox).delete(session_id) is True

    async def test_no_operation_reaches_another_sandbox(self, open_sandbox: OpenStore) -> None:
        """A caller with an id of another sandbox cannot read, change or end that session."""
        mine, theirs = open_sandbox("mine"), open_sandbox("theirs")
        await theirs.create("id", "bob", HOUR, {"secret": 1})
        old = await read(theirs)
        await check_not_found(mine)
        assert await mine.create("id", "alice", HOUR, {"own": 1}) is None
        assert await mine.delete("id") is True
        assert await read(theirs) == old

    async def test_closing_a_store_leaves_the_sessions(self, open_sandbox: OpenStore) -> None:
        """Other stores of the same storage still work, and a second close does nothing."""
        first, second = open_sandbox("box"), open_sandbox("box")
        await first.create("id", "alice", HOUR, {"a": 1})
        await first.aclose()
        await first.aclose()
        assert (await read(second)).metadata == {"a": 1}
        assert (await read(open_sandbox("box"))).user_id == "alice"
