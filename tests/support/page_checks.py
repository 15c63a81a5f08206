"""What an example must have done: a check per Python block that each store must be able to run.

By the page and the anchor of the heading above the block.

`SUPPLIED` makes the names that a block leaves to the reader; a check finds them in the namespace again, with what the
example did to them.
"""

from __future__ import annotations

import asyncio
import os
import re
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import (
    MetadataError,
    ProviderError,
    SessionError,
    SessionManager,
    SessionMetadata,
    SessionTakenError,
    StorageError,
    factory_for_env,
)
from chuk_sessions.redis_client.url import parse_url
from tests.support import clouds
from tests.support.pages import page

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.support.pages import Namespace
    from tests.support.tokens import IdentityProvider

INFO_KEYS = {
    "session_id",
    "sandbox_id",
    "user_id",
    "created_at",
    "expires_at",
    "status",
    "last_accessed",
    "custom_metadata",
}
OWN_ID = r"sess-{user}-\d{{10,}}-[0-9a-f]{{38}}"


async def check_sessions_of(manager: SessionManager) -> None:
    """A whole life of a session, on any provider; nothing is left of it."""
    session_id = await manager.allocate_session(user_id="alice", custom_metadata={"a": 1})
    assert await manager.validate_session(session_id)
    assert await manager.update_session_metadata(session_id, {"b": 2})
    info = await manager.get_session_info(session_id)
    assert info is not None
    assert info["custom_metadata"] == {"a": 1, "b": 2}
    assert await manager.extend_session_ttl(session_id, 1)
    assert await manager.delete_session(session_id)
    assert not await manager.validate_session(session_id)


async def metadata_of(manager: SessionManager, session_id: str) -> dict[str, Any]:
    info = await manager.get_session_info(session_id)
    assert info is not None
    metadata: dict[str, Any] = info["custom_metadata"]
    return metadata


async def check_quick_start(example: Namespace) -> None:
    """What it printed is compared with the text block below it."""
    assert os.environ["CHUK_SANDBOX_ID"] == "shop"


async def check_readme_web_application(example: Namespace) -> None:
    """A login gives the browser a session, under a name that only this site can set."""
    from starlette.testclient import TestClient

    browser = TestClient(example["app"], base_url="https://testserver")
    assert browser.post("/login").json() == "alice"
    session_id = browser.cookies["__Host-session"]
    info = await example["manager"].open_session(session_id, owner="alice")
    assert info["sandbox_id"] == "shop"
    assert browser.post("/login", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403


async def check_two_apis(example: Namespace) -> None:
    assert (example["code"], example["gone"]) == ("4711", None)
    async with factory_for_env()() as store:
        await store.set("kept", "for an hour")
        assert await store.get("kept") == "for an hour"
        await store.setex("kept", 0, "gone")
        assert await store.get("kept") is None
        with pytest.raises(ValueError, match="ttl"):
            await store.setex("kept", float("nan"), "x")


async def check_detail(example: Namespace) -> None:
    info, sessions = example["info"], example["sessions"]
    assert info.keys() == INFO_KEYS
    assert info["custom_metadata"] == {"cart": ["book"], "currency": "EUR"}
    assert (info["user_id"], info["sandbox_id"], info["status"]) == ("bob", "webshop", "active")
    assert re.fullmatch(OWN_ID.format(user="bob"), info["session_id"])
    moments = {name: datetime.fromisoformat(info[name]) for name in ("created_at", "expires_at", "last_accessed")}
    lifetime = moments["expires_at"] - moments["created_at"]
    assert abs(lifetime - timedelta(hours=1.5)) < timedelta(milliseconds=1)
    assert moments["last_accessed"].utcoffset() == timedelta(0)
    assert SessionMetadata.from_dict(info).to_dict() == info
    for bad_hours in (0, -1, float("nan"), 1_000_000):
        with pytest.raises(ValueError, match="ttl_hours"):
            await sessions.allocate_session("x", ttl_hours=bad_hours)
    for bad_id in ("", ".", "..", "a/b"):
        with pytest.raises(ValueError, match="session_id"):
            await sessions.allocate_session(bad_id)
    with pytest.raises(MetadataError, match=r"custom_metadata\['cart'\]\[0\]"):
        await sessions.update_session_metadata(info["session_id"], {"cart": [object()]})
    assert not await sessions.validate_session("x")


async def check_user_sessions(example: Namespace) -> None:
    sessions = example["sessions"]
    kept, other = [await sessions.allocate_session(user_id="alice") for _ in range(2)]
    assert len(await example["where_logged_in"]("alice")) == 2
    assert await example["change_password"]("alice", kept) == 1
    assert [await sessions.validate_session(each) for each in (kept, other)] == [True, False]


async def check_grid(example: Namespace) -> None:
    sessions, session_id = example["sessions"], example["session_id"]
    assert sessions.get_canonical_prefix(session_id) == f"grid/docs/{session_id}/"
    assert sessions.get_session_prefix_pattern() == "grid/docs/"
    for bad in ("", "a//b", "../x"):
        with pytest.raises(ValueError, match="artifact_id"):
            sessions.generate_artifact_key(session_id, bad)


async def check_memory(example: Namespace) -> None:
    assert await example["sessions"].validate_session(example["session_id"])


async def check_redis(example: Namespace) -> None:
    """One connection for all callers of a loop: fifty of them, and a second manager, open no second one."""
    sessions, session_id = example["sessions"], example["session_id"]
    call = sessions.session_factory._client.call
    before = await call(b"CLIENT", b"LIST")
    assert all(await asyncio.gather(*(sessions.validate_session(session_id) for _ in range(50))))
    assert await SessionManager(sandbox_id="shop").delete_session(session_id)
    after = await call(b"CLIENT", b"LIST")
    assert len(after.splitlines()) == len(before.splitlines())
    assert not await sessions.validate_session(session_id)


def supply_credentials() -> Namespace:
    async def fetch_token() -> str:
        return "tok3n"

    return {"fetch_token": fetch_token}


async def check_urls(names: Namespace) -> None:
    config = parse_url(names["url"])
    assert (config.username, config.password, config.host) == ("user", "p@ss/50%", "host")
    assert f"`{names['url']}`" in page("docs/operate/redis.md").text(), "as encoded by hand above"


async def check_credentials(example: Namespace) -> None:
    """The login is that of the function; no URL holds it."""
    from chuk_sessions.redis_client.client import Client

    call = Client(example["redis_url"]).call
    await call(b"ACL", "SETUSER", "app", "on", ">tok3n", "~*", "+@all")
    try:
        await check_sessions_of(example["sessions"])
        assert await example["factory"]._client.call(b"ACL", "WHOAMI") == b"app"
    finally:
        await call(b"ACL", "DELUSER", "app")


def supply_expiring_token() -> Namespace:
    async def fetch_token() -> tuple[str, float]:
        return "tok3n", 3600.0

    return {"fetch_token": fetch_token}


async def check_azure(example: Namespace) -> None:
    await check_cloud(clouds.ENTRA, example, "azure_login", example["OBJECT_ID"])


async def check_aws(example: Namespace) -> None:
    await check_cloud(clouds.AWS, example, "aws_login", example["USER"])
    token = next(iter(clouds.AWS.expires))
    assert token.startswith("shop-cache/?Action=connect&User=shop-user&X-Amz-Credential=eu-west-1%2Felasticache&")


async def check_gcp(example: Namespace) -> None:
    await check_cloud(clouds.GCP, example, "gcp_login", "default")


async def check_cloud(provider: IdentityProvider, example: Namespace, name: str, user: str) -> None:
    """The function of the recipe at a server that cuts, for ten lifetimes of a token; its URL and its factory."""
    assert await asyncio.to_thread(clouds.renews_for, provider, example[name], 10) == {user}
    client = example["factory"]._client
    assert client._credentials is example[name]
    assert client._parsed().tls is not None


async def check_custom_provider(example: Namespace) -> None:
    manager = SessionManager(sandbox_id="shop", session_factory=example["factory"]())
    await check_sessions_of(manager)
    await manager.allocate_session(user_id="alice")
    assert len(example["ROWS"]) == 1


def supply_web_application() -> Namespace:
    files: dict[str, bytes] = {}

    async def check_password(name: str, password: str) -> str | None:
        return name if password == "right" else None

    async def save_file(path: str, content: bytes) -> None:
        files[path] = content

    return {"check_password": check_password, "save_file": save_file, "files": files}


def web_request(session_id: str = "", password: str = "right") -> SimpleNamespace:
    return SimpleNamespace(
        form={"name": "alice", "password": password}, client_address="192.0.2.1", cookies={"session": session_id}
    )


async def check_web_application(example: Namespace) -> None:
    assert await example["log_in"](web_request(password="wrong")) == (401, None)
    status, session_id = await example["log_in"](web_request())
    assert status == 200
    status, path = await example["upload"](web_request(session_id), "a.txt", b"content")
    assert (status, path) == (201, f"grid/webshop/{session_id}/uploads/a.txt")
    assert example["files"] == {path: b"content"}
    expected = {"address": "192.0.2.1", "method": "password", "last_upload": "a.txt"}
    assert await metadata_of(example["sessions"], session_id) == expected
    assert await example["log_out"](web_request(session_id)) == (204, True)
    assert await example["upload"](web_request(session_id), "b.txt", b"content") == (401, None)


async def check_mcp_server(example: Namespace) -> None:
    """Twenty tool calls at the same time leave twenty entries."""
    session_id = await example["start_conversation"]("conversation-1")
    calls = [example["record_tool_call"](session_id, f"tool-{number}") for number in range(20)]
    paths = await asyncio.gather(*calls)
    assert all(re.fullmatch(rf"grid/mcp-server/{session_id}/call-[0-9a-f]{{32}}/output.json", path) for path in paths)
    metadata = await metadata_of(example["conversations"], session_id)
    tools = {entry["tool"] for name, entry in metadata.items() if name.startswith("call-")}
    assert tools == {f"tool-{number}" for number in range(20)}
    with pytest.raises(LookupError):
        await example["record_tool_call"]("unknown", "tool")


async def check_api_gateway(example: Namespace) -> None:
    example["time"] = SimpleNamespace(time=lambda: 2.5 * 3600)
    answers = await asyncio.gather(*[example["allow_request"]("client", "free") for _ in range(102)])
    assert (answers.count(True), answers.count(False)) == (100, 2)
    assert (await metadata_of(example["gateway"], "client-2"))["used"] == 102
    assert await example["allow_request"]("client", "paid")
    assert await example["allow_request"]("other", "free")


async def check_multi_tenant(example: Namespace) -> None:
    sessions_of = example["sessions_of"]
    assert sessions_of("acme") is sessions_of("acme")
    assert await sessions_of("globex").validate_session(example["globex"])
    assert await metadata_of(sessions_of("acme"), example["acme"]) == {"tenant": "acme"}


def supply_caching() -> Namespace:
    computed: list[str] = []

    async def compute_forecast(city: str) -> dict[str, Any]:
        computed.append(city)
        return {"city": city, "degrees": 21.5}

    return {"compute_forecast": compute_forecast, "computed": computed}


async def check_caching(example: Namespace) -> None:
    first, second = await example["forecast"]("Oslo"), await example["forecast"]("Oslo")
    assert first == second == {"city": "Oslo", "degrees": 21.5}
    assert example["computed"] == ["Oslo"]


async def check_error_handling(example: Namespace) -> None:
    """A live session, a missing one, and an outage; and what a manager that is not strict makes of the outage."""
    from chuk_sessions.providers import redis

    session_id = await example["sessions"].allocate_session(user_id="alice")
    assert await example["current_user"](session_id) == (200, "alice")
    assert await example["current_user"]("unknown") == (401, None)
    with pytest.raises(SessionTakenError, match="another user"):
        await example["sessions"].allocate_session(session_id, user_id="bob")

    nowhere = redis.factory("redis://localhost:1/0")
    example["sessions"] = SessionManager(sandbox_id="shop", session_factory=nowhere, strict=True)
    assert await example["current_user"](session_id) == (503, None)
    with pytest.raises(StorageError, match="localhost:1") as caught:
        await example["sessions"].validate_session(session_id)
    assert isinstance(caught.value.__cause__, ProviderError)

    lenient = SessionManager(sandbox_id="shop", session_factory=nowhere)
    assert await lenient.validate_session(session_id) is False
    with pytest.raises(SessionError):
        await lenient.allocate_session()


SUPPLIED: dict[str, Callable[[], Namespace]] = {
    "docs/guide/recipes.md#web-application": supply_web_application,
    "docs/operate/redis.md#passwords-that-change": supply_credentials,
    "docs/operate/logins.md#logins-that-expire": supply_expiring_token,
    "docs/guide/values.md#caching": supply_caching,
}

# The modules that a block imports, and that are none of ours.
MODULES = {
    "docs/operate/logins.md#azure-managed-redis": clouds.AZURE,
    "docs/operate/logins.md#aws-elasticache-and-memorydb": clouds.BOTOCORE,
    "docs/operate/logins.md#gcp-memorystore": clouds.GOOGLE,
}

CHECKS: dict[str, Callable[[Namespace], Coroutine[Any, Any, None]]] = {
    "README.md#quick-start": check_quick_start,
    "README.md#in-a-web-application": check_readme_web_application,
    "docs/guide/values.md#the-provider-api": check_two_apis,
    "docs/guide/sessions.md#sessions": check_detail,
    "docs/guide/users.md#all-sessions-of-a-user": check_user_sessions,
    "docs/guide/grid.md#grid-paths": check_grid,
    "docs/guide/storage.md#memory": check_memory,
    "docs/operate/redis.md#redis": check_redis,
    "docs/operate/redis.md#urls": check_urls,
    "docs/operate/redis.md#passwords-that-change": check_credentials,
    "docs/operate/logins.md#logins-that-expire": check_credentials,
    "docs/operate/logins.md#azure-managed-redis": check_azure,
    "docs/operate/logins.md#aws-elasticache-and-memorydb": check_aws,
    "docs/operate/logins.md#gcp-memorystore": check_gcp,
    "docs/extend/provider.md#a-provider-of-your-own": check_custom_provider,
    "docs/guide/recipes.md#web-application": check_web_application,
    "docs/guide/recipes.md#mcp-server": check_mcp_server,
    "docs/guide/recipes.md#api-gateway": check_api_gateway,
    "docs/guide/recipes.md#multi-tenant-application": check_multi_tenant,
    "docs/guide/values.md#caching": check_caching,
    "docs/guide/errors.md#error-handling": check_error_handling,
}
