"""Metadata goes through the manager and every storage unharmed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings

from tests.manager.test_codec import METADATA
from tests.support.examples import examples
from tests.support.helpers import as_json, same

if TYPE_CHECKING:
    from chuk_sessions import SessionManager

# The storage of the fixture serves all examples of a test: each has a session of its own.
ONE_STORE = settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])


async def stored(manager: SessionManager, session_id: str) -> Any:
    info = await manager.get_session_info(session_id)
    assert info is not None
    return info["custom_metadata"]


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
