"""Removing keys of metadata through a manager, on every implementation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chuk_sessions import MetadataError
from tests.manager.test_codec import METADATA
from tests.support.examples import examples
from tests.support.helpers import as_json, same

if TYPE_CHECKING:
    from collections.abc import Callable

    from chuk_sessions import SessionManager

# The storage of the fixture serves all examples of a test: each has a session of its own.
ONE_STORE = settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])


async def metadata_of(manager: SessionManager, session_id: str) -> Any:
    info = await manager.get_session_info(session_id)
    assert info is not None
    return info["custom_metadata"]


async def test_setting_and_removing(manager: SessionManager) -> None:
    """In one call; a key that is not there is no error, a session that is not there is not found."""
    session_id = await manager.allocate_session(custom_metadata={"step": 2, "error": "late", "cart": []})
    assert await manager.update_session_metadata(session_id, {"step": 3}, remove=["error", "unknown"]) is True
    assert await metadata_of(manager, session_id) == {"step": 3, "cart": []}
    assert await manager.update_session_metadata("unknown", {"step": 3}, remove=["error"]) is False
    assert await manager.update_session_metadata(None, {"step": 3}, remove=["error"]) is False  # type: ignore[arg-type]


@pytest.mark.parametrize("several", [list, tuple, set, frozenset, iter, dict.fromkeys])
async def test_keys_may_be_any_iterable(manager: SessionManager, several: Callable[[Any], Any]) -> None:
    """But a mapping: whoever gives one meant something else."""
    session_id = await manager.allocate_session(custom_metadata={"a": 1, "b": 2, "c": 3})
    keys = several(["a", "b"])
    if several == dict.fromkeys:
        with pytest.raises(TypeError, match=r"^remove must be several keys, got dict$"):
            await manager.update_session_metadata(session_id, {}, remove=keys)
        keys = keys.keys()
    assert await manager.update_session_metadata(session_id, {}, remove=keys) is True
    assert await metadata_of(manager, session_id) == {"c": 3}


async def test_a_key_is_the_text_that_json_makes_of_it(manager: SessionManager) -> None:
    """As in metadata that is set."""
    keys: list[Any] = [1, 2.5, True, None, math.nan, "\ud83d\ude00", "\ud800"]
    session_id = await manager.allocate_session(custom_metadata=dict.fromkeys(keys, 1) | {"kept": 2})
    assert await manager.update_session_metadata(session_id, {}, remove=keys) is True
    assert await metadata_of(manager, session_id) == {"kept": 2}


@pytest.mark.parametrize(("key", "same_key"), [("a", "a"), (1, "1"), ("1", 1), (None, "null"), ("true", True)])
@pytest.mark.parametrize("merge", [True, False])
async def test_a_key_in_both(manager: SessionManager, key: Any, same_key: Any, merge: bool) -> None:
    """It is refused, whatever its form, and nothing changes."""
    session_id = await manager.allocate_session(custom_metadata={"a": 1})
    before = await manager.get_session_info(session_id)
    with pytest.raises(ValueError, match=r"^a key in remove is in custom_metadata too"):
        await manager.update_session_metadata(session_id, {"x": 0, key: 2}, merge, remove=["y", same_key])
    assert await manager.get_session_info(session_id) == before


@pytest.mark.parametrize("remove", ["key", b"key", bytearray(b"k"), "", None, 5, 1.5, True, ...], ids=repr)
async def test_what_is_not_several_keys(manager: SessionManager, remove: Any) -> None:
    """A text above all: its letters must not be taken for keys."""
    session_id = await manager.allocate_session(custom_metadata={"k": 1, "e": 2, "y": 3})
    before = await manager.get_session_info(session_id)
    for merge in (True, False):
        with pytest.raises(TypeError, match=f"^remove must be several keys, got {type(remove).__name__}$"):
            await manager.update_session_metadata(session_id, {}, merge, remove=remove)
    assert await manager.get_session_info(session_id) == before


@pytest.mark.parametrize("key", [b"a", ("a",), ["a"], {"a"}, object(), ...], ids=lambda key: type(key).__name__)
async def test_what_is_no_key(manager: SessionManager, key: Any) -> None:
    """The error names the argument, and nothing changes."""
    session_id = await manager.allocate_session(custom_metadata={"a": 1, "b": 2})
    before = await manager.get_session_info(session_id)
    with pytest.raises(TypeError, match=f"^each key in remove must be a str, got {type(key).__name__}$"):
        await manager.update_session_metadata(session_id, {}, remove=["b", key])
    assert await manager.get_session_info(session_id) == before


@pytest.mark.parametrize(
    "metadata", [["a"], "a", None, {("a",): 1}, {"x": object()}], ids=["list", "text", "None", "tuple", "object"]
)
async def test_metadata_that_is_refused(manager: SessionManager, metadata: Any) -> None:
    """It is told as in an update that removes nothing."""
    session_id = await manager.allocate_session(custom_metadata={"a": 1})
    before = await manager.get_session_info(session_id)
    for target in (session_id, "unknown"):
        with pytest.raises(MetadataError):
            await manager.update_session_metadata(target, metadata, remove=["a"])
    assert await manager.get_session_info(session_id) == before


async def test_replacing_leaves_nothing_to_remove(manager: SessionManager) -> None:
    """The metadata becomes what is given, whatever is to be removed beside."""
    session_id = await manager.allocate_session(custom_metadata={"a": 1, "b": 2})
    assert await manager.update_session_metadata(session_id, {"c": 3}, merge=False, remove=["a"]) is True
    assert await metadata_of(manager, session_id) == {"c": 3}


async def test_removing_nothing(manager: SessionManager) -> None:
    """Is an update as any other."""
    session_id = await manager.allocate_session(custom_metadata={"a": 1})
    nothing: Any
    for nothing in ((), [], set()):
        assert await manager.update_session_metadata(session_id, {"b": 2}, remove=nothing) is True
    assert await metadata_of(manager, session_id) == {"a": 1, "b": 2}


@ONE_STORE
@given(first=METADATA, second=METADATA, data=st.data())
async def test_any_metadata(
    manager: SessionManager, first: dict[Any, Any], second: dict[Any, Any], data: st.DataObject
) -> None:
    """What is left is what a dict would have."""
    expected, patch = as_json(first), as_json(second)
    removed = data.draw(st.sets(st.sampled_from(sorted(expected))) if expected else st.just(set())) - patch.keys()
    session_id = await manager.allocate_session(custom_metadata=first)
    assert await manager.update_session_metadata(session_id, second, remove=removed) is True
    left = {key: value for key, value in expected.items() if key not in removed}
    assert same(await metadata_of(manager, session_id), left | patch)
