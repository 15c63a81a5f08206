"""Counting in the metadata of a session: integers of 64 bits; a refused call changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from chuk_sessions.codec import text_key
from chuk_sessions.exceptions import MetadataError
from chuk_sessions.stores import INT64, SessionStore
from chuk_sessions.testing.contract.base import HOUR, StoreFixtures, Time, read

__all__ = ["CountingTests"]

LARGEST, SMALLEST = INT64[-1], INT64[0]
NO_INTEGERS = [1.0, 1.5, True, False, None, "1", "", [1], {"a": 1}, LARGEST + 1, SMALLEST - 1, 2**70]


class CountingTests(StoreFixtures):
    """``increment``."""

    async def test_counting(self, store: SessionStore) -> None:
        """A missing field counts from 0. Other fields stay, and the value reads back as an int."""
        await store.create("id", None, HOUR, {"kept": [1], "used": 5})
        assert await store.increment("id", "used", 1) == 6
        assert await store.increment("id", "used", -10) == -4
        assert await store.increment("id", "new", 7) == 7
        assert await store.increment("id", "zero", 0) == 0
        assert (await read(store)).metadata == {"kept": [1], "used": -4, "new": 7, "zero": 0}
        await store.update("id", {"used": 40}, False)
        assert await store.increment("id", "used", 2) == 42

    async def test_counting_touches(self, store: SessionStore, time: Time) -> None:
        """It moves no deadline."""
        await store.create("id", "alice", HOUR, {})
        before = await read(store)
        await time.passes(0.01)
        assert await store.increment("id", "used", 1) == 1
        after = await read(store)
        assert after.accessed > before.accessed
        assert (after.user_id, after.created, after.expires) == (before.user_id, before.created, before.expires)

    async def test_counting_in_no_session(self, store: SessionStore) -> None:
        """The result is None, and no session is made; a deleted session stays deleted."""
        await store.create("id", None, HOUR, {})
        await store.delete("id")
        for missing in ("id", "unknown", ""):
            assert await store.increment(missing, "used", 1) is None
            assert await store.read(missing) is None

    @pytest.mark.parametrize("value", NO_INTEGERS, ids=repr)
    async def test_what_is_no_integer_is_refused(self, store: SessionStore, value: Any, time: Time) -> None:
        """Nothing changes, not even the time of last access."""
        await store.create("id", None, HOUR, {"used": value})
        before = await read(store)
        await time.passes(0.002)
        with pytest.raises(MetadataError, match=r"custom_metadata\['used'\] is no integer"):
            await store.increment("id", "used", 1)
        assert await read(store) == before

    @pytest.mark.parametrize(
        ("start", "amount"), [(LARGEST, 1), (SMALLEST, -1), (2, LARGEST), (-2, SMALLEST)], ids=repr
    )
    async def test_overflow_is_refused(self, store: SessionStore, start: int, amount: int) -> None:
        """Nothing changes."""
        await store.create("id", None, HOUR, {"used": start})
        before = await read(store)
        with pytest.raises(MetadataError, match="64 bits"):
            await store.increment("id", "used", amount)
        assert await read(store) == before

    async def test_all_64_bits(self, store: SessionStore) -> None:
        """No digit is lost, from the smallest to the largest integer."""
        await store.create("id", None, HOUR, {"up": LARGEST - 1, "down": SMALLEST + 1})
        assert await store.increment("id", "up", 1) == LARGEST
        assert await store.increment("id", "down", -1) == SMALLEST
        assert await store.increment("id", "fresh", LARGEST) == LARGEST
        assert (await read(store)).metadata == {"up": LARGEST, "down": SMALLEST, "fresh": LARGEST}

    @pytest.mark.parametrize(
        "field", ["", "v", "expires", "m:x", "a b", "ключ", "\0", "\ud83d\ude00", "\ud800"], ids=repr
    )
    async def test_any_text_is_a_field(self, store: SessionStore, field: str) -> None:
        """The field is the key that an update under that name sets."""
        await store.create("id", None, HOUR, {field: 1})
        assert await store.increment("id", text_key(field), 1) == 2
        assert (await read(store)).metadata == {text_key(field): 2}
