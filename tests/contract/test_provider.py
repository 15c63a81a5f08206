"""What every provider of ours promises at the low-level interface."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.helpers import eventually, time_passes

if TYPE_CHECKING:
    from chuk_sessions.provider import Factory

ODD_KEYS = (
    "",
    " ",
    "user:1",
    "line\r\nbreak",
    "nul\0nul",
    "{tag}key",
    "*?[a]",
    "%2F/../",
    "ключ-鍵-🔑",
    '"quoted" \\ back',
    "x" * 10_000,
)
VALUES = ("", "value", " spaced ", "null", "1", "multi\r\nline\0", "наїв-🔑", "x" * 1_000_000)


@pytest.fixture
async def session(provider_factory: Factory) -> Any:
    """An open session; as sessions hold nothing, nothing has to be closed."""
    async with provider_factory() as opened:
        return opened


async def test_unknown_key(session: Any) -> None:
    """What was never stored reads as None and cannot be deleted."""
    assert await session.get("nothing") is None
    assert await session.delete("nothing") is False


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
async def test_round_trip(session: Any, value: str) -> None:
    await session.setex("key", 60, value)
    assert await session.get("key") == value


async def test_last_write_wins(session: Any) -> None:
    await session.setex("key", 60, "first")
    await session.setex("key", 60, "second")
    assert await session.get("key") == "second"


async def test_delete(session: Any) -> None:
    """True once, and the key is gone at once; then there is nothing to delete."""
    await session.setex("key", 60, "value")
    await session.setex("other", 60, "kept")
    assert await session.delete("key") is True
    assert await session.get("key") is None
    assert await session.delete("key") is False
    assert await session.get("other") == "kept"


async def test_deleted_key_can_be_stored_again(session: Any) -> None:
    for round_ in ("first", "second"):
        await session.setex("key", 60, round_)
        assert await session.get("key") == round_
        assert await session.delete("key") is True


async def test_set_then_setex_and_back(session: Any) -> None:
    """`set` and `setex` write the same keys."""
    await session.set("key", "by set")
    assert await session.get("key") == "by set"
    await session.setex("key", 60, "by setex")
    assert await session.get("key") == "by setex"
    await session.set("key", "by set again")
    assert await session.get("key") == "by set again"


async def test_setting_returns_nothing(session: Any) -> None:
    assert await session.set("key", "value") is None
    assert await session.setex("key", 60, "value") is None
    assert await session.setex("key", 0, "value") is None


async def test_closing_one_session_leaves_the_others_open(provider_factory: Factory) -> None:
    """Neither `close` nor the end of the block takes the shared storage away, nor what is stored."""
    async with provider_factory() as first, provider_factory() as second:
        await first.setex("key", 60, "value")
        await first.close()
        assert await second.get("key") == "value"
        assert await first.get("key") == "value"
    async with provider_factory() as third:
        assert await third.get("key") == "value"


async def test_an_exception_in_the_block_comes_out(provider_factory: Factory) -> None:
    with pytest.raises(ZeroDivisionError):
        async with provider_factory() as session:
            await session.setex("key", 60, 1 // 0)


async def test_odd_keys_are_different_keys(session: Any) -> None:
    """Any text is a key, taken literally."""
    for number, key in enumerate(ODD_KEYS):
        await session.setex(key, 60, str(number))
    assert [await session.get(key) for key in ODD_KEYS] == [str(number) for number in range(len(ODD_KEYS))]
    assert [await session.delete(key) for key in ODD_KEYS] == [True] * len(ODD_KEYS)


async def test_every_caller_gets_its_own_answer(session: Any) -> None:
    """Many tasks, each with a key of its own, never see what belongs to another."""

    async def use(number: int) -> None:
        key, value = f"key-{number}", f"value-{number}"
        for _ in range(5):
            assert await session.get(key) is None
            await session.setex(key, 60, value)
            assert await session.get(key) == value
            assert await session.delete(key) is True

    await asyncio.gather(*map(use, range(100)))


async def test_many_tasks_on_one_key(session: Any) -> None:
    """A read gives one whole value that some task has written; of many deletes at once exactly one finds the key."""
    values = [f"{number}" * 1000 for number in range(50)]

    async def use(value: str) -> None:
        await session.setex("key", 60, value)
        assert await session.get("key") in values

    await asyncio.gather(*map(use, values))
    deleted = await asyncio.gather(*(session.delete("key") for _ in range(20)))
    assert sorted(deleted) == [False] * 19 + [True]


async def test_expiry(session: Any) -> None:
    """A key is there until its time is over, then it is not; fractions of a second count."""
    await session.setex("short", 0.2, "value")
    await session.setex("long", 60, "value")
    assert await session.get("short") == "value"
    await eventually(lambda: is_gone(session, "short"), patience=2)
    assert await session.get("long") == "value"


async def test_fractions_are_not_cut_off(session: Any) -> None:
    await session.setex("key", 1.9, "value")
    await time_passes(1.1)
    assert await session.get("key") == "value"


async def test_a_shorter_ttl_replaces_a_longer_one(session: Any) -> None:
    await session.setex("key", 60, "long")
    await session.setex("key", 0.05, "short")
    await eventually(lambda: is_gone(session, "key"), patience=2)


async def test_a_longer_ttl_replaces_a_shorter_one(session: Any) -> None:
    await session.setex("key", 0.05, "short")
    await session.setex("key", 60, "long")
    await time_passes(0.1)
    assert await session.get("key") == "long"


async def test_an_expired_key_can_be_stored_again(session: Any) -> None:
    await session.setex("key", 0.01, "old")
    await eventually(lambda: is_gone(session, "key"), patience=2)
    await session.setex("key", 60, "new")
    assert await session.get("key") == "new"


@pytest.mark.parametrize("ttl", [0, 0.0, -0.0, -0.001, -1, -3600, -1e9, False])
async def test_ttl_that_is_over_already(session: Any, ttl: float) -> None:
    """With zero or less the key is gone, whatever it held; a key that was not there is no error."""
    await session.setex("key", 60, "value")
    await session.setex("key", ttl, "never seen")
    await session.setex("fresh", ttl, "never seen")
    assert await session.get("key") is None
    assert await session.get("fresh") is None
    assert await session.delete("key") is False


@pytest.mark.parametrize(
    "ttl", [float("nan"), float("inf"), float("-inf"), 1e300, 2e11, pytest.param(10**400, id="int")]
)
async def test_ttl_that_is_no_time(session: Any, ttl: float) -> None:
    """NaN, infinite and endless times are refused by name, and the key keeps what it had."""
    await session.setex("key", 60, "kept")
    with pytest.raises(ValueError, match="ttl"):
        await session.setex("key", ttl, "refused")
    with pytest.raises(ValueError, match="ttl"):
        await session.setex("fresh", ttl, "refused")
    assert await session.get("key") == "kept"
    assert await session.get("fresh") is None


@pytest.mark.parametrize("ttl", ["60", None, [60], b"60", {}], ids=repr)
async def test_ttl_that_is_no_number(session: Any, ttl: Any) -> None:
    await session.setex("key", 60, "kept")
    with pytest.raises(TypeError, match="ttl"):
        await session.setex("key", ttl, "refused")
    assert await session.get("key") == "kept"


@pytest.mark.parametrize("ttl", [1e-9, 100 * 366 * 86400.0, 9e10])
async def test_shortest_and_longest_ttl(session: Any, ttl: float) -> None:
    """A moment is accepted, and so are thousands of years; the latter can be read."""
    await session.setex("key", ttl, "value")
    assert await session.get("key") == "value" or ttl < 1


async def is_gone(session: Any, key: str) -> bool:
    return await session.get(key) is None
