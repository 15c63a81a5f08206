"""Counting in the metadata of a session, for every implementation: atomic, 64 bits, and refused without a change."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import MetadataError
from tests.support.helpers import time_passes

if TYPE_CHECKING:
    from collections.abc import Callable

    from chuk_sessions import SessionManager

LARGEST, SMALLEST = 2**63 - 1, -(2**63)


async def metadata_of(manager: SessionManager, session_id: str) -> dict[str, Any]:
    info = await manager.get_session_info(session_id)
    assert info is not None
    metadata: dict[str, Any] = info["custom_metadata"]
    return metadata


async def test_counting(manager: SessionManager) -> None:
    """From 0 if the field is missing; other fields stay, and the value reads back as an int."""
    session_id = await manager.allocate_session(custom_metadata={"kept": [1], "used": 5})
    assert await manager.increment_session_metadata(session_id, "used") == 6
    assert await manager.increment_session_metadata(session_id, "used", -10) == -4
    assert await manager.increment_session_metadata(session_id, "new", 7) == 7
    assert await manager.increment_session_metadata(session_id, "zero", 0) == 0
    assert await metadata_of(manager, session_id) == {"kept": [1], "used": -4, "new": 7, "zero": 0}
    await manager.update_session_metadata(session_id, {"used": 40})
    assert await manager.increment_session_metadata(session_id, "used", amount=2) == 42


async def test_counting_touches(manager: SessionManager) -> None:
    """And moves no deadline."""
    session_id = await manager.allocate_session()
    before = await manager.get_session_info(session_id)
    await time_passes(0.01)
    await manager.increment_session_metadata(session_id, "used")
    after = await manager.get_session_info(session_id)
    assert before is not None
    assert after is not None
    assert after["last_accessed"] > before["last_accessed"]
    assert after["expires_at"] == before["expires_at"]


async def test_no_such_session(manager: SessionManager) -> None:
    """None, and nothing comes into being; a deleted one is not revived."""
    session_id = await manager.allocate_session()
    await manager.delete_session(session_id)
    for missing in (session_id, "unknown", ""):
        assert await manager.increment_session_metadata(missing, "used") is None
        assert await manager.get_session_info(missing) is None


@pytest.mark.parametrize("value", [1.0, 1.5, True, False, None, "1", "", [1], {"a": 1}, 2**63, -(2**63) - 1, 2**70])
async def test_what_is_no_integer_is_refused(manager: SessionManager, value: Any) -> None:
    """Nothing changes, the time of last access included."""
    session_id = await manager.allocate_session(custom_metadata={"used": value})
    before = await manager.get_session_info(session_id)
    with pytest.raises(MetadataError, match=r"custom_metadata\['used'\] is no integer"):
        await manager.increment_session_metadata(session_id, "used")
    assert await manager.get_session_info(session_id) == before


@pytest.mark.parametrize(("start", "amount"), [(LARGEST, 1), (SMALLEST, -1), (2, LARGEST), (-2, SMALLEST)])
async def test_overflow_is_refused(manager: SessionManager, start: int, amount: int) -> None:
    """Nothing changes then either."""
    session_id = await manager.allocate_session(custom_metadata={"used": start})
    before = await manager.get_session_info(session_id)
    with pytest.raises(MetadataError, match="64 bits"):
        await manager.increment_session_metadata(session_id, "used", amount)
    assert await manager.get_session_info(session_id) == before


async def test_all_64_bits(manager: SessionManager) -> None:
    """No digit is lost on the way, up to both ends."""
    session_id = await manager.allocate_session(custom_metadata={"up": LARGEST - 1, "down": SMALLEST + 1})
    assert await manager.increment_session_metadata(session_id, "up") == LARGEST
    assert await manager.increment_session_metadata(session_id, "down", -1) == SMALLEST
    assert await manager.increment_session_metadata(session_id, "fresh", LARGEST) == LARGEST
    expected = {"up": LARGEST, "down": SMALLEST, "fresh": LARGEST}
    assert await metadata_of(manager, session_id) == expected


@pytest.mark.parametrize("field", ["", "v", "expires", "m:x", "a b", "ключ", "\0", "\ud83d\ude00", "\ud800"], ids=repr)
async def test_any_text_is_a_field(manager: SessionManager, field: str) -> None:
    """It is the key that an update of that name sets."""
    session_id = await manager.allocate_session(custom_metadata={field: 1})
    assert await manager.increment_session_metadata(session_id, field) == 2
    metadata = await metadata_of(manager, session_id)
    assert list(metadata.values()) == [2]


async def test_wrong_arguments(manager: SessionManager) -> None:
    session_id = await manager.allocate_session()
    wrong: Any
    for wrong in (1.0, "1", None, True):
        with pytest.raises(TypeError, match="amount"):
            await manager.increment_session_metadata(session_id, "used", wrong)
    for amount in (LARGEST + 1, SMALLEST - 1):
        with pytest.raises(ValueError, match="amount"):
            await manager.increment_session_metadata(session_id, "used", amount)
    for wrong in (1, None, b"used"):
        with pytest.raises(TypeError, match="field"):
            await manager.increment_session_metadata(session_id, wrong)
    assert await metadata_of(manager, session_id) == {}


async def test_callers_at_the_same_time(manager_factory: Callable[..., SessionManager]) -> None:
    """Each gets a value of its own, whichever manager it asks."""
    managers = [manager_factory() for _ in range(5)]
    session_id = await managers[0].allocate_session()
    calls = [managers[n % 5].increment_session_metadata(session_id, "used") for n in range(100)]
    assert sorted(value for value in await asyncio.gather(*calls) if value) == list(range(1, 101))
    assert await metadata_of(managers[0], session_id) == {"used": 100}
