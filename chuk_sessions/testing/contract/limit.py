"""The limit: a user has at most so many sessions, and the oldest end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from chuk_sessions.stores import CompleteStore, Existing
from chuk_sessions.testing.contract.base import HOUR, StoreFixtures, Time, ids_of, log_in

__all__ = ["LimitTests"]

NameOf = Callable[[int], str | None]


class LimitTests(StoreFixtures):
    """``create`` with ``limit``, of a store that is ``UserIndexed``."""

    @pytest.fixture(params=["made here", "chosen", "mixed"])
    def name_of(self, request: pytest.FixtureRequest) -> NameOf:
        """Return the id to create at the n-th login; None for an id that this package makes."""
        kind = request.param
        return lambda number: f"my-{number}" if kind == "chosen" or (kind == "mixed" and number % 2) else None

    async def test_the_oldest_is_ended(self, user_store: CompleteStore, time: Time, name_of: NameOf) -> None:
        """Each login beyond the limit ends one session. Other users and sessions of nobody do not count."""
        others = [await log_in(user_store, "bob", limit=3), await log_in(user_store, None, limit=3)]
        made: list[str] = []
        for number in range(8):
            made.append(await log_in(user_store, "alice", name_of(number), limit=3))
            assert await ids_of(user_store) == made[-3:]
            assert not any([await user_store.touch(each, 0) for each in made[:-3]])
            await time.passes(0.001)
        assert all([await user_store.touch(each, 0) for each in made[-3:] + others])

    async def test_room_for_one(self, user_store: CompleteStore) -> None:
        """The created session stays, even if no other session can."""
        for number in range(4):
            session_id = await log_in(user_store, "alice", f"my-{number}" if number % 2 else None, limit=1)
            assert await ids_of(user_store) == [session_id]

    async def test_a_live_id_ends_no_other(self, user_store: CompleteStore) -> None:
        """Creating a session that exists is a touch."""
        made = [await log_in(user_store, limit=2), await log_in(user_store, "alice", "my-id", limit=2)]
        for session_id in made:
            assert await user_store.create(session_id, "alice", HOUR, {}, limit=2) == Existing("alice")
        assert sorted(await ids_of(user_store)) == sorted(made)

    async def test_ended_and_expired_sessions_make_room(self, user_store: CompleteStore, time: Time) -> None:
        """Only live sessions count."""
        kept = await log_in(user_store, limit=2)
        await user_store.delete(await log_in(user_store, limit=2))
        await log_in(user_store, lifetime=0.02, limit=2)
        await time.passes(0.03)
        new = await log_in(user_store, limit=2)
        assert await ids_of(user_store) == [kept, new]

    async def test_a_limit_that_comes_later(self, user_store: CompleteStore, time: Time) -> None:
        """One login brings a user with many sessions down to the limit."""
        await asyncio.gather(*[log_in(user_store) for _ in range(250)])
        await time.passes(0.001)
        session_id = await log_in(user_store, limit=5)
        listed = await ids_of(user_store)
        assert len(listed) == 5
        assert listed[-1] == session_id

    async def test_logins_at_the_same_time(
        self, open_user_indexed: Callable[[str], CompleteStore], name_of: NameOf
    ) -> None:
        """As many sessions as the limit are left, and all of them are listed."""
        stores = [open_user_indexed("box") for _ in range(4)]
        made = await asyncio.gather(*[log_in(stores[n % 4], "alice", name_of(n), limit=3) for n in range(40)])
        alive = [session_id for session_id in made if await stores[0].touch(session_id, 0)]
        assert sorted(await ids_of(stores[0])) == sorted(alive)
        assert len(alive) == 3

    async def test_an_id_created_anew_counts_once(self, user_store: CompleteStore, time: Time) -> None:
        """An index entry that an expired session left under the same id does not count, so no other session ends."""
        first = await log_in(user_store, limit=3, idle=0.05)
        await time.passes(0.06)
        await log_in(user_store, "alice", first, limit=3)
        made = [first, await log_in(user_store, limit=3), await log_in(user_store, limit=3)]
        assert [await user_store.touch(each, 0) for each in made] == [True] * 3

    @pytest.mark.parametrize("ended", [None, "ended"])
    @pytest.mark.parametrize("chosen", [None, "newest"])
    @pytest.mark.parametrize("idle", [0.05, 0], ids=["idle", "given an earlier deadline"])
    async def test_what_ended_unseen_makes_room(
        self, user_store: CompleteStore, time: Time, idle: float, chosen: str | None, ended: str | None
    ) -> None:
        """An expired session does not count, whatever its id, so that no older session in use ends in its place."""
        oldest = await log_in(user_store, limit=2)
        ending = await log_in(user_store, "alice", ended, limit=2, idle=idle)
        if not idle:
            assert await user_store.extend(ending, 0.05, from_now=True)
        await time.passes(0.06)
        newest = await log_in(user_store, "alice", chosen, limit=2)
        assert await user_store.touch(newest, 0)
        assert await user_store.touch(oldest, 0)

    async def test_what_ended_unseen_makes_room_among_hundreds(self, user_store: CompleteStore, time: Time) -> None:
        """All live sessions are left, and no expired session is listed."""
        made = await asyncio.gather(*[log_in(user_store, limit=210) for _ in range(205)])
        await time.passes(0.001)
        await asyncio.gather(*[log_in(user_store, idle=0.05) for _ in range(5)])
        await time.passes(0.06)
        made.append(await log_in(user_store, limit=210))
        assert sorted(await ids_of(user_store)) == sorted(made)
