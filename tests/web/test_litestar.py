"""Litestar as applications use it: its own middleware, `SessionAuth`, `skip_session`, its test client."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

pytest.importorskip("litestar", reason="Litestar is not installed")

from litestar import Litestar, Request, WebSocket, get, post, websocket
from litestar.connection import ASGIConnection
from litestar.exceptions import WebSocketDisconnect
from litestar.middleware.session.base import SessionMiddleware as LitestarMiddleware
from litestar.response import Response, Stream
from litestar.security.session_auth import SessionAuth
from litestar.testing import AsyncTestClient, TestClient

from chuk_sessions import MetadataError, SessionManager
from chuk_sessions.exceptions import NotSent
from chuk_sessions.web import Bearer, Cookie, Header
from chuk_sessions.web.litestar import LitestarSession, SessionBackend, SessionConfig, session_of, storage_unavailable
from chuk_sessions.web.outage import Outage
from examples.litestar_login import create_app
from tests.support.failing_provider import failing_factory
from tests.web.conftest import on_memory
from tests.web.endpoints import check_two_logins

HTTPS = "https://shop.example"


@dataclass
class Cart:
    items: list[str]


@get("/")
async def index(request: Request[Any, Any, Any]) -> dict[str, Any]:
    return request.session


@get("/sync", sync_to_thread=False)
def sync(request: Request[Any, Any, Any]) -> None:
    request.session.setdefault("cart", []).append("book")


@get("/skipped", skip_session=True)
async def skipped(request: Request[Any, Any, Any]) -> str:
    with pytest.raises(RuntimeError, match="no session of chuk_sessions"):
        session_of(request)
    return "none"


@get("/excluded")
async def excluded(request: Request[Any, Any, Any]) -> str:
    return "some" if "session" in list(request.scope) else "none"


@post("/login", exclude_from_auth=True)
async def login(request: Request[Any, Any, Any]) -> None:
    await session_of(request).login(request.query_params["user"])


@post("/replace")
async def replace(request: Request[Any, Any, Any]) -> None:
    request.set_session(Cart(["pen"]))


@post("/wrong")
async def wrong(request: Request[Any, Any, Any]) -> None:
    request.set_session([1])  # type: ignore[arg-type]


@post("/clear")
async def clear(request: Request[Any, Any, Any]) -> None:
    request.clear_session()


@get("/stream")
async def stream(request: Request[Any, Any, Any]) -> Stream:
    async def chunks() -> Any:
        yield "first"
        request.session["streamed"] = True

    return Stream(chunks())


@get("/bug")
async def bug(request: Request[Any, Any, Any]) -> None:
    await session_of(request).login("alice")
    request.session["half"] = 1
    raise RuntimeError("bug")


@websocket("/ws")
async def ws(socket: WebSocket[Any, Any, Any]) -> None:
    socket.session["from"] = "socket"
    await socket.accept()
    try:
        await socket.send_text(await socket.receive_text())
        await socket.receive_text()
    except WebSocketDisconnect:
        socket.session["left"] = True


HANDLERS = [index, sync, skipped, excluded, login, replace, wrong, clear, stream, bug, ws]


@pytest.fixture
def manager() -> SessionManager:
    return on_memory()


def app_of(config: SessionConfig, **options: Any) -> Litestar:
    return Litestar(route_handlers=HANDLERS, on_app_init=[config.on_app_init], **options)


def test_requests(manager: SessionManager) -> None:
    """Nested changes, `set_session` with a model, `clear_session`, streams, routes that have none."""
    app = app_of(SessionConfig(manager, exclude="^/excl"))
    with TestClient(app, base_url=HTTPS, raise_server_exceptions=False) as client:
        assert client.get("/").json() == {}
        assert client.get("/sync").headers["set-cookie"].startswith("__Host-session=sess-")
        before = client.cookies["__Host-session"]
        client.get("/sync")
        assert client.post("/login?user=alice").status_code == 201
        assert client.cookies["__Host-session"] != before
        answer = client.get("/")
        assert answer.json() == {"cart": ["book", "book"]}
        assert answer.headers["vary"] == "Cookie"
        assert "set-cookie" not in answer.headers
        for path in ("/skipped", "/excluded"):
            assert client.get(path).text == "none"
        client.get("/stream")
        assert client.get("/").json()["streamed"] is True
        client.post("/replace")
        assert client.get("/").json() == {"items": ["pen"]}
        assert client.post("/wrong").status_code == 500
        assert client.get("/").json() == {"items": ["pen"]}
        client.post("/clear")
        assert client.get("/").json() == {}
        assert len(client.cookies) == 0
    assert asyncio.run(manager.list_user_sessions("alice")) == []


def test_a_websocket(manager: SessionManager) -> None:
    """The cookie goes with the handshake; what is set later is there at the end."""
    app = app_of(SessionConfig(manager, transport=Cookie(secure=False)))
    with TestClient(app) as client, client.websocket_connect("/ws") as socket:
        socket.send_text("hello")
        assert socket.receive_text() == "hello"
    assert asyncio.run(_all(manager)) == [{"from": "socket", "left": True}]


async def _all(manager: SessionManager) -> list[Any]:
    return [info["custom_metadata"] async for info in manager.iter_sessions()]


def test_after_an_exception(manager: SessionManager) -> None:
    """The login has happened and is told; what was set is not stored."""
    with TestClient(app_of(SessionConfig(manager)), base_url=HTTPS) as client:
        assert client.get("/bug").status_code == 500
        assert "set-cookie" in client.get("/bug").headers
        assert client.get("/").json() == {}


@post("/large")
async def large(request: Request[Any, Any, Any]) -> None:
    request.session["x"] = "x" * 500
    if request.query_params:
        await session_of(request).save()


def test_what_cannot_be_stored(manager: SessionManager) -> None:
    """Is a 500 and not stored; in an act of the handler its exception handlers see it."""
    answered: dict[int | type[Exception], Any] = {
        MetadataError: lambda request, error: Response(str(error), status_code=400)
    }
    config = SessionConfig(manager, max_bytes=100)
    app = Litestar(route_handlers=[large], on_app_init=[config.on_app_init], exception_handlers=answered)
    with TestClient(app, base_url=HTTPS, raise_server_exceptions=False) as client:
        assert client.post("/large").status_code == 500
        answer = client.post("/large?save=1")
        assert answer.status_code == 400
        assert "'x'" in answer.text
    assert asyncio.run(manager.count_sessions()) == 0


async def user_of(session: LitestarSession, connection: ASGIConnection[Any, Any, Any, Any]) -> str | None:
    return session.user_id


@get("/me")
async def me(request: Request[str, Any, Any]) -> str:
    return request.user


def auth_app(manager: SessionManager) -> Litestar:
    auth = SessionAuth[str, SessionBackend](
        session_backend_config=SessionConfig(manager), retrieve_user_handler=user_of, exclude="/schema"
    )
    return Litestar(route_handlers=[me, login, clear], on_app_init=[auth.on_app_init])


def test_session_auth(manager: SessionManager) -> None:
    """A login without data is a login; the 401 of an ended session clears no cookie, which may be a newer one."""
    with TestClient(auth_app(manager), base_url=HTTPS) as client:
        answer = client.get("/me")
        assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)
        client.post("/login?user=alice")
        assert client.get("/me").text == "alice"
        asyncio.run(manager.delete_user_sessions("alice"))
        answer = client.get("/me")
        assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)
        client.post("/login?user=bob")
        assert client.get("/me").text == "bob"
        assert client.post("/clear").status_code == 201
        assert client.get("/me").status_code == 401
        schemes = client.get("/schema/openapi.json").json()["components"]["securitySchemes"]
    assert schemes["sessionCookie"]["name"] == "__Host-session"


def test_the_test_client_of_litestar(manager: SessionManager) -> None:
    """`set_session_data` and `get_session_data`, with and without a session."""
    config = SessionConfig(manager)
    with TestClient(app_of(config), base_url=HTTPS, session_config=config) as client:
        assert client.get_session_data() == {}
        client.set_session_data({"a": 1})
        assert client.get("/").json() == {"a": 1}
        client.get("/sync")
        assert client.get_session_data() == {"a": 1, "cart": ["book"]}
        client.set_session_data({"b": 2})
        assert client.get("/").json() == {"b": 2}


async def test_litestars_own_middleware_with_our_back_end(manager: SessionManager) -> None:
    """As long as nobody needs more than a dict: no late writes, and no WebSockets."""
    config = SessionConfig(manager)
    backend = SessionBackend(config)

    class Bare(LitestarMiddleware[SessionBackend]):
        def __init__(self, app: Any) -> None:
            super().__init__(app=app, backend=backend)

    app = Litestar(route_handlers=[index, sync, clear], middleware=[Bare])
    async with AsyncTestClient(app, base_url=HTTPS) as client:
        await client.get("/sync")
        assert (await client.get("/")).json() == {"cart": ["book"]}
        await client.post("/clear")
        assert (await client.get("/")).json() == {}


@pytest.mark.parametrize(
    ("transport", "key"),
    [(Cookie(secure=False), "session"), (Header("X-Session"), "X-Session"), (Bearer(), "Authorization")],
)
def test_what_litestar_reads_of_a_configuration(manager: SessionManager, transport: Any, key: str) -> None:
    assert SessionConfig(manager, transport=transport).key == key


def test_an_outage() -> None:
    """503, whether it is found when the session is read or in a handler."""
    manager = SessionManager("shop", failing_factory(NotSent("down")), strict=True, opaque_ids=True)
    with TestClient(app_of(SessionConfig(manager, retry_after=7)), base_url=HTTPS) as client:
        for answer in (client.get("/sync"), client.post("/login?user=alice")):
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")


def test_a_manager_for_some_requests(manager: SessionManager) -> None:
    """Where there is none, a session is a dict that is forgotten."""
    config = SessionConfig(lambda scope: manager if scope["path"] == "/sync" else None)
    with TestClient(app_of(config), base_url=HTTPS, session_config=config) as client:
        client.get("/sync")
        assert client.get("/").json() == {}
        with pytest.raises(RuntimeError, match="no manager"):
            client.get_session_data()


def test_the_handler_for_an_application_with_session_auth() -> None:
    answer = storage_unavailable(None, NotSent("down"))  # type: ignore[arg-type]
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")


def test_an_outage_in_a_handler_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[str] = []
    outages = Outage("503", 2)
    monkeypatch.setattr(outages, "log", lambda error: noted.append(str(error)))
    monkeypatch.setattr("chuk_sessions.web.litestar.outages", outages)
    manager = SessionManager("shop", failing_factory(NotSent("down")), strict=True, opaque_ids=True)
    with TestClient(app_of(SessionConfig(manager)), base_url=HTTPS) as client:
        assert client.post("/login?user=alice").status_code == 503
    assert len(noted) == 1
    assert "down" in noted[0]


def test_the_example(web_manager: SessionManager) -> None:
    """Two browsers of one user."""
    app = create_app(web_manager)
    with TestClient(app, base_url=HTTPS) as one:
        two = TestClient(app, base_url=HTTPS)
        assert one.get("/sessions").status_code == 401
        check_two_logins(one, two)
        one.post("/cart/book")
        assert one.post("/cart/pen").json() == ["book", "pen"]
        assert two.delete("/sessions").json() == 2
        assert one.get("/sessions").status_code == 401
