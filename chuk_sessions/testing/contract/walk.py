"""All sessions of a sandbox: they are listed by pages, and counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from chuk_sessions.stores import CompleteStore, Renewable, Walkable
from chuk_sessions.testing.contract.base import StoreFixtures, Time, has, log_in, read
from chuk_sessions.testing.contract.renewal import renewed

__all__ = ["WalkTests"]

PATTERNS = ("a", "a*", "ab", "?", "[a-z]", "a:b", "%2A", "_", "%")  # of Redis and of SQL


async def ids_in(store: Walkable, batch: int = 500) -> list[str]:
    """Return the ids of all sessions in the order of the pages."""
    return [session_id async for page in store.pages(batch) for session_id, _ in page]


class WalkTests(StoreFixtures):
    """``pages`` and ``count``, of a store that is ``Walkable``."""

    @pytest.mark.parametrize("batch", [1, 7, 500, 10_000])
    async def test_each_once(self, walkable_store: CompleteStore, batch: int) -> None:
        """While nothing changes, each session comes once with its full record, whatever the batch."""
        made = [
            await log_in(walkable_store, f"user-{n % 5}" if n % 3 else None, f"my:{n}" if n % 2 else None)
            for n in range(60)
        ]
        assert sorted(await ids_in(walkable_store, batch)) == sorted(made)
        assert await walkable_store.count() == 60
        async for page in walkable_store.pages(batch):
            for session_id, record in page:
                assert record == await read(walkable_store, session_id)

    async def test_of_this_sandbox_only(self, open_walkable: Callable[[str], CompleteStore]) -> None:
        """A sandbox whose name is a pattern does not match other sandboxes."""
        for number, name in enumerate(PATTERNS):
            await log_in(open_walkable(name), None, f"id-{number}")
            await log_in(open_walkable(name), None, "*")
        for number, name in enumerate(PATTERNS):
            assert sorted(await ids_in(open_walkable(name))) == ["*", f"id-{number}"]
            assert await open_walkable(name).count() == 2
        assert await ids_in(open_walkable("nobody")) == []
        assert await open_walkable("nobody").count() == 0

    async def test_what_has_ended_does_not_come(self, walkable_store: CompleteStore, time: Time) -> None:
        """Nor does an alias: a renewed session comes once, under its current id."""
        kept = [await log_in(walkable_store), await log_in(walkable_store, "alice", "my-id")]
        await walkable_store.delete(await log_in(walkable_store))
        await log_in(walkable_store, None, lifetime=0.01)
        await time.passes(0.02)
        if has(walkable_store, Renewable):
            kept = [await renewed(walkable_store, session_id, 60) for session_id in kept]
        assert sorted(await ids_in(walkable_store)) == sorted(kept)
        assert await walkable_store.count() == 2

    async def test_changes_meanwhile(self, walkable_store: CompleteStore) -> None:
        """Every session that lives all the while comes, whatever else is created and ended between two pages."""
        ids = await asyncio.gather(*[log_in(walkable_store, None) for _ in range(400)])
        made, doomed = set(ids[::2]), set(ids[1::2])
        seen: set[str] = set()
        left = 300  # pages: a walk that falls behind what is created does not go on for ever
        async for page in walkable_store.pages(10):
            for session_id, _ in page:
                seen.add(session_id)
                await log_in(walkable_store, None)
                if doomed:
                    await walkable_store.delete(doomed.pop())
            left -= 1
            if made <= seen or len(seen) > 1000 or left == 0:
                break
        assert made <= seen

    async def test_breaking_off(self, walkable_store: CompleteStore) -> None:
        """A caller that stops after some pages does not disturb later calls."""
        for _ in range(20):
            await log_in(walkable_store, None)
        async for _ in walkable_store.pages(2):
            break
        assert await walkable_store.count() == 20
        assert len(await ids_in(walkable_store)) == 20
