"""Counting in the metadata of a session through a manager, on every implementation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

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


@pytest.mark.parametrize("field", ["\ud83d\ude00", "\ud800"], ids=repr)
async def test_a_field_is_the_text_that_json_makes_of_it(manager: SessionManager, field: str) -> None:
    """It is the key that an update of that name sets."""
    session_id = await manager.allocate_session(custom_metadata={field: 1})
    assert await manager.increment_session_metadata(session_id, field) == 2
    assert list((await metadata_of(manager, session_id)).values()) == [2]


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
