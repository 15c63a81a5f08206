"""The idle time: a session ends if it is not touched for that long."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chuk_sessions.stores import SessionStore, complete
from chuk_sessions.testing.contract.base import HOUR, OpenStore, StoreFixtures, Time, log_in, read
from chuk_sessions.testing.contract.life import check_not_found

__all__ = ["IdleTests"]

KINDS = [(None, "alice"), (None, None), ("my-id", "alice")]
TOUCHES: dict[str, Callable[[SessionStore, str], Awaitable[Any]]] = {
    "touch": lambda store, session_id: store.touch(session_id, 0),
    "open": lambda store, session_id: complete(store).open(session_id, 0, "alice"),
    "merge": lambda store, session_id: store.update(session_id, {"a": 1}, False),
    "replace": lambda store, session_id: store.update(session_id, {"a": 1}, True),
    "remove": lambda store, session_id: store.update(session_id, {}, False, remove=("a",)),
    "increment": lambda store, session_id: store.increment(session_id, "n", 1),
    "extend": lambda store, session_id: store.extend(session_id, HOUR),
    "deadline from now": lambda store, session_id: store.extend(session_id, HOUR, from_now=True),
    "create": lambda store, session_id: store.create(session_id, "somebody", 1, {}),
}
MOVES = ("extend", "deadline from now")
TOUCHED = [*((name, KINDS[0]) for name in TOUCHES), *((name, kind) for name in MOVES for kind in KINDS[1:])]


class IdleTests(StoreFixtures):
    """``create`` with ``idle``."""

    async def test_the_two_deadlines(self, store: SessionStore) -> None:
        """The idle deadline counts from the last touch, and is never later than the deadline of the lifetime."""
        record = await read(store, await log_in(store, idle=600))
        assert record.idle == 600
        assert record.expires - record.created == pytest.approx(HOUR, abs=0.01 + self.clock_skew)
        assert record.idle_expires == pytest.approx(record.accessed + 600, abs=0.01 + self.clock_skew)
        record = await read(store, await log_in(store, lifetime=300, idle=600))
        assert record.idle_expires == pytest.approx(record.expires, abs=1e-3)
        record = await read(store, await log_in(store))
        assert (record.idle, record.idle_expires) == (0, None)

    @pytest.mark.parametrize("kind", KINDS, ids=str)
    async def test_it_ends_when_it_is_not_touched(
        self, store: SessionStore, time: Time, kind: tuple[str | None, str | None]
    ) -> None:
        """Reading is no touch. After the idle deadline no operation finds the session."""
        session_id = await log_in(store, kind[1], kind[0], idle=0.2)
        await time.passes(0.1)
        await read(store, session_id)
        await time.passes(0.11)
        await check_not_found(store, session_id)

    @pytest.mark.parametrize(("name", "kind"), TOUCHED, ids=str)
    async def test_every_touch_keeps_it(
        self, store: SessionStore, time: Time, name: str, kind: tuple[str | None, str | None]
    ) -> None:
        """A touch moves the idle deadline, also in the storage. Only extending moves the other deadline."""
        session_id = await log_in(store, kind[1], kind[0], idle=0.3)
        before = await read(store, session_id)
        end = time.now() + 0.4
        while time.now() < end:
            await TOUCHES[name](store, session_id)
            await time.passes(0.02)
        after = await read(store, session_id)
        assert after.idle_expires == pytest.approx(after.accessed + 0.3, abs=0.01 + self.clock_skew)
        assert (after.expires == before.expires) == (name not in MOVES)
        assert (after.idle, after.user_id) == (before.idle, before.user_id)

    async def test_another_store_keeps_it(self, open_sandbox: OpenStore, time: Time) -> None:
        """The idle time belongs to the session, not to the store that created it."""
        store, other = open_sandbox("box"), open_sandbox("box")
        session_id = await log_in(store, idle=0.3)
        end = time.now() + 0.4
        while time.now() < end:
            assert await other.touch(session_id, 0)
            await time.passes(0.02)
        await time.passes(0.3)
        assert not await store.touch(session_id, 0)

    async def test_the_lifetime_ends_it_all_the_same(self, store: SessionStore, time: Time) -> None:
        """A touched session ends at the end of its lifetime too."""
        begin = time.now()
        session_id = await log_in(store, lifetime=0.3, idle=0.1)

        async def ended() -> bool:
            return not await store.touch(session_id, 0)

        await time.until(ended, 0.3 + 1)
        assert time.now() - begin >= 0.3 - 0.01

    @pytest.mark.parametrize("kind", KINDS, ids=str)
    async def test_an_earlier_deadline_is_the_idle_one_too(
        self, store: SessionStore, time: Time, kind: tuple[str | None, str | None]
    ) -> None:
        """A touch cannot move the idle deadline past the earlier deadline; after a later deadline it can again."""
        session_id = await log_in(store, kind[1], kind[0], idle=600)
        await store.extend(session_id, 0.3, from_now=True)
        record = await read(store, session_id)
        assert record.idle_expires == pytest.approx(record.expires, abs=1e-3)
        await store.extend(session_id, HOUR, from_now=True)
        record = await read(store, session_id)
        assert record.idle_expires == pytest.approx(record.accessed + 600, abs=0.01 + self.clock_skew)
        await store.extend(session_id, 0.3, from_now=True)
        begin = time.now()

        async def ended() -> bool:
            return not await store.touch(session_id, 0)

        await time.until(ended, 0.3 + 1)
        assert time.now() - begin >= 0.3 - 0.05

    async def test_a_touch_that_is_not_written_does_not_end_it(self, store: SessionStore, time: Time) -> None:
        """The idle time counts from the last touch, whether that was written or not."""
        session_id = await log_in(store, idle=0.3)
        used = 0.0
        for _ in range(3):
            await time.passes(0.04)
            used = time.now()
            assert await store.touch(session_id, 0.1) is True

        async def ended() -> bool:
            return await store.read(session_id) is None

        await time.until(ended, 5)
        assert time.now() - used >= 0.3 - self.clock_skew

    @pytest.mark.parametrize("by", ["touch", "open"])
    async def test_a_long_interval_keeps_what_is_used(self, open_sandbox: OpenStore, time: Time, by: str) -> None:
        """A session in use lives on with any touch interval, and with other stores that have other intervals."""
        often, seldom = open_sandbox("box"), open_sandbox("box")
        session_id = await log_in(often, idle=0.3)
        for stores in ([seldom], [often, seldom], [seldom]):
            end = time.now() + 0.4
            while time.now() < end:
                for store in stores:
                    interval = HOUR if store is seldom else 0
                    if by == "touch":
                        assert await store.touch(session_id, interval)
                    else:
                        assert await complete(store).open(session_id, interval, None)
                await time.passes(0.02)
        assert await often.touch(session_id, 0)

    async def test_a_long_interval_does_not_keep_it_long(self, store: SessionStore, time: Time) -> None:
        """A touch interval moves the idle deadline later by at most half of the idle time."""
        session_id = await log_in(store, idle=0.3)
        await time.passes(0.02)
        assert await store.touch(session_id, HOUR)
        touched = time.now()
        record = await read(store, session_id)
        assert record.idle_expires is not None
        assert record.idle_expires - record.accessed <= 0.45 + 0.02 + self.clock_skew

        async def ended() -> bool:
            return await store.read(session_id) is None

        await time.until(ended, 5)
        assert time.now() - touched >= 0.3 - self.clock_skew
