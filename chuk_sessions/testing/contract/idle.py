"""The idle time: a session ends if it is not touched for that long."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chuk_sessions.models import SessionRecord
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


async def kept(time: Time, touch: Callable[[], Awaitable[object]], begin: float, seconds: float) -> float | None:
    """Call ``touch`` again and again, until ``seconds`` have passed.

    Return None; or, if it did not find the session, when it was called before, or ``begin``. See ``Time.suffices``.
    """
    used, end = begin, time.now() + seconds
    while time.now() < end:
        since, used = used, time.now()
        if not await touch():
            return since
        await time.passes(0.02)
    return None


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
        session_id = ""

        async def is_read(idle: float) -> float | None:
            nonlocal session_id
            begin = time.now()
            session_id = await log_in(store, kind[1], kind[0], idle=idle)
            await time.passes(0.5 * idle)
            return begin if await store.read(session_id) is None else None

        await time.passes(0.55 * await time.suffices(is_read, 0.2))
        await check_not_found(store, session_id)

    @pytest.mark.parametrize(("name", "kind"), TOUCHED, ids=str)
    async def test_every_touch_keeps_it(
        self, store: SessionStore, time: Time, name: str, kind: tuple[str | None, str | None]
    ) -> None:
        """A touch moves the idle deadline, also in the storage. Only extending moves the other deadline."""
        before: SessionRecord | None = None
        after: SessionRecord | None = None

        async def is_kept(idle: float) -> float | None:
            nonlocal before
            begin = time.now()
            session_id = await log_in(store, kind[1], kind[0], idle=idle)
            before = await store.read(session_id)

            async def touch() -> bool:
                nonlocal after
                touched = await TOUCHES[name](store, session_id)
                after = await store.read(session_id)
                return touched is not None and touched is not False and after is not None

            return begin if before is None else await kept(time, touch, begin, 1.3 * idle)

        idle = await time.suffices(is_kept, 0.3)
        assert before is not None
        assert after is not None
        assert after.idle_expires == pytest.approx(after.accessed + idle, abs=0.01 + self.clock_skew)
        assert (after.expires == before.expires) == (name not in MOVES)
        assert (after.idle, after.user_id) == (before.idle, before.user_id)

    async def test_another_store_keeps_it(self, open_sandbox: OpenStore, time: Time) -> None:
        """The idle time belongs to the session, not to the store that created it."""
        store, other = open_sandbox("box"), open_sandbox("box")
        session_id = ""

        async def is_kept(idle: float) -> float | None:
            nonlocal session_id
            begin = time.now()
            session_id = await log_in(store, idle=idle)
            return await kept(time, lambda: other.touch(session_id, 0), begin, 1.3 * idle)

        await time.passes(await time.suffices(is_kept, 0.3))
        assert not await store.touch(session_id, 0)

    async def test_the_lifetime_ends_it_all_the_same(self, store: SessionStore, time: Time) -> None:
        """A touched session ends at the end of its lifetime too."""

        async def lives_its_lifetime(idle: float) -> float | None:
            begin = time.now()
            session_id = await log_in(store, lifetime=3 * idle, idle=idle)
            since = await kept(time, lambda: store.touch(session_id, 0), begin, 3 * idle + 1)
            assert since is not None, "the session outlived its lifetime"
            return None if time.now() - begin >= 3 * idle - 0.01 else since

        await time.suffices(lives_its_lifetime, 0.1)

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
        begin = time.now()
        await store.extend(session_id, 0.3, from_now=True)

        async def ended() -> bool:
            return not await store.touch(session_id, 0)

        await time.until(ended, 0.3 + 1)
        assert time.now() - begin >= 0.3 - 0.01 - self.clock_skew

    async def test_a_touch_that_is_not_written_does_not_end_it(self, store: SessionStore, time: Time) -> None:
        """The idle time counts from the last touch, whether that was written or not."""
        session_id, used = "", 0.0

        async def is_used(idle: float) -> float | None:
            nonlocal session_id, used
            used = time.now()
            session_id = await log_in(store, idle=idle)
            for _ in range(3):
                await time.passes(idle / 8)
                since, used = used, time.now()
                if not await store.touch(session_id, idle / 3):
                    return since
            return None

        idle = await time.suffices(is_used, 0.3)

        async def ended() -> bool:
            return await store.read(session_id) is None

        await time.until(ended, idle + 5)
        assert time.now() - used >= idle - self.clock_skew

    @pytest.mark.parametrize("by", ["touch", "open"])
    async def test_a_long_interval_keeps_what_is_used(self, open_sandbox: OpenStore, time: Time, by: str) -> None:
        """A session in use lives on with any touch interval, and with other stores that have other intervals."""
        often, seldom = open_sandbox("box"), open_sandbox("box")

        async def is_kept(idle: float) -> float | None:
            begin = time.now()
            session_id = await log_in(often, idle=idle)

            async def touch() -> bool:
                """Seldom, then by both, then seldom again."""
                by_both = 1.3 * idle <= time.now() - begin < 2.6 * idle
                for store, interval in ((often, 0.0), (seldom, HOUR))[not by_both :]:
                    if by == "touch":
                        found: object = await store.touch(session_id, interval)
                    else:
                        found = await complete(store).open(session_id, interval, None)
                    if not found:
                        return False
                return True

            return await kept(time, touch, begin, 4 * idle)

        await time.suffices(is_kept, 0.3)

    async def test_a_long_interval_does_not_keep_it_long(self, store: SessionStore, time: Time) -> None:
        """A touch interval moves the idle deadline later by at most half of the idle time."""
        session_id, touched = "", 0.0

        async def is_touched(idle: float) -> float | None:
            nonlocal session_id, touched
            begin = time.now()
            session_id = await log_in(store, idle=idle)
            await time.passes(idle / 15)
            touched = time.now()
            found = await store.touch(session_id, HOUR)
            over = time.now()
            record = await store.read(session_id)
            if not found or record is None:
                return touched if found else begin
            assert record.idle_expires is not None
            assert record.idle_expires <= over + 1.5 * idle + self.clock_skew
            return None

        idle = await time.suffices(is_touched, 0.3)

        async def ended() -> bool:
            return await store.read(session_id) is None

        await time.until(ended, idle + 5)
        assert time.now() - touched >= idle - self.clock_skew
