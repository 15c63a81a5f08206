"""The deadline of a session, and the time of its last access."""

from __future__ import annotations

import pytest

from chuk_sessions.stores import LAST_DEADLINE, DeadlineError, SessionStore
from chuk_sessions.testing.clock import Clock
from chuk_sessions.testing.contract.base import HOUR, StoreFixtures, Time, read
from chuk_sessions.testing.contract.life import check_not_found

__all__ = ["DeadlineTests"]


class DeadlineTests(StoreFixtures):
    """``extend``; no other operation moves the deadline. ``accessed`` never runs backwards."""

    @pytest.mark.parametrize("lifetime", [50.5, 200.25], ids=["earlier", "later"])
    async def test_a_deadline_from_now(self, store: SessionStore, time: Time, lifetime: float) -> None:
        """The new deadline does not depend on the old one. The call touches."""
        await store.create("id", "alice", 100, {"a": 1})
        old = await read(store)
        await time.passes(0.02)
        for _ in range(2):
            before = time.now()
            assert await store.extend("id", lifetime, from_now=True) is True
            after, new = time.now(), await read(store)
            assert before - self.clock_skew <= new.expires - lifetime <= after + self.clock_skew
        assert new.accessed > old.accessed
        assert (new.user_id, new.created, new.metadata) == (old.user_id, old.created, old.metadata)

    async def test_a_session_ends_at_its_earlier_deadline(self, store: SessionStore, time: Time) -> None:
        """It is found until its new deadline and not afterwards, although its first deadline was later."""

        async def is_found(lifetime: float) -> float | None:
            await store.create("id", "alice", HOUR, {"a": 1})
            begin = time.now()
            assert await store.extend("id", lifetime, from_now=True) is True
            found = await store.touch("id", 0) and await store.update("id", {"b": 2}, False)
            return None if found else begin

        await time.passes(1.1 * await time.suffices(is_found, 0.1))
        await check_not_found(store)
        assert await store.create("id", "bob", HOUR, {}) is None
        await time.passes(0.11)
        assert (await read(store)).user_id == "bob"

    async def test_a_session_lives_to_its_later_deadline(self, store: SessionStore, time: Time) -> None:
        """The storage keeps it past its earlier deadlines, also past one that was set before the first one."""

        async def is_extended(lifetime: float) -> float | None:
            begin = time.now()
            await store.create("id", "alice", 1.5 * lifetime, {})
            extended = await store.extend("id", lifetime, from_now=True)
            return None if extended and await store.extend("id", HOUR, from_now=True) else begin

        await time.passes(1.75 * await time.suffices(is_extended, 0.2))
        assert await store.touch("id", 0) is True
        assert await store.extend("id", 0.05, from_now=True) is True
        await time.passes(0.06)
        assert await store.touch("id", 0) is False

    async def test_a_deadline_of_no_session(self, store: SessionStore) -> None:
        """No session is found, and none is made."""
        assert await store.extend("unknown", HOUR, from_now=True) is False
        await store.create("id", None, HOUR, {})
        await store.delete("id")
        assert await store.extend("id", HOUR, from_now=True) is False
        await check_not_found(store)

    async def test_an_extension_counts_from_the_deadline_that_was_set(self, store: SessionStore) -> None:
        """It does not count from the deadline before that."""
        await store.create("id", None, HOUR, {})
        await store.extend("id", 100, from_now=True)
        old = await read(store)
        await store.extend("id", 50)
        assert (await read(store)).expires == pytest.approx(old.expires + 50, abs=1e-3)

    async def test_no_deadline_from_now_beyond_the_year_9999(self, store: SessionStore) -> None:
        """The call is refused and changes nothing."""
        await store.create("id", "alice", HOUR, {"a": 1})
        before = await read(store)
        with pytest.raises(DeadlineError):
            await store.extend("id", LAST_DEADLINE, from_now=True)
        assert await read(store) == before
        assert await store.touch("id", 0) is True

    async def test_extend_counts_from_the_deadline(self, store: SessionStore, time: Time) -> None:
        """It does not count from now. The call touches."""
        await store.create("id", "alice", 100, {"a": 1})
        old = await read(store)
        await time.passes(0.02)
        for times in (1, 2):
            assert await store.extend("id", 50.5) is True
            new = await read(store)
            assert new.expires == pytest.approx(old.expires + times * 50.5, abs=1e-3)
        assert new.accessed > old.accessed
        assert (new.user_id, new.created, new.metadata) == (old.user_id, old.created, old.metadata)

    async def test_no_deadline_beyond_the_year_9999(self, store: SessionStore) -> None:
        """The call is refused and changes nothing; a shorter extension still succeeds."""
        century = 100 * 365.25 * 24 * HOUR
        await store.create("id", "alice", century, {"a": 1})
        fitting = int((LAST_DEADLINE - (await read(store)).expires) / century)
        for _ in range(fitting):
            assert await store.extend("id", century) is True
        before = await read(store)
        with pytest.raises(DeadlineError):
            await store.extend("id", century)
        assert await read(store) == before
        assert await store.touch("id", 0) is True
        assert await store.extend("id", 1) is True
        assert (await read(store)).expires == pytest.approx(before.expires + 1, abs=1e-3)

    async def test_an_extended_session_lives_on(self, store: SessionStore, time: Time) -> None:
        """The storage keeps it past its first deadline; touches and updates do not undo the extension."""

        async def is_extended(lifetime: float) -> float | None:
            begin = time.now()
            await store.create("id", None, lifetime, {})
            return None if await store.extend("id", HOUR) else begin

        lifetime = await time.suffices(is_extended, 0.2)
        await store.touch("id", 0)
        await store.update("id", {"a": 1}, False)
        await time.passes(1.25 * lifetime)
        assert await store.touch("id", 0) is True
        assert (await read(store)).metadata == {"a": 1}

    async def test_an_extended_session_ends(self, store: SessionStore, time: Time) -> None:
        """It ends at its new deadline."""

        async def is_extended(lifetime: float) -> float | None:
            begin = time.now()
            await store.create("id", None, lifetime, {})
            return None if await store.extend("id", lifetime) else begin

        await time.passes(2.2 * await time.suffices(is_extended, 0.05))
        assert await store.read("id") is None
        assert await store.touch("id", 0) is False

    async def test_touching_and_updating_do_not_lengthen_life(self, store: SessionStore, time: Time) -> None:
        """A session in use ends at its deadline too."""
        await store.create("id", None, 0.2, {})

        async def ended() -> bool:
            await store.increment("id", "n", 1)
            return not await store.touch("id", 0) or not await store.update("id", {"a": 1}, False)

        await time.until(ended, 0.2 + 1)

    async def test_accessed_follows_the_clock(self, store: SessionStore, moved: Clock) -> None:
        """Each operation that touches sets it to exactly the time of the clock; reading does not."""
        start = moved.now
        await store.create("id", None, HOUR, {})
        assert (await read(store)).accessed == start
        moved.move(1)
        await store.read("id")
        assert (await read(store)).accessed == start
        await store.touch("id", 0)
        assert (await read(store)).accessed == start + 1
        moved.move(1)
        await store.update("id", {}, False)
        assert (await read(store)).accessed == start + 2
        moved.move(1)
        await store.extend("id", 1)
        assert (await read(store)).accessed == start + 3
        moved.move(1)
        await store.create("id", None, 1, {})
        assert (await read(store)).accessed == start + 4
        moved.move(1)
        await store.increment("id", "n", 1)
        assert (await read(store)).accessed == start + 5

    async def test_accessed_never_runs_backwards(self, store: SessionStore, moved: Clock) -> None:
        """After the clock was set back no operation and no interval changes it."""
        await store.create("id", None, HOUR, {})
        before = (await read(store)).accessed
        moved.move(-500)
        for interval in (0, 1, 600):
            assert await store.touch("id", interval) is True
        await store.update("id", {"a": 1}, False)
        await store.update("id", {"a": 2}, True)
        await store.increment("id", "n", 1)
        await store.extend("id", 1)
        await store.create("id", None, HOUR, {})
        assert (await read(store)).accessed == before

    async def test_touch_interval_to_the_second(self, store: SessionStore, moved: Clock) -> None:
        """A touch is written once ``accessed`` is at least the interval old, not before."""
        start = moved.now
        await store.create("id", None, HOUR, {})
        moved.move(9.5)
        assert await store.touch("id", 10) is True
        assert (await read(store)).accessed == start
        moved.move(0.5)
        assert await store.touch("id", 10) is True
        assert (await read(store)).accessed == start + 10

    async def test_expiry_to_the_instant(self, store: SessionStore, moved: Clock) -> None:
        """A session is found just before its deadline, and not at it."""
        await store.create("id", None, 10.5, {})
        moved.move(10.25)
        assert await store.touch("id", 0) is True
        moved.move(0.25)
        assert await store.read("id") is None
        assert await store.touch("id", 0) is False
        assert await store.touch("id", 60) is False
        assert await store.update("id", {}, False) is False
        assert await store.extend("id", 60) is False
        assert await store.delete("id") is False

    async def test_extension_to_the_instant(self, store: SessionStore, moved: Clock) -> None:
        """The new deadline is the old deadline plus the extension, at whatever time the call comes."""
        await store.create("id", None, 10, {})
        moved.move(9)
        await store.extend("id", 5)
        moved.move(5.75)
        assert await store.touch("id", 0) is True
        moved.move(0.25)
        assert await store.touch("id", 0) is False
