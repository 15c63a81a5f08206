"""Metadata goes through the manager and every storage unharmed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.manager.test_codec import METADATA, SAMPLES
from tests.support.helpers import as_json, same

if TYPE_CHECKING:
    from chuk_sessions import SessionManager

# The storage of the fixture serves all examples of a test: each has a session of its own.
ONE_STORE = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


async def stored(manager: SessionManager, session_id: str) -> Any:
    info = await manager.get_session_info(session_id)
    assert info is not None
    return info["custom_metadata"]


@pytest.mark.parametrize("metadata", SAMPLES.values(), ids=SAMPLES)
async def test_samples(manager: SessionManager, metadata: dict[Any, Any]) -> None:
    """Stored at once, merged into others, and in the place of others."""
    expected = as_json(metadata)
    session_id = await manager.allocate_session(custom_metadata=metadata)
    assert same(await stored(manager, session_id), expected)
    assert await manager.update_session_metadata(session_id, {"other key": 1}) is True
    assert same(await stored(manager, session_id), {**expected, "other key": 1})
    assert await manager.update_session_metadata(session_id, metadata) is True
    assert same(await stored(manager, session_id), {**expected, "other key": 1})
    assert await manager.update_session_metadata(session_id, metadata, merge=False) is True
    assert same(await stored(manager, session_id), expected)


@ONE_STORE
@given(first=METADATA, second=METADATA)
async def test_allocate_then_merge_then_replace(
    manager: SessionManager, first: dict[Any, Any], second: dict[Any, Any]
) -> None:
    session_id = await manager.allocate_session(custom_metadata=first)
    assert same(await stored(manager, session_id), as_json(first))
    assert await manager.update_session_metadata(session_id, second) is True
    assert same(await stored(manager, session_id), as_json(first) | as_json(second))
    assert await manager.update_session_metadata(session_id, first, merge=False) is True
    assert same(await stored(manager, session_id), as_json(first))


async def test_fixed_parts_cannot_be_shadowed(manager: SessionManager) -> None:
    """Metadata named like our own fields is metadata; the session stays alice's."""
    metadata = {"user": "mallory", "user_id": "mallory", "v": 0, "expires": 0, "created": 0, "status": "dead"}
    session_id = await manager.allocate_session("id", "alice", custom_metadata=metadata)
    await manager.update_session_metadata(session_id, {"accessed": 0, "metadata": "{}", "m:user": "mallory"})
    info = await manager.get_session_info(session_id)
    assert info is not None
    assert (info["user_id"], info["status"]) == ("alice", "active")
    assert await manager.validate_session(session_id) is True


async def test_ten_thousand_fields(manager: SessionManager) -> None:
    """More than a Lua call takes arguments: stored, replaced by as many others, and dropped."""
    many = {f"key-{n}": n for n in range(10_000)}
    others = {f"other-{n}": n for n in range(10_000)}
    session_id = await manager.allocate_session(custom_metadata=many)
    await manager.update_session_metadata(session_id, others)
    assert await stored(manager, session_id) == {**many, **others}
    await manager.update_session_metadata(session_id, others, merge=False)
    assert await stored(manager, session_id) == others
    await manager.update_session_metadata(session_id, {}, merge=False)
    assert await stored(manager, session_id) == {}
