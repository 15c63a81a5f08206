"""Records that this version cannot read: no operation finds them, and only ``delete`` changes them."""

from __future__ import annotations

import logging

import pytest

from chuk_sessions.exceptions import ProviderError
from chuk_sessions.stores import SessionStore, complete
from chuk_sessions.testing.contract.base import HOUR, MakeUnreadable, StoreFixtures

__all__ = ["UnreadableTests", "check_is_absent"]


async def check_is_absent(store: SessionStore, caplog: pytest.LogCaptureFixture, session_id: str = "id") -> None:
    """Assert that no operation but ``delete`` finds the session, and that the log has one line about it."""
    caplog.set_level(logging.WARNING)
    for _ in range(2):
        assert await store.read(session_id) is None
        assert await store.touch(session_id, 0) is False
        assert await store.touch(session_id, 60) is False
        for interval, owner in ((0, None), (60, None), (60, "alice")):
            assert await complete(store).open(session_id, interval, owner) is None
        assert await store.update(session_id, {"a": 1}, False) is False
        assert await store.update(session_id, {"a": 1}, True) is False
        assert await store.increment(session_id, "a", 1) is None
        assert await store.extend(session_id, 60) is False
        assert await store.extend(session_id, 60, from_now=True) is False
        with pytest.raises(ProviderError):
            await store.create(session_id, None, 60, {})
    lines = [record for record in caplog.records if not record.name.startswith("asyncio")]
    assert [line.levelno for line in lines] == [logging.WARNING]
    assert session_id not in lines[0].getMessage().split()


class UnreadableTests(StoreFixtures):
    """Records of a later version, and damaged records. Needs the fixture ``make_unreadable``."""

    @pytest.fixture
    def spoil(self, make_unreadable: MakeUnreadable | None) -> MakeUnreadable:
        """``make_unreadable``, if the subclass has it; else the test is skipped."""
        if make_unreadable is None:
            pytest.skip("the fixture make_unreadable is not given")
        return make_unreadable

    async def test_an_unreadable_record_counts_as_absent(
        self, store: SessionStore, spoil: MakeUnreadable, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is logged once, without the id, and left alone; only a deletion removes it."""
        await store.create("id", "alice", HOUR, {"a": 1})
        await spoil("box", "id")
        await check_is_absent(store, caplog)
        assert await store.delete("id") is True
        assert await store.delete("id") is False
        assert await store.create("id", "bob", HOUR, {}) is None
