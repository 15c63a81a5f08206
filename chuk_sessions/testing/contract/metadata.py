"""Metadata: stored, merged, replaced or refused. It reads back as it would after a way through JSON."""

from __future__ import annotations

from typing import Any

import pytest

from chuk_sessions.codec import MAX_LEVELS
from chuk_sessions.exceptions import MetadataError
from chuk_sessions.stores import SessionStore
from chuk_sessions.testing.contract.base import HOUR, StoreFixtures, Time, read
from chuk_sessions.testing.samples import SAMPLES, as_json, same

__all__ = ["MetadataTests"]

MANY = 10_000  # more arguments than one call in a scripting language such as Lua takes
REFUSED = [{"a": ...}, {"a": {"b": {1, 2}}}, {("a",): 1}, ["a"], "a", None]


class MetadataTests(StoreFixtures):
    """``update``, and the metadata that ``create`` takes and ``read`` gives."""

    async def test_merge(self, store: SessionStore, time: Time) -> None:
        """The given keys are set and the others stay. A value is replaced as a whole. The session is touched."""
        await store.create("id", "alice", HOUR, {"a": 1, "b": {"x": 1}})
        old = await read(store)
        await time.passes(0.01)
        assert await store.update("id", {"b": {"y": 2}, "c": None}, False) is True
        new = await read(store)
        assert new.metadata == {"a": 1, "b": {"y": 2}, "c": None}
        assert new.accessed > old.accessed
        assert (new.user_id, new.created, new.expires) == (old.user_id, old.created, old.expires)

    async def test_replace(self, store: SessionStore, time: Time) -> None:
        """The session has exactly the given metadata afterwards, and is touched."""
        await store.create("id", "alice", HOUR, {"a": 1, "b": 2})
        old = await read(store)
        await time.passes(0.01)
        assert await store.update("id", {"b": 3}, True) is True
        new = await read(store)
        assert new.metadata == {"b": 3}
        assert new.accessed > old.accessed
        assert (new.user_id, new.created, new.expires) == (old.user_id, old.created, old.expires)

    @pytest.mark.parametrize("replace", [False, True], ids=["merge", "replace"])
    async def test_update_with_nothing(self, store: SessionStore, time: Time, replace: bool) -> None:
        """Merging an empty dict changes nothing; replacing with it leaves no key. Both touch."""
        await store.create("id", None, HOUR, {"a": 1})
        old = await read(store)
        await time.passes(0.01)
        assert await store.update("id", {}, replace) is True
        new = await read(store)
        assert new.metadata == ({} if replace else {"a": 1})
        assert new.accessed > old.accessed

    async def test_merging_keys_that_are_no_text(self, store: SessionStore) -> None:
        """A key becomes the text that JSON makes of it, and replaces a stored key with that text."""
        await store.create("id", None, HOUR, {"1": "old", 2: "old", "false": "old", None: "old", "0.5": "old"})
        await store.update("id", {1: "new", "2": "new", False: "new", "null": "new", 0.5: "new"}, False)
        assert (await read(store)).metadata == dict.fromkeys(("1", "2", "false", "null", "0.5"), "new")

    async def test_merging_two_keys_with_one_text(self, store: SessionStore) -> None:
        """Of 1 and "1" in one update the later key counts, whatever was stored before."""
        await store.create("id", None, HOUR, {"1": "old"})
        await store.update("id", {1: "first", "1": "second"}, False)
        assert (await read(store)).metadata == {"1": "second"}

    async def test_removing_keys(self, store: SessionStore, time: Time) -> None:
        """Keys are removed and set in one call; all else stays. The session is touched."""
        await store.create("id", "alice", HOUR, {"a": 1, "b": {"x": 1}, "c": "kept"})
        old = await read(store)
        await time.passes(0.01)
        assert await store.update("id", {"d": [2]}, False, remove=("a", "b")) is True
        new = await read(store)
        assert new.metadata == {"c": "kept", "d": [2]}
        assert new.accessed > old.accessed
        assert (new.user_id, new.created, new.expires) == (old.user_id, old.created, old.expires)
        assert await store.update("id", {}, False, remove=["c", "d"]) is True
        assert (await read(store)).metadata == {}

    async def test_removing_a_key_that_is_not_there(self, store: SessionStore, time: Time) -> None:
        """It is no error: the other keys are removed, and the session is touched. A missing session is not found."""
        await store.create("id", None, HOUR, {"a": 1, "b": 2})
        old = await read(store)
        await time.passes(0.01)
        assert await store.update("id", {}, False, remove=("x", "a")) is True
        new = await read(store)
        assert new.metadata == {"b": 2}
        assert new.accessed > old.accessed
        assert await store.update("unknown", {"a": 1}, False, remove=("b",)) is False
        assert await store.read("unknown") is None

    async def test_any_text_is_a_key_to_remove(self, store: SessionStore) -> None:
        """A key may have the name of a field of the record, which stays. A key with a similar name stays too."""
        names = dict.fromkeys(("", "\0", "*", "m:", "m:user", "user", "v", "expires", "1", "\ud800", "ключ"), 1)
        await store.create("id", "alice", HOUR, names | {"User": 2, "m:m:": 3})
        before = await read(store)
        assert await store.update("id", {}, False, remove=names.keys()) is True
        after = await read(store)
        assert after.metadata == {"User": 2, "m:m:": 3}
        assert (after.user_id, after.expires, after.status) == ("alice", before.expires, "active")
        assert await store.touch("id", 0) is True

    async def test_removing_ten_thousand_keys(self, store: SessionStore) -> None:
        """They are removed in the step that sets as many other keys."""
        many = {f"key-{n}": n for n in range(MANY)}
        others = {f"other-{n}": n for n in range(MANY)}
        await store.create("id", None, HOUR, {**many, "kept": 1})
        assert await store.update("id", others, False, remove=many.keys()) is True
        assert (await read(store)).metadata == {**others, "kept": 1}

    async def test_refused_metadata_removes_nothing(self, store: SessionStore) -> None:
        """The call is refused before anything changes."""
        await store.create("id", None, HOUR, {"kept": 1})
        old = await read(store)
        for metadata in REFUSED:
            with pytest.raises(MetadataError):
                await store.update("id", metadata, False, remove=("kept",))  # type: ignore[arg-type]
        assert await read(store) == old

    @pytest.mark.parametrize("metadata", REFUSED, ids=repr)
    async def test_refused_metadata_changes_nothing(self, store: SessionStore, time: Time, metadata: Any) -> None:
        """No session is made, and none is touched. Metadata is refused before the session is looked up."""
        with pytest.raises(MetadataError):
            await store.create("id", None, HOUR, metadata)
        for replace in (False, True):
            with pytest.raises(MetadataError):
                await store.update("id", metadata, replace)
        assert await store.read("id") is None
        await store.create("id", None, HOUR, {"kept": 1})
        old = await read(store)
        await time.passes(0.002)
        for replace in (False, True):
            with pytest.raises(MetadataError):
                await store.update("id", metadata, replace)
        with pytest.raises(MetadataError):
            await store.create("id", None, HOUR, metadata)
        assert await read(store) == old

    @pytest.mark.parametrize("metadata", SAMPLES.values(), ids=SAMPLES)
    async def test_samples(self, store: SessionStore, metadata: dict[Any, Any]) -> None:
        """Created, merged or replaced with, each sample reads back as JSON gives it."""
        expected = as_json(metadata)
        await store.create("id", None, HOUR, metadata)
        assert same((await read(store)).metadata, expected)
        assert await store.update("id", {"other key": 1}, False) is True
        assert same((await read(store)).metadata, {**expected, "other key": 1})
        assert await store.update("id", metadata, False) is True
        assert same((await read(store)).metadata, {**expected, "other key": 1})
        assert await store.update("id", metadata, True) is True
        assert same((await read(store)).metadata, expected)

    async def test_fixed_parts_cannot_be_shadowed(self, store: SessionStore) -> None:
        """A key with the name of a record's field is metadata; the session stays alice's."""
        names = {"user": "mallory", "user_id": "mallory", "v": 0, "expires": 0, "created": 0, "status": "dead"}
        more = {"accessed": 0, "metadata": "{}", "m:user": "mallory", "idle": 1, "idle_expires": 0, "id": "x"}
        await store.create("id", "alice", HOUR, names)
        await store.update("id", more, False)
        record = await read(store)
        assert (record.user_id, record.status, record.metadata) == ("alice", "active", names | more)
        assert await store.touch("id", 0) is True

    @pytest.mark.parametrize("kind", [list, dict], ids=["lists", "dicts"])
    async def test_deep_nesting(self, store: SessionStore, kind: type) -> None:
        """The deepest allowed metadata is stored and merged, and allows a count. Deeper metadata changes nothing."""
        value: Any = 1
        for _ in range(MAX_LEVELS - 1):
            value = [value] if kind is list else {"a": value}
        await store.create("id", None, HOUR, {"top": value})
        await store.update("id", {"other": value}, False)
        await store.increment("id", "n", 1)
        for replace in (False, True):
            with pytest.raises(MetadataError, match=f"deeper than {MAX_LEVELS} levels"):
                await store.update("id", {"top": [value]}, replace)
        assert (await read(store)).metadata == {"top": value, "other": value, "n": 1}

    async def test_ten_thousand_fields(self, store: SessionStore) -> None:
        """They are stored, merged with as many others, replaced by those, and dropped."""
        many = {f"key-{n}": n for n in range(MANY)}
        others = {f"other-{n}": n for n in range(MANY)}
        await store.create("id", None, HOUR, many)
        await store.update("id", others, False)
        assert (await read(store)).metadata == {**many, **others}
        await store.update("id", others, True)
        assert (await read(store)).metadata == others
        await store.update("id", {}, True)
        assert (await read(store)).metadata == {}
