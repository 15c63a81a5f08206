"""Opening: a touch and a read in one step, on request only for the session's own user."""

from __future__ import annotations

import pytest

from chuk_sessions.stores import CompleteStore, Renewable, SessionRecord, SessionStore, complete
from chuk_sessions.testing.contract.base import HOUR, OpenStore, StoreFixtures, Time, has, log_in, read
from chuk_sessions.testing.contract.idle import kept
from chuk_sessions.testing.contract.renewal import renewed

__all__ = ["OpeningTests", "opened"]

OTHERS = (("alice", "bob"), ("alice", ""), ("alice", "alic"), ("", "alice"), (None, "alice"), (None, ""), ("a", "A"))


async def opened(
    store: SessionStore, session_id: str = "id", interval: float = 0, owner: str | None = None
) -> SessionRecord | None:
    """Open a session as ``SessionManager`` does, also on a store that is not ``Openable``."""
    return await complete(store).open(session_id, interval, owner)


class OpeningTests(StoreFixtures):
    """``open``. A store that is not ``Openable`` is opened by its ``read`` and ``touch``."""

    @pytest.mark.parametrize("owner", [None, "alice"])
    async def test_opening_touches_and_reads(self, store: SessionStore, time: Time, owner: str | None) -> None:
        """The record equals that of a read after the touch."""
        await store.create("id", "alice", HOUR, {"role": "admin", "n": [1, {"x": None}]})
        old = await read(store)
        await time.passes(0.01)
        record = await opened(store, owner=owner)
        assert record == await read(store)
        assert record.accessed >= old.accessed + 0.01 - 1e-6
        record.accessed = old.accessed
        assert record == old

    @pytest.mark.parametrize("user_id", ["", "alice", "a:b/{c}", "=", "\0", "Ærøskøbing", "\ud800"], ids=repr)
    async def test_any_text_can_be_the_owner(self, store: SessionStore, user_id: str) -> None:
        """Any text is a user."""
        await store.create("id", user_id, HOUR, {})
        record = await opened(store, owner=user_id)
        assert record is not None
        assert record.user_id == user_id

    @pytest.mark.parametrize("interval", [0, 0.01])
    @pytest.mark.parametrize(("user_id", "owner"), OTHERS, ids=repr)
    async def test_the_session_of_another_is_not_touched(
        self, store: SessionStore, time: Time, user_id: str | None, owner: str, interval: float
    ) -> None:
        """It is not returned either; a session of nobody is treated alike."""
        await store.create("id", user_id, HOUR, {"a": 1})
        old = await read(store)
        await time.passes(0.02)
        for _ in range(2):
            assert await opened(store, "id", interval, owner) is None
            assert await read(store) == old

    async def test_opening_within_the_interval_writes_nothing(self, store: SessionStore, time: Time) -> None:
        """It returns the session. Once the interval has passed, the same call writes."""
        await store.create("id", "alice", HOUR, {"a": 1})
        old = await read(store)
        await time.passes(0.02)
        for owner in (None, "alice", None):
            assert await opened(store, "id", 60, owner) == old
            assert await read(store) == old

        async def written() -> bool:
            record = await opened(store, "id", 0.05, "alice")
            assert record is not None
            assert record == await read(store)
            return record.accessed > old.accessed

        await time.until(written)

    async def test_what_opening_gives_is_a_copy(self, store: SessionStore) -> None:
        """Changing the returned record does not change the session."""
        await store.create("id", None, HOUR, {"list": [1]})
        record = await opened(store)
        assert record is not None
        record.metadata["list"].append(2)
        record.metadata["more"] = True
        assert (await read(store)).metadata == {"list": [1]}

    async def test_opening_keeps_an_idle_session(self, store: SessionStore, time: Time) -> None:
        """The returned record has the moved idle deadline. A call with another owner moves no deadline."""
        session_id = ""

        async def is_kept(idle: float) -> float | None:
            nonlocal session_id
            begin = time.now()
            session_id = await log_in(store, "alice", idle=idle)

            async def touch() -> bool:
                record, found = await opened(store, session_id, owner="alice"), await store.read(session_id)
                if record is None or found is None:
                    return False
                assert record == found
                assert record.idle_expires == pytest.approx(record.accessed + idle, abs=0.01 + self.clock_skew)
                return True

            return await kept(time, touch, begin, 1.3 * idle)

        idle = await time.suffices(is_kept, 0.3)

        async def ended() -> bool:
            assert await opened(store, session_id, owner="bob") is None
            return await store.read(session_id) is None

        await time.until(ended, idle + 5)

    async def test_opening_under_an_alias(self, open_sandbox: OpenStore, time: Time) -> None:
        """The record has the current id of the session."""
        store: CompleteStore = complete(open_sandbox("box"))
        if not has(store, Renewable):
            pytest.skip("the store is not Renewable")
        first = await log_in(store, "alice")
        second = await renewed(store, first, HOUR)
        await time.passes(0.01)
        for interval in (0, 60):
            record = await opened(store, first, interval, "alice")
            assert record is not None
            assert record.current_id == second
            assert record == await read(store, first)
            assert await opened(store, first, interval, "bob") is None
        assert await opened(store, second) is not None
        await store.delete(second)
        assert await opened(store, first) is None
