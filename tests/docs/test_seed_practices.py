"""More examples of the documentation of 0.2: testing, custom provider, performance and security tips, error handling.

See `test_seed_examples.py`.
"""

from __future__ import annotations

import logging
import sys
import time
from contextlib import asynccontextmanager
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.provider_factory import factory_for_env
from tests.docs.test_seed_examples import ON_STORES, HTTPException, hours_between, info_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from chuk_sessions.provider import Factory

logger = logging.getLogger(__name__)


@pytest.fixture(params=ON_STORES)
def on_store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name: str = request.param
    monkeypatch.setenv("SESSION_PROVIDER", name)
    if name == "redis":
        monkeypatch.setenv("SESSION_REDIS_URL", request.getfixturevalue("redis_url"))
    return name


@pytest.fixture
def mgr(on_store: str) -> SessionManager:
    return SessionManager(sandbox_id="my-app")


# -- testing: fixtures that set SESSION_PROVIDER and yield ---------------------------------------------------


@pytest.fixture
async def session(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    monkeypatch.setenv("SESSION_PROVIDER", "memory")
    session_factory = factory_for_env()
    async with session_factory() as session:
        yield session


@pytest.fixture
async def session_manager(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SessionManager]:
    monkeypatch.setenv("SESSION_PROVIDER", "memory")
    yield SessionManager(sandbox_id="test-app")  # noqa: PT022 - written so in the documentation


@pytest.mark.asyncio
async def test_session_storage(session: Any) -> None:
    await session.setex("test_key", 60, "test_value")
    assert await session.get("test_key") == "test_value"


@pytest.mark.asyncio
async def test_session_management(session_manager: SessionManager) -> None:
    session_id = await session_manager.allocate_session(user_id="test_user", custom_metadata={"role": "tester"})
    assert await session_manager.validate_session(session_id)
    artifact_key = session_manager.generate_artifact_key(session_id, "test_artifact")
    assert artifact_key.startswith("grid/test-app/")
    await session_manager.update_session_metadata(session_id, {"test": "data"})
    info = await info_of(session_manager, session_id)
    assert info["custom_metadata"]["test"] == "data"


@pytest.mark.asyncio
async def test_multi_tenant_isolation(on_store: str) -> None:
    tenant_a_mgr = SessionManager(sandbox_id="tenant-a")
    tenant_b_mgr = SessionManager(sandbox_id="tenant-b")
    session_a = await tenant_a_mgr.allocate_session(user_id="alice")
    session_b = await tenant_b_mgr.allocate_session(user_id="alice")
    path_a = tenant_a_mgr.generate_artifact_key(session_a, "doc123")
    path_b = tenant_b_mgr.generate_artifact_key(session_b, "doc123")
    assert "tenant-a" in path_a
    assert "tenant-b" in path_b
    assert path_a != path_b


# -- custom provider -----------------------------------------------------------------------------------------


class CustomSession:
    """The published shape: four methods, no more; the bodies keep what they are given."""

    rows: dict[str, str]
    closed = 0

    async def setex(self, key: str, ttl: int, value: str) -> None:
        assert type(ttl) is int
        self.rows[key] = value

    async def get(self, key: str) -> str | None:
        return self.rows.get(key)

    async def delete(self, key: str) -> None:
        self.rows.pop(key, None)

    async def close(self) -> None:
        CustomSession.closed += 1


@pytest.fixture
def custom_provider(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module `custom_provider` of the documentation, with its `factory()`."""
    monkeypatch.setattr(CustomSession, "rows", {}, raising=False)
    monkeypatch.setattr(CustomSession, "closed", 0)

    def factory() -> Factory:
        @asynccontextmanager
        async def _ctx() -> AsyncIterator[CustomSession]:
            session = CustomSession()
            try:
                yield session
            finally:
                await session.close()

        return _ctx

    module = ModuleType("custom_provider")
    module.factory = factory  # type: ignore[attr-defined]
    return module


async def whole_life(manager: SessionManager) -> None:
    session_id = await manager.allocate_session(user_id="alice", custom_metadata={"role": "admin"})
    assert await manager.validate_session(session_id) is True
    assert await manager.update_session_metadata(session_id, {"page": 2}) is True
    assert (await info_of(manager, session_id))["custom_metadata"] == {"role": "admin", "page": 2}
    assert await manager.extend_session_ttl(session_id, additional_hours=4) is True
    assert len(CustomSession.rows) == 1
    assert await manager.delete_session(session_id) is True
    assert await manager.validate_session(session_id) is False
    assert CustomSession.rows == {}


async def test_custom_provider_as_session_factory(custom_provider: ModuleType) -> None:
    await whole_life(SessionManager(sandbox_id="my-app", session_factory=custom_provider.factory()))
    assert CustomSession.closed > 0, "the provider is closed after use"


@pytest.mark.parametrize("module", ["chuk_sessions.providers.custom_provider", "custom_provider", "my.custom_provider"])
async def test_custom_provider_by_name(
    module: str, custom_provider: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module put among the providers goes by its last name, any other by its dotted path."""
    monkeypatch.setitem(sys.modules, module, custom_provider)
    monkeypatch.setenv("SESSION_PROVIDER", module.removeprefix("chuk_sessions.providers."))
    await whole_life(SessionManager(sandbox_id="my-app"))
    async with factory_for_env()() as session:
        await session.setex("key", 300, "value")
        assert await session.get("key") == "value"


async def test_custom_provider_that_does_nothing() -> None:
    """Exactly as published, with `pass` in every method: it keeps nothing, so nothing is found, and nothing fails."""

    class EmptySession:
        async def setex(self, key: str, ttl: int, value: str) -> None:
            pass

        async def get(self, key: str) -> None:
            pass

        async def delete(self, key: str) -> None:
            pass

        async def close(self) -> None:
            pass

    @asynccontextmanager
    async def _ctx() -> AsyncIterator[EmptySession]:
        yield EmptySession()

    manager = SessionManager(sandbox_id="my-app", session_factory=_ctx, strict=True)
    session_id = await manager.allocate_session(user_id="alice")
    assert session_id.startswith("sess-alice-")
    assert await manager.validate_session(session_id) is False
    assert await manager.get_session_info(session_id) is None


# -- performance and security tips ---------------------------------------------------------------------------


async def test_performance_tips(mgr: SessionManager) -> None:
    session_id = await mgr.allocate_session(user_id="alice")
    paths = [mgr.generate_artifact_key(session_id, f"artifact_{i}") for i in range(1000)]
    assert paths == [f"grid/my-app/{session_id}/artifact_{i}" for i in range(1000)]
    batch = {"file_count": 100, "total_bytes": 1024000, "last_activity": time.time()}
    assert await mgr.update_session_metadata(session_id, batch) is True
    assert (await info_of(mgr, session_id))["custom_metadata"] == batch
    for hours in (1, 8, 24):
        anonymous = await mgr.allocate_session(ttl_hours=hours)
        info = await info_of(mgr, anonymous)
        assert hours_between(info) == pytest.approx(hours)
        assert info["user_id"] is None


async def test_security_tips(mgr: SessionManager) -> None:
    auth_session = await mgr.allocate_session(user_id="alice", ttl_hours=8)
    api_token = await mgr.allocate_session(user_id="service", ttl_hours=1)
    temp_code = await mgr.allocate_session(user_id="reset", ttl_hours=0.25)
    for session_id, hours in ((auth_session, 8), (api_token, 1), (temp_code, 0.25)):
        assert hours_between(await info_of(mgr, session_id)) == pytest.approx(hours)

    security = {
        "ip_address": "192.168.1.100",
        "user_agent": "Mozilla/5.0...",
        "login_method": "oauth",
        "security_level": "high",
    }
    session_id = await mgr.allocate_session(user_id="alice", custom_metadata=security)
    assert (await info_of(mgr, session_id))["custom_metadata"] == security
    assert await mgr.delete_session(temp_code) is True
    assert await mgr.validate_session(temp_code) is False
    production_mgr = SessionManager(sandbox_id="webapp-prod")
    staging_mgr = SessionManager(sandbox_id="webapp-staging")
    session_id = await production_mgr.allocate_session(user_id="alice")
    assert await staging_mgr.validate_session(session_id) is False


async def test_reused_session_manager(on_store: str) -> None:
    class Application:
        def __init__(self) -> None:
            self.session_mgr = SessionManager(sandbox_id="myapp")

        async def handle_request(self, user_id: str) -> str:
            return await self.session_mgr.allocate_session(user_id=user_id)

    app = Application()
    ids = [await app.handle_request("alice") for _ in range(20)]
    assert len(set(ids)) == 20
    assert all([await app.session_mgr.validate_session(session_id) for session_id in ids])


# -- error handling and integration --------------------------------------------------------------------------


async def test_robust_session_operation(mgr: SessionManager, on_store: str, caplog: pytest.LogCaptureFixture) -> None:
    """Works on a live store, and degrades to None on one that cannot be reached."""

    async def robust_session_operation(mgr: SessionManager) -> dict[str, Any] | None:
        try:
            session_id = await mgr.allocate_session(user_id="alice")
            return await mgr.get_session_info(session_id)
        except Exception as e:
            logger.error(f"Session operation failed: {e}")
            return None

    info = await robust_session_operation(mgr)
    assert info is not None
    assert info["user_id"] == "alice"
    if on_store == "redis":
        from chuk_sessions.providers import redis

        down = SessionManager(sandbox_id="my-app", session_factory=redis.factory("redis://localhost:1/0"))
        assert await robust_session_operation(down) is None
        assert "Session operation failed: " in caplog.text
        assert "localhost:1" in caplog.text


async def test_protected_operation(mgr: SessionManager) -> None:
    async def protected_operation(session_id: str) -> str:
        if not await mgr.validate_session(session_id):
            raise HTTPException(401, "Invalid or expired session")
        return "done"

    assert await protected_operation(await mgr.allocate_session(user_id="alice")) == "done"
    with pytest.raises(HTTPException):
        await protected_operation("unknown")


class ArtifactStore:
    """In the place of the one of chuk_artifacts: remembers what it was given."""

    def __init__(self, storage_provider: str, session_provider: str) -> None:
        self.stored: list[SimpleNamespace] = []

    async def store(self, **artifact: Any) -> str:
        self.stored.append(SimpleNamespace(**artifact))
        return f"artifact-{len(self.stored)}"

    async def list_by_session(self, session_id: str) -> list[SimpleNamespace]:
        return [artifact for artifact in self.stored if artifact.session_id == session_id]


async def test_integration_with_artifacts(on_store: str) -> None:
    session_mgr = SessionManager(sandbox_id="myapp")
    artifact_store = ArtifactStore(storage_provider="s3", session_provider="redis")

    async def upload_user_file(user_id: str, file_data: bytes, filename: str) -> tuple[str, str]:
        session_id = await session_mgr.allocate_session(user_id=user_id)
        artifact_id = await artifact_store.store(
            data=file_data,
            mime="application/octet-stream",
            summary=f"User uploaded: {filename}",
            filename=filename,
            session_id=session_id,
        )
        files = await artifact_store.list_by_session(session_id)
        await session_mgr.update_session_metadata(session_id, {"last_upload": time.time(), "total_files": len(files)})
        return session_id, artifact_id

    async def get_current_session(session_token: str) -> str:
        if not await session_mgr.validate_session(session_token):
            raise HTTPException(401, "Invalid session")
        return session_token

    session_id, artifact_id = await upload_user_file("current_user", b"data", "report.pdf")
    assert artifact_id == "artifact-1"
    assert (await info_of(session_mgr, session_id))["custom_metadata"]["total_files"] == 1
    assert await get_current_session(session_id) == session_id
    with pytest.raises(HTTPException):
        await get_current_session("forged")
