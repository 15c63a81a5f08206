"""What SessionManager refuses, and that nothing is stored or lost then, on every implementation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import MetadataError, SessionManager, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable

BAD_HOURS: tuple[Any, ...] = (
    0,
    -0.0,
    -1,
    -0.001,
    float("nan"),
    float("inf"),
    float("-inf"),
    876_601,
    1e300,
    10**400,
    Decimal("sNaN"),
)
# Any kind of number will do.
ONE_HOUR = (1, 1.0, True, Decimal(1), Fraction(1))
NO_HOURS: tuple[Any, ...] = ("1", b"1", [1], {}, object(), 1j)


@dataclass
class Point:
    x: int = 1


REFUSED: dict[str, tuple[dict[Any, Any], str]] = {
    "object": ({"ok": 1, "bad": object()}, "custom_metadata['bad']"),
    "datetime": ({"a": {"when": datetime(2026, 1, 1, tzinfo=UTC)}}, "custom_metadata['a']['when']"),
    "dataclass": ({"points": [1, Point()]}, "custom_metadata['points'][1]"),
    "set": ({"a": [[{1, 2}]]}, "custom_metadata['a'][0][0]"),
    "bytes": ({"raw": b"x"}, "custom_metadata['raw']"),
    "key": ({"a": {("t",): 1}}, "a key of custom_metadata['a']"),
    "top key": ({("t",): 1}, "a key of custom_metadata"),
}


def hours_id(hours: Any) -> str:
    return repr(hours)[:12]


@pytest.mark.parametrize("hours", BAD_HOURS, ids=hours_id)
async def test_hours_out_of_range(manager: SessionManager, hours: Any) -> None:
    """A ValueError that names the argument; no session comes of it and none moves."""
    with pytest.raises(ValueError, match=r"^ttl_hours must"):
        await manager.allocate_session("new", ttl_hours=hours)
    assert await manager.get_session_info("new") is None
    await manager.allocate_session("known")
    old = await manager.get_session_info("known")
    with pytest.raises(ValueError, match=r"^additional_hours must"):
        await manager.extend_session_ttl("known", hours)
    with pytest.raises(ValueError, match=r"^ttl_hours must"):
        await manager.set_session_ttl("known", hours)
    with pytest.raises(ValueError, match=r"^ttl_hours must"):
        await manager.allocate_session("known", ttl_hours=hours)
    assert await manager.get_session_info("known") == old


@pytest.mark.parametrize("hours", NO_HOURS, ids=hours_id)
async def test_hours_that_are_no_number(manager: SessionManager, hours: Any) -> None:
    with pytest.raises(TypeError, match=r"^ttl_hours must"):
        await manager.allocate_session("new", ttl_hours=hours)
    assert await manager.get_session_info("new") is None
    with pytest.raises(TypeError, match=r"^additional_hours must"):
        await manager.extend_session_ttl("new", hours)
    with pytest.raises(TypeError, match=r"^ttl_hours must"):
        await manager.set_session_ttl("new", hours)


async def test_kinds_of_hours(manager: SessionManager) -> None:
    for hours in ONE_HOUR:
        session_id = await manager.allocate_session(ttl_hours=hours)  # type: ignore[arg-type]
        assert await manager.extend_session_ttl(session_id, hours) is True  # type: ignore[arg-type]
        info = await manager.get_session_info(session_id)
        assert info is not None
        life = datetime.fromisoformat(info["expires_at"]) - datetime.fromisoformat(info["created_at"])
        assert life.total_seconds() == pytest.approx(7200, abs=1e-3)
        assert await manager.set_session_ttl(session_id, hours) is True  # type: ignore[arg-type]
        info = await manager.get_session_info(session_id)
        assert info is not None
        life = datetime.fromisoformat(info["expires_at"]) - datetime.fromisoformat(info["last_accessed"])
        assert life.total_seconds() == pytest.approx(3600, abs=0.1)


def test_default_hours() -> None:
    """The same rules for the manager's own default, at once."""
    for hours in BAD_HOURS:
        with pytest.raises(ValueError, match=r"^default_ttl_hours must"):
            SessionManager("box", default_ttl_hours=hours)
    for hours in (*NO_HOURS, None):
        with pytest.raises(TypeError, match=r"^default_ttl_hours must"):
            SessionManager("box", default_ttl_hours=hours)


def test_touch_interval() -> None:
    for interval in (-1, -0.001, float("nan"), float("inf"), 10**400):
        with pytest.raises(ValueError, match=r"^touch_interval must"):
            SessionManager("box", touch_interval=interval)
    for wrong in ("1", None, [1]):
        with pytest.raises(TypeError, match=r"^touch_interval must"):
            SessionManager("box", touch_interval=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("session_id", ["", ".", "..", "a/b", "/", "a/", 5, b"x", ["a"]], ids=repr)
async def test_ids_that_are_no_path_segment(manager: SessionManager, session_id: Any) -> None:
    with pytest.raises(ValueError if isinstance(session_id, str) else TypeError, match=r"^session_id must"):
        await manager.allocate_session(session_id)
    assert await manager.validate_session(session_id) is False


@pytest.mark.parametrize("user_id", [5, b"alice", ["alice"], 0, False], ids=repr)
async def test_users_that_are_no_text(manager: SessionManager, user_id: Any) -> None:
    with pytest.raises(TypeError, match=r"^user_id must"):
        await manager.allocate_session("new", user_id)
    assert await manager.validate_session("new") is False


@pytest.mark.parametrize(("metadata", "path"), REFUSED.values(), ids=REFUSED)
async def test_refused_metadata(manager: SessionManager, metadata: dict[Any, Any], path: str) -> None:
    """The error names the path to the value; no session is made, none is changed or touched."""
    with pytest.raises(MetadataError) as caught:
        await manager.allocate_session("new", custom_metadata=metadata)
    assert str(caught.value).startswith(f"{path} cannot be stored")
    assert await manager.get_session_info("new") is None
    await manager.allocate_session("known", custom_metadata={"kept": {"a": 1}})
    old = await manager.get_session_info("known")
    for merge in (True, False):
        with pytest.raises(MetadataError) as caught:
            await manager.update_session_metadata("known", metadata, merge=merge)
        assert str(caught.value).startswith(f"{path} cannot be stored")
    assert await manager.get_session_info("known") == old


@pytest.mark.parametrize("metadata", [["a"], "text", 5, [("a", 1)]], ids=repr)
async def test_metadata_that_is_no_dict(manager: SessionManager, metadata: Any) -> None:
    with pytest.raises(MetadataError, match="custom_metadata must be a dict"):
        await manager.allocate_session("new", custom_metadata=metadata)
    assert await manager.validate_session("new") is False
    for session_id in ("unknown", await manager.allocate_session()):
        for merge in (True, False):
            with pytest.raises(MetadataError, match="custom_metadata must be a dict"):
                await manager.update_session_metadata(session_id, metadata, merge=merge)


async def test_refused_metadata_of_an_unknown_session(manager: SessionManager) -> None:
    """The fault is reported before the session is looked for, whatever the id is."""
    for session_id in ("unknown", None):
        with pytest.raises(MetadataError, match="custom_metadata"):
            await manager.update_session_metadata(session_id, {"a": object()})  # type: ignore[arg-type]


@pytest.mark.parametrize("merge", [True, False])
async def test_a_refusal_on_top_of_much(manager_factory: Callable[..., SessionManager], merge: bool) -> None:
    """The path is that of the caller's own value, however much is stored already."""
    manager = manager_factory(strict=True)
    session_id = await manager.allocate_session(custom_metadata={f"k{n}": [n, None] for n in range(100)})
    with pytest.raises(MetadataError, match=r"^custom_metadata\['k5'\]\['x'\] cannot"):
        await manager.update_session_metadata(session_id, {"k5": {"x": object()}}, merge=merge)
    info = await manager.get_session_info(session_id)
    assert info is not None
    assert info["custom_metadata"] == {f"k{n}": [n, None] for n in range(100)}


@pytest.mark.parametrize("wrong", ["redis", 5, object()])
def test_a_session_factory_that_is_none(wrong: Any) -> None:
    with pytest.raises(TypeError, match="session_factory must be a provider factory"):
        SessionManager("box", wrong)


async def test_a_session_factory_that_was_not_called() -> None:
    """The module's function in the place of what it returns: the error says what to do."""
    manager = SessionManager("box", lambda: lambda: None, strict=True)  # type: ignore[arg-type, return-value]
    with pytest.raises(StorageError, match=r"session_factory=module\.factory\(\)"):
        await manager.validate_session("id")
