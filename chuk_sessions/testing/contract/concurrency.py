"""Many callers at the same time: every operation is atomic."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from chuk_sessions.stores import Existing, SessionStore
from chuk_sessions.testing.contract.base import HOUR, OpenStore, StoreFixtures, read

__all__ = ["ConcurrencyTests"]

CALLERS = 50
AnyStore = Callable[[], SessionStore]


class ConcurrencyTests(StoreFixtures):
    """Callers that share one store and callers with a store each get the same results."""

    @pytest.fixture(params=["one store", "many stores"])
    def any_store(self, request: pytest.FixtureRequest, open_sandbox: OpenStore) -> AnyStore:
        """Return the store of a caller: one store for all, or a store for each, as with a manager per request."""
        if request.param == "many stores":
            return lambda: open_sandbox("box")
        shared = open_sandbox("box")
        return lambda: shared

    async def test_merges_of_different_keys_lose_nothing(self, any_store: AnyStore) -> None:
        """At the end each key is there; a common key has one of the values."""
        await any_store().create("id", None, HOUR, {})
        merges = (any_store().update("id", {f"key-{n}": n, "last": n}, False) for n in range(CALLERS))
        assert await asyncio.gather(*merges) == [True] * CALLERS
        metadata = (await read(any_store())).metadata
        assert metadata.pop("last") in range(CALLERS)
        assert metadata == {f"key-{n}": n for n in range(CALLERS)}

    async def test_removals_and_merges_lose_nothing(self, any_store: AnyStore) -> None:
        """Every removed key is gone, and every key that was set is there."""
        await any_store().create("id", None, HOUR, {f"old-{n}": n for n in range(CALLERS)})
        names = ("new", "key")
        removals = [any_store().update("id", {f"new-{n}": n}, False, remove=(f"old-{n}",)) for n in range(CALLERS)]
        merges = [any_store().update("id", {f"key-{n}": n}, False) for n in range(CALLERS)]
        assert await asyncio.gather(*removals, *merges) == [True] * (2 * CALLERS)
        assert (await read(any_store())).metadata == {f"{name}-{n}": n for n in range(CALLERS) for name in names}

    async def test_changes_of_two_keys_are_one_step(self, any_store: AnyStore) -> None:
        """A key is removed in the step that sets the other: every reader sees exactly one of the two."""
        await any_store().create("id", None, HOUR, {"a": 1})

        async def take_turns() -> None:
            for _ in range(20):
                await any_store().update("id", {"b": 1}, False, remove=("a",))
                await asyncio.sleep(0)
                await any_store().update("id", {"a": 1}, False, remove=("b",))
                await asyncio.sleep(0)

        turns, seen = asyncio.create_task(take_turns()), []
        while not turns.done():
            seen += [list((await read(any_store())).metadata)]
            await asyncio.sleep(0)
        await turns
        assert [keys for keys in seen if len(keys) != 1] == []

    async def test_counts_lose_nothing(self, any_store: AnyStore) -> None:
        """Each caller gets a different value, also while others merge."""
        await any_store().create("id", None, HOUR, {})
        counts = [any_store().increment("id", "n", 1) for _ in range(CALLERS)]
        merges = [any_store().update("id", {f"key-{n}": n}, False) for n in range(CALLERS)]
        values, _ = await asyncio.gather(asyncio.gather(*counts), asyncio.gather(*merges))
        assert sorted(value for value in values if value is not None) == list(range(1, CALLERS + 1))
        assert (await read(any_store())).metadata == {"n": CALLERS, **{f"key-{n}": n for n in range(CALLERS)}}

    async def test_extensions_add_up(self, any_store: AnyStore) -> None:
        """The deadline moves by the sum of all extensions."""
        await any_store().create("id", None, HOUR, {})
        await asyncio.gather(*(any_store().extend("id", 100) for _ in range(CALLERS)))
        record = await read(any_store())
        assert record.expires == pytest.approx(record.created + HOUR + 100 * CALLERS, abs=0.01 + self.clock_skew)

    async def test_one_of_many_deadlines_is_the_last(self, any_store: AnyStore) -> None:
        """The deadline is one of those that were set: neither a sum of them nor the old deadline."""
        await any_store().create("id", None, HOUR, {})
        lifetimes = [HOUR * (n + 2) for n in range(CALLERS)]
        setting = (any_store().extend("id", lifetime, from_now=True) for lifetime in lifetimes)
        assert await asyncio.gather(*setting) == [True] * CALLERS
        record = await read(any_store())
        assert (record.expires - record.created) % HOUR == pytest.approx(0, abs=60)
        assert round((record.expires - record.created) / HOUR) * HOUR in lifetimes

    async def test_one_of_many_creates_wins(self, any_store: AnyStore) -> None:
        """Exactly one caller makes the session; the others get its user."""
        creates = (any_store().create("id", f"user-{n}", HOUR, {"n": n}) for n in range(CALLERS))
        results = await asyncio.gather(*creates)
        winner = results.index(None)
        assert results.count(None) == 1
        assert [result for result in results if result] == [Existing(f"user-{winner}")] * (CALLERS - 1)
        assert (await read(any_store())).metadata == {"n": winner}

    async def test_one_of_many_deletes_finds_the_session(self, any_store: AnyStore) -> None:
        """The others find no session."""
        await any_store().create("id", None, HOUR, {})
        results = await asyncio.gather(*(any_store().delete("id") for _ in range(CALLERS)))
        assert results.count(True) == 1

    async def test_nothing_survives_a_delete(self, any_store: AnyStore) -> None:
        """A touch, change or extension that runs while a session is deleted does not bring it back."""
        for round_ in range(10):
            await any_store().create("id", None, HOUR, {})
            calls = [any_store().touch("id", 0) for _ in range(10)]
            calls += [any_store().update("id", {"a": round_}, bool(round_ % 2)) for _ in range(10)]
            calls += [any_store().extend("id", 60, from_now=bool(n % 2)) for n in range(10)]
            calls.insert(15, any_store().delete("id"))
            await asyncio.gather(*calls, *(any_store().increment("id", "n", 1) for _ in range(10)))
            assert await any_store().read("id") is None

    async def test_sessions_do_not_mix_with_each_other(self, any_store: AnyStore) -> None:
        """Each caller reads from its session what it has stored there."""

        async def use(number: int) -> None:
            session_id, store = f"id-{number}", any_store()
            assert await store.create(session_id, f"user-{number}", HOUR, {}) is None
            assert await store.update(session_id, {"n": number}, False) is True
            record = await read(store, session_id)
            assert (record.user_id, record.metadata) == (f"user-{number}", {"n": number})

        await asyncio.gather(*map(use, range(CALLERS)))
