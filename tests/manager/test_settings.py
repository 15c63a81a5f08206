"""Attributes of a manager that are set after it was made, and factories that are mocks, as programs for 0.6 do."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any
from unittest.mock import AsyncMock, MagicMock

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.providers.memory import MemoryStore, factory
from chuk_sessions.stores import StoreWrapper, stack
from tests.support.custom_provider import CustomSession, Data
from tests.support.custom_provider import factory as custom

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


async def hours_of(manager: SessionManager, session_id: str) -> float:
    info = await manager.get_session_info(session_id)
    assert info is not None
    created, expires = (datetime.fromisoformat(info[name]) for name in ("created_at", "expires_at"))
    return round((expires - created).total_seconds()) / 3600


async def test_another_factory(manager: SessionManager) -> None:
    """On every store: the calls after that go to the other one, and only they."""
    before, data = await manager.allocate_session(), Data()
    old_factory, manager.session_factory = manager.session_factory, custom(data)
    assert not await manager.validate_session(before)
    session_id = await manager.allocate_session(user_id="alice")
    assert len(data) == 1
    assert await manager.validate_session(session_id)
    manager.session_factory = old_factory
    assert await manager.validate_session(before)
    assert not await manager.validate_session(session_id)


async def test_another_factory_keeps_limit_and_idle_time(manager_factory: Callable[..., SessionManager]) -> None:
    manager = manager_factory(idle_ttl_minutes=10)
    manager.session_factory = factory(MemoryStore())
    info = await manager.get_session_info(await manager.allocate_session())
    assert info is not None
    assert "idle_expires_at" in info
    manager = SessionManager("box", custom(), max_sessions_per_user=1)
    manager.session_factory = factory(MemoryStore())
    first = await manager.allocate_session(user_id="alice")
    await manager.allocate_session(user_id="alice")
    assert not await manager.validate_session(first)


async def test_another_sandbox(manager: SessionManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sessions and the paths are those of the other one; the environment stays."""
    monkeypatch.setenv("CHUK_SANDBOX_ID", "box")
    before = await manager.allocate_session()
    assert manager.get_canonical_prefix(before) == f"grid/box/{before}/"
    manager.sandbox_id = "other"
    assert manager.get_canonical_prefix(before) == f"grid/other/{before}/"
    assert manager.generate_artifact_key(before, "a") == f"grid/other/{before}/a"
    assert not await manager.validate_session(before)
    session_id = await manager.allocate_session()
    info = await manager.get_session_info(session_id)
    assert info is not None
    assert info["sandbox_id"] == manager.get_cache_stats()["sandbox_id"] == "other"
    manager.sandbox_id = "box"
    assert await manager.validate_session(before)
    assert not await manager.validate_session(session_id)


async def test_other_hours(manager: SessionManager) -> None:
    assert await hours_of(manager, await manager.allocate_session()) == 24
    manager.default_ttl_hours = 0.5
    assert await hours_of(manager, await manager.allocate_session()) == 0.5
    assert manager.get_cache_stats()["default_ttl_hours"] == manager.default_ttl_hours == 0.5


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("session_factory", None, TypeError),
        ("session_factory", 5, TypeError),
        ("sandbox_id", "a/b", ValueError),
        ("sandbox_id", None, TypeError),
        ("default_ttl_hours", 0, ValueError),
        ("default_ttl_hours", "soon", TypeError),
    ],
)
async def test_what_is_refused_changes_nothing(
    manager: SessionManager, name: str, value: object, error: type[Exception]
) -> None:
    session_id, before = await manager.allocate_session(), getattr(manager, name)
    with pytest.raises(error, match=name):
        setattr(manager, name, value)
    assert getattr(manager, name) is before
    assert await manager.validate_session(session_id)
    assert await hours_of(manager, await manager.allocate_session()) == 24


@pytest.mark.parametrize("value", [None, 5])
def test_what_is_no_factory_is_named(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = SessionManager("box")
    with pytest.raises(TypeError, match=f"session_factory must be a provider factory, got {type(value).__name__}"):
        manager.session_factory = value


class TestMocks:
    """They have every attribute that is asked for, and are provider factories as any function."""

    def mock(self) -> tuple[MagicMock, AsyncMock]:
        session = AsyncMock()
        session.get.return_value = None
        made = MagicMock()
        made.return_value.__aenter__.return_value = session
        return made, session

    async def test_a_factory(self) -> None:
        made, session = self.mock()
        manager = SessionManager("box", made, strict=True)
        assert (await manager.allocate_session()).startswith("sess-")
        session.setex.assert_awaited_once()
        assert await manager.validate_session("id") is False

    async def test_a_factory_that_is_set(self) -> None:
        made, session = self.mock()
        manager = SessionManager("box", strict=True)
        manager.session_factory = made
        await manager.allocate_session()
        session.setex.assert_awaited_once()

    async def test_a_factory_with_wrappers(self) -> None:
        made, session = self.mock()
        await SessionManager("box", stack(made, StoreWrapper), strict=True).allocate_session()
        session.setex.assert_awaited_once()

    async def test_a_store_that_a_mock_was_given_is_used(self) -> None:
        made = MagicMock()
        made.session_store = factory(MemoryStore()).session_store
        manager = SessionManager("box", made, strict=True)
        assert await manager.validate_session(await manager.allocate_session(user_id="alice"))
        assert len(await manager.list_user_sessions("alice")) == 1


async def test_a_factory_that_is_given_without_being_called() -> None:
    """A module's function, in place of what it returns: the error says so."""
    manager = SessionManager("box", factory, strict=True)  # type: ignore[arg-type]
    with pytest.raises(Exception, match=r"a module's factory must be called: session_factory=module\.factory\(\)"):
        await manager.allocate_session()


async def test_a_function_that_gives_the_session_itself() -> None:
    data = Data()

    @asynccontextmanager
    async def own() -> AsyncIterator[CustomSession]:
        yield CustomSession(data)

    manager = SessionManager("box", own, strict=True)
    assert await manager.validate_session(await manager.allocate_session())
