"""The contract of `SessionStore` under many callers: every operation is atomic."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from chuk_sessions.stores.contract import Existing

if TYPE_CHECKING:
    from collections.abc import Callable

    from chuk_sessions.stores.contract import SessionStore

CALLERS = 50


@pytest.fixture(params=["one store", "many stores"])
def any_store(
    request: pytest.FixtureRequest, open_sessions: Callable[[str], SessionStore]
) -> Callable[[], SessionStore]:
    """Gives the store that a caller uses: the same one for all, or each its own, as with a manager per request."""
    if request.param == "many stores":
        return lambda: open_sessions("box")
    shared = open_sessions("box")
    return lambda: shared


async def metadata_of(store: SessionStore) -> dict[str, object]:
    record = await store.read("id")
    assert record is not None
    return record.metadata


async def test_merges_of_different_keys_lose_nothing(any_store: Callable[[], SessionStore]) -> None:
    await any_store().create("id", None, 3600, {})
    merges = (any_store().update("id", {f"key-{n}": n, "last": n}, False) for n in range(CALLERS))
    assert await asyncio.gather(*merges) == [True] * CALLERS
    metadata = await metadata_of(any_store())
    assert metadata.pop("last") in range(CALLERS)
    assert metadata == {f"key-{n}": n for n in range(CALLERS)}


async def test_extensions_add_up(any_store: Callable[[], SessionStore]) -> None:
    await any_store().create("id", None, 3600, {})
    await asyncio.gather(*(any_store().extend("id", 100) for _ in range(CALLERS)))
    record = await any_store().read("id")
    assert record is not None
    assert record.expires == pytest.approx(record.created + 3600 + 100 * CALLERS, abs=0.01)


async def test_one_of_many_creates_wins(any_store: Callable[[], SessionStore]) -> None:
    """Exactly one caller makes the session; the others are told whose it is."""
    creates = (any_store().create("id", f"user-{n}", 3600, {"n": n}) for n in range(CALLERS))
    results = await asyncio.gather(*creates)
    winner = results.index(None)
    assert results.count(None) == 1
    assert [result for result in results if result] == [Existing(f"user-{winner}")] * (CALLERS - 1)
    assert await metadata_of(any_store()) == {"n": winner}


async def test_one_of_many_deletes_finds_the_session(any_store: Callable[[], SessionStore]) -> None:
    await any_store().create("id", None, 3600, {})
    results = await asyncio.gather(*(any_store().delete("id") for _ in range(CALLERS)))
    assert results.count(True) == 1


async def test_nothing_survives_a_delete(any_store: Callable[[], SessionStore]) -> None:
    """Touches, merges and extensions under way while a session is deleted do not bring it back."""
    for round_ in range(10):
        await any_store().create("id", None, 3600, {})
        calls = [any_store().touch("id", 0) for _ in range(10)]
        calls += [any_store().update("id", {"a": round_}, bool(round_ % 2)) for _ in range(10)]
        calls += [any_store().extend("id", 60) for _ in range(10)]
        calls.insert(15, any_store().delete("id"))
        await asyncio.gather(*calls)
        assert await any_store().read("id") is None


async def test_sessions_do_not_wait_for_or_mix_with_each_other(any_store: Callable[[], SessionStore]) -> None:
    async def use(number: int) -> None:
        session_id, store = f"id-{number}", any_store()
        assert await store.create(session_id, f"user-{number}", 3600, {}) is None
        assert await store.update(session_id, {"n": number}, False) is True
        record = await store.read(session_id)
        assert record is not None
        assert (record.user_id, record.metadata) == (f"user-{number}", {"n": number})

    await asyncio.gather(*map(use, range(CALLERS)))
