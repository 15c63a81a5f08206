"""The documentation that 0.2 was published with: each example, with the calls and arguments it shows, still works.

The examples leave names open (`request`, `store_file`, ...); a test supplies them. What an example promises in a
comment is asserted, except that ids are longer now. Each test runs on memory and on Redis, chosen by the environment
only, as the documentation says to. Its testing, advanced usage and advice are in `test_seed_practices.py`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import secrets
import sys
import time
import uuid
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.provider_factory import factory_for_env
from chuk_sessions.providers.memory import MemoryFactory

ON_STORES = [pytest.param("memory"), pytest.param("redis", marks=pytest.mark.redis)]
ID_TAIL = r"-\d{10,}-[0-9a-f]{38}"


class HTTPException(Exception):
    """In the place of FastAPI's."""


@pytest.fixture(params=ON_STORES, autouse=True)
def provider(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name: str = request.param
    monkeypatch.setenv("SESSION_PROVIDER", name)
    if name == "redis":
        monkeypatch.setenv("SESSION_REDIS_URL", request.getfixturevalue("redis_url"))
    return name


async def info_of(manager: SessionManager, session_id: str) -> dict[str, Any]:
    info = await manager.get_session_info(session_id)
    assert info is not None
    return info


def hours_between(info: dict[str, Any], start: str = "created_at", end: str = "expires_at") -> float:
    moments = [datetime.fromisoformat(info[name]) for name in (start, end)]
    return (moments[1] - moments[0]).total_seconds() / 3600


# -- quick start ---------------------------------------------------------------------------------------------


def test_basic_provider_usage(capsys: pytest.CaptureFixture[str]) -> None:
    async def basic_usage() -> None:
        session_factory = factory_for_env()
        async with session_factory() as session:
            await session.setex("user:123", 300, "alice")
            username = await session.get("user:123")
            print(f"User: {username}")
            await session.delete("user:123")
            assert await session.get("user:123") is None

    asyncio.run(basic_usage())
    assert capsys.readouterr().out == "User: alice\n"


def test_session_manager_usage() -> None:
    metadata = {"role": "admin", "department": "engineering", "permissions": ["read", "write", "admin"]}

    async def session_management() -> None:
        session_mgr = SessionManager(sandbox_id="my-app", default_ttl_hours=24)
        session_id = await session_mgr.allocate_session(user_id="alice", custom_metadata=metadata)
        artifact_key = session_mgr.generate_artifact_key(session_id, "document123")
        assert re.fullmatch(rf"grid/my-app/sess-alice{ID_TAIL}/document123", artifact_key)
        assert await session_mgr.validate_session(session_id) is True
        activity = {"last_activity": "2024-01-01T12:00:00Z"}
        assert await session_mgr.update_session_metadata(session_id, activity) is True
        info = await info_of(session_mgr, session_id)
        assert info["custom_metadata"] == metadata | activity
        assert hours_between(info) == pytest.approx(24)

    asyncio.run(session_management())


# -- session management --------------------------------------------------------------------------------------


async def test_session_lifecycle() -> None:
    session_mgr = SessionManager(sandbox_id="webapp")
    login = {"login_method": "oauth", "ip_address": "192.168.1.100", "permissions": ["read", "write"]}
    session_id = await session_mgr.allocate_session(user_id="alice", ttl_hours=8, custom_metadata=login)
    assert await session_mgr.validate_session(session_id) is True

    session_info = await info_of(session_mgr, session_id)
    assert session_info["user_id"] == "alice"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", session_info["created_at"])
    assert session_info["custom_metadata"] == login
    assert hours_between(session_info) == pytest.approx(8)

    changes = {"last_activity": time.time(), "files_uploaded": 5}
    assert await session_mgr.update_session_metadata(session_id, changes) is True
    assert await session_mgr.extend_session_ttl(session_id, additional_hours=4) is True
    session_info = await info_of(session_mgr, session_id)
    assert session_info["custom_metadata"] == login | changes
    assert hours_between(session_info) == pytest.approx(12)

    assert await session_mgr.delete_session(session_id) is True
    assert await session_mgr.validate_session(session_id) is False
    assert await session_mgr.get_session_info(session_id) is None
    assert await session_mgr.delete_session(session_id) is False


async def test_session_features(provider: str) -> None:
    """Auto-allocation under an id of one's own, touch on access, and the two administrative calls."""
    session_mgr = SessionManager(sandbox_id="webapp")
    assert await session_mgr.allocate_session(session_id="my-id", user_id="alice") == "my-id"
    before = await info_of(session_mgr, "my-id")
    await asyncio.sleep(0.002)
    assert await session_mgr.allocate_session(session_id="my-id", user_id="alice") == "my-id"
    touched = await info_of(session_mgr, "my-id")
    assert touched["last_accessed"] > before["last_accessed"]
    assert touched["expires_at"] == before["expires_at"]
    assert await session_mgr.cleanup_expired_sessions() == 0
    cached, most = (1, sys.maxsize) if provider == "memory" else (0, 0)
    assert session_mgr.get_cache_stats() == {
        "cached_sessions": cached,
        "max_cache_size": most,
        "sandbox_id": "webapp",
        "default_ttl_hours": 24,
    }


async def test_grid_operations() -> None:
    session_mgr = SessionManager(sandbox_id="webapp")
    session_id = await session_mgr.allocate_session(user_id="alice")
    assert session_mgr.get_canonical_prefix(session_id) == f"grid/webapp/{session_id}/"
    artifact_key = session_mgr.generate_artifact_key(session_id, "document123")
    assert artifact_key == f"grid/webapp/{session_id}/document123"
    parsed = session_mgr.parse_grid_key(artifact_key)
    assert parsed == {"sandbox_id": "webapp", "session_id": session_id, "artifact_id": "document123"}
    assert session_mgr.get_session_prefix_pattern() == "grid/webapp/"


@pytest.mark.parametrize(
    "path",
    [
        "grid/webapp/sess-alice-1234567890-abcd1234/document123",
        "grid/mcp-server/sess-claude-conversation-456/report789",
        "grid/api-gateway/sess-client-beta-789/cache-key-abc",
    ],
)
def test_published_grid_paths(path: str) -> None:
    _, sandbox_id, session_id, artifact_id = path.split("/")
    manager = SessionManager(sandbox_id=sandbox_id)
    assert manager.generate_artifact_key(session_id, artifact_id) == path
    expected = {"sandbox_id": sandbox_id, "session_id": session_id, "artifact_id": artifact_id}
    assert manager.parse_grid_key(path) == expected


async def test_multi_tenant_grid_isolation() -> None:
    app_a_mgr = SessionManager(sandbox_id="app-a")
    app_b_mgr = SessionManager(sandbox_id="app-b")
    shared_mgr = SessionManager(sandbox_id="shared-services")
    alice_in_a = await app_a_mgr.allocate_session(user_id="alice")
    alice_in_b = await app_b_mgr.allocate_session(user_id="alice")
    doc_in_a = app_a_mgr.generate_artifact_key(alice_in_a, "report123")
    doc_in_b = app_b_mgr.generate_artifact_key(alice_in_b, "report123")
    assert re.fullmatch(rf"grid/app-a/sess-alice{ID_TAIL}/report123", doc_in_a)
    assert re.fullmatch(rf"grid/app-b/sess-alice{ID_TAIL}/report123", doc_in_b)
    for stranger in (app_b_mgr, shared_mgr):
        assert await stranger.validate_session(alice_in_a) is False
        assert await stranger.get_session_info(alice_in_a) is None
        assert await stranger.delete_session(alice_in_a) is False
    assert await app_a_mgr.validate_session(alice_in_a) is True


# -- providers and configuration -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["memory", "mem", "inmemory"])
async def test_memory_provider_names(name: str) -> None:
    os.environ["SESSION_PROVIDER"] = name
    assert type(factory_for_env()) is MemoryFactory
    assert await SessionManager().validate_session("unknown") is False


@pytest.mark.parametrize("name", ["redis", "redis_store"])
def test_redis_provider_names(name: str) -> None:
    """The server need not be there when the factory is made."""
    from chuk_sessions.providers.redis import RedisFactory

    os.environ["SESSION_PROVIDER"] = name
    os.environ["SESSION_REDIS_URL"] = "redis://localhost:6379/0"
    assert type(factory_for_env()) is RedisFactory


async def test_fallback_redis_url(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", os.environ.pop("SESSION_REDIS_URL", ""))
    async with factory_for_env()() as session:
        await session.setex("key", 60, "value")
        assert await session.get("key") == "value"


@pytest.mark.parametrize(
    ("environment", "sandbox_id"), [("development", "shop-dev"), ("testing", "shop-test"), ("production", "shop-prod")]
)
async def test_environment_specific_configuration(
    environment: str, sandbox_id: str, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`production` runs on the Redis of REDIS_URL; without a server here only its sandbox can be looked at."""

    def get_session_manager(app_name: str) -> SessionManager:
        env = os.getenv("ENVIRONMENT", "development")
        if env == "production":
            os.environ["SESSION_PROVIDER"] = "redis"
            os.environ["SESSION_REDIS_URL"] = os.environ["REDIS_URL"]
            return SessionManager(sandbox_id=f"{app_name}-prod")
        os.environ["SESSION_PROVIDER"] = "memory"
        return SessionManager(sandbox_id=f"{app_name}-{'dev' if env == 'development' else 'test'}")

    monkeypatch.setenv("ENVIRONMENT", environment)
    monkeypatch.setenv("REDIS_URL", os.environ.get("SESSION_REDIS_URL", "redis://localhost:6379/0"))
    manager = get_session_manager("shop")
    assert manager.sandbox_id == sandbox_id
    if provider == "redis" or environment != "production":
        assert await manager.validate_session(await manager.allocate_session(user_id="alice")) is True


# -- real-world examples -------------------------------------------------------------------------------------


async def test_web_application() -> None:
    web_mgr = SessionManager(sandbox_id="webapp-prod", default_ttl_hours=8)
    request = SimpleNamespace(client=SimpleNamespace(host="192.0.2.7"), headers={"user-agent": "Mozilla/5.0"})
    stored: dict[str, bytes] = {}

    async def handle_login(username: str) -> str:
        return await web_mgr.allocate_session(
            user_id=username,
            custom_metadata={
                "login_method": "password",
                "ip_address": request.client.host,
                "user_agent": request.headers.get("user-agent"),
                "permissions": ["read"],
                "login_timestamp": time.time(),
            },
        )

    async def handle_file_upload(session_id: str, file_data: bytes) -> dict[str, str]:
        if not await web_mgr.validate_session(session_id):
            raise HTTPException(401, "Invalid session")
        file_id = str(uuid.uuid4())
        artifact_path = web_mgr.generate_artifact_key(session_id, file_id)
        stored[artifact_path] = file_data
        session_info = await info_of(web_mgr, session_id)
        upload_count = session_info["custom_metadata"].get("uploads", 0) + 1
        await web_mgr.update_session_metadata(session_id, {"uploads": upload_count, "last_upload": time.time()})
        return {"file_id": file_id, "path": artifact_path}

    session_id = await handle_login("alice")
    uploads = [await handle_file_upload(session_id, b"data") for _ in range(3)]
    assert list(stored) == [f"grid/webapp-prod/{session_id}/{upload['file_id']}" for upload in uploads]
    metadata = (await info_of(web_mgr, session_id))["custom_metadata"]
    assert (metadata["uploads"], metadata["login_method"], metadata["ip_address"]) == (3, "password", "192.0.2.7")
    await web_mgr.delete_session(session_id)
    with pytest.raises(HTTPException):
        await handle_file_upload(session_id, b"data")


async def test_mcp_server() -> None:
    mcp_mgr = SessionManager(sandbox_id="mcp-server", default_ttl_hours=24)
    session_id = await mcp_mgr.allocate_session(
        user_id="claude_conversation_123",
        custom_metadata={
            "client": "claude",
            "conversation_id": "123",
            "tools_enabled": ["file_read", "file_write", "file_list"],
            "safety_level": "standard",
            "start_time": time.time(),
        },
    )

    async def handle_mcp_tool_call(session_id: str, tool_name: str, artifact_id: str) -> str:
        if not await mcp_mgr.validate_session(session_id):
            raise Exception("Invalid MCP session")
        artifact_path = mcp_mgr.generate_artifact_key(session_id, artifact_id)
        session_info = await info_of(mcp_mgr, session_id)
        tool_calls = session_info["custom_metadata"].get("tool_calls", [])
        tool_calls.append({"tool": tool_name, "artifact_id": artifact_id, "timestamp": time.time()})
        changes = {"tool_calls": tool_calls, "last_activity": time.time()}
        await mcp_mgr.update_session_metadata(session_id, changes)
        return artifact_path

    for tool, artifact in [("file_read", "document_analysis_1"), ("file_write", "generated_report_456")]:
        path = await handle_mcp_tool_call(session_id, tool, artifact)
        assert re.fullmatch(rf"grid/mcp-server/sess-claudeco{ID_TAIL}/{artifact}", path)
    calls = (await info_of(mcp_mgr, session_id))["custom_metadata"]["tool_calls"]
    assert [call["tool"] for call in calls] == ["file_read", "file_write"]
    with pytest.raises(Exception, match="Invalid MCP session"):
        await handle_mcp_tool_call("unknown", "file_read", "x")


@pytest.mark.parametrize(("tier", "limit"), [("free", 100), ("unheard-of", 100), ("standard", 1000)])
async def test_api_gateway(tier: str, limit: int) -> None:
    api_mgr = SessionManager(sandbox_id="api-gateway", default_ttl_hours=1)
    rate_limits = {"free": 100, "standard": 1000, "premium": 10000}
    session_id = await api_mgr.allocate_session(
        user_id="client-1",
        ttl_hours=1,
        custom_metadata={
            "client_id": "client-1",
            "tier": tier,
            "rate_limit": rate_limits.get(tier, 100),
            "requests_made": 0,
            "window_start": time.time(),
        },
    )

    async def check_rate_limit(session_id: str) -> bool:
        session_info = await api_mgr.get_session_info(session_id)
        if not session_info:
            return False
        metadata = session_info["custom_metadata"]
        requests_made = metadata.get("requests_made", 0)
        if requests_made >= metadata.get("rate_limit", 100):
            return False
        changes = {"requests_made": requests_made + 1, "last_request": time.time()}
        await api_mgr.update_session_metadata(session_id, changes)
        return True

    allowed = [await check_rate_limit(session_id) for _ in range(limit + 1)]
    assert allowed == [True] * limit + [False]
    assert await check_rate_limit("unknown") is False


@pytest.mark.parametrize(("tier", "limit"), [("free", 100), ("standard", 1000)])
async def test_api_gateway_with_requests_that_arrive_together(tier: str, limit: int) -> None:
    """The example above with its two steps made one: exactly as many pass as the limit says."""
    api_mgr = SessionManager(sandbox_id="api-gateway", default_ttl_hours=1)
    rate_limits = {"free": 100, "standard": 1000, "premium": 10000}
    metadata = {"client_id": "client-1", "tier": tier, "rate_limit": rate_limits[tier], "requests_made": 0}
    session_id = await api_mgr.allocate_session(user_id="client-1", custom_metadata=metadata)

    async def check_rate_limit(session_id: str) -> bool:
        requests_made = await api_mgr.increment_session_metadata(session_id, "requests_made")
        if requests_made is None:
            return False
        session_info = await info_of(api_mgr, session_id)
        return bool(requests_made <= session_info["custom_metadata"]["rate_limit"])

    allowed = await asyncio.gather(*[check_rate_limit(session_id) for _ in range(limit + 50)])
    assert allowed.count(True) == limit
    assert await check_rate_limit("unknown") is False


async def test_multi_tenant_saas() -> None:
    tenant_sessions: dict[str, SessionManager] = {}

    def get_tenant_session_manager(tenant_id: str) -> SessionManager:
        if tenant_id not in tenant_sessions:
            tenant_sessions[tenant_id] = SessionManager(sandbox_id=f"tenant-{tenant_id}", default_ttl_hours=24)
        return tenant_sessions[tenant_id]

    async def handle_tenant_user_login(tenant_id: str, user_id: str) -> str:
        metadata = {"tenant_id": tenant_id, "login_time": time.time(), "permissions": ["read"]}
        return await get_tenant_session_manager(tenant_id).allocate_session(user_id=user_id, custom_metadata=metadata)

    session_id = await handle_tenant_user_login("acme-corp", "user123")
    path = get_tenant_session_manager("acme-corp").generate_artifact_key(session_id, "document456")
    assert re.fullmatch(rf"grid/tenant-acme-corp/sess-user123{ID_TAIL}/document456", path)
    assert await get_tenant_session_manager("acme-corp").validate_session(session_id) is True
    assert await get_tenant_session_manager("other").validate_session(session_id) is False


async def test_low_level_caching() -> None:
    computed: list[dict[str, Any]] = []

    async def cache_expensive_computation(params: dict[str, Any]) -> Any:
        digest = hashlib.md5(json.dumps(params, sort_keys=True).encode()).hexdigest()
        session_factory = factory_for_env()
        async with session_factory() as session:
            cached = await session.get(f"cache:{digest}")
            if cached:
                return json.loads(cached)
            computed.append(params)
            await session.setex(f"cache:{digest}", 3600, json.dumps({"sum": sum(params.values())}))
            return {"sum": sum(params.values())}

    assert [await cache_expensive_computation({"a": 1, "b": 2}) for _ in range(3)] == [{"sum": 3}] * 3
    assert computed == [{"a": 1, "b": 2}]


async def test_verification_code() -> None:
    code = secrets.token_urlsafe(8)
    session_factory = factory_for_env()
    async with session_factory() as session:
        await session.setex("verify:alice", 600, code)
    async with session_factory() as session:
        assert await session.get("verify:alice") == code
