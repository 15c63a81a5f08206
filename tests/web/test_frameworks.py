"""Starlette and FastAPI as applications use them: their test client, sync endpoints, dependencies, OpenAPI."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, WebSocket, WebSocketDisconnect
from fastapi.testclient import TestClient
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.authentication import requires
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute

from chuk_sessions import SessionManager
from chuk_sessions.web import CrossOriginGuard, Header, SessionMiddleware
from chuk_sessions.web.fastapi import RequireUser, SessionDep, TypedSession, UserDep
from chuk_sessions.web.starlette import SessionBackend, session_of
from chuk_sessions.web.testing import logged_in, read_session
from tests.web.conftest import on_memory


class Shop(TypedSession):
    cart: list[str] | None = None
    theme: Literal["light", "dark"] = "light"
    count: int


def client_of(app: Any) -> TestClient:
    return TestClient(app, base_url="https://testserver")


@pytest.fixture
def manager() -> SessionManager:
    return on_memory()


def shop(manager: SessionManager) -> FastAPI:
    app = FastAPI()
    app.add_middleware(SessionMiddleware, manager=manager)

    @app.post("/login")
    async def login(session: SessionDep) -> None:
        await session.login("alice")

    @app.get("/me")
    def me(user: UserDep) -> str:
        return user

    @app.get("/plain")
    def plain(request: Request) -> dict[str, Any]:
        request.session["seen"] = request.session.get("seen", 0) + 1
        return request.session

    @app.post("/cart/{item}")
    def add(item: str, typed: Annotated[Shop, Depends()]) -> list[str]:
        typed.cart = [*(typed.cart or []), item]
        return typed.cart

    @app.get("/background")
    async def background(session: SessionDep, tasks: BackgroundTasks) -> None:
        tasks.add_task(session.update, later=True)

    @app.websocket("/ws")
    async def ws(websocket: WebSocket, session: SessionDep, user: UserDep) -> None:
        await websocket.accept()
        session["said"] = await websocket.receive_text()
        await websocket.send_text(user)
        with suppress(WebSocketDisconnect):
            await websocket.receive_text()

    return app


def test_fastapi(manager: SessionManager) -> None:
    """Dependencies in sync and async endpoints, background tasks, WebSockets."""
    with client_of(shop(manager)) as client:
        assert client.get("/me").status_code == 401
        assert client.get("/plain").json() == {"seen": 1}
        assert client.post("/login").status_code == 200
        assert client.get("/me").json() == "alice"
        assert client.post("/cart/book").json() == ["book"]
        assert client.post("/cart/pen").json() == ["book", "pen"]
        client.get("/background")
        with client.websocket_connect("wss://testserver/ws") as socket:
            socket.send_text("hello")
            assert socket.receive_text() == "alice"
            socket.close()
        expected = {"seen": 2, "cart": ["book", "pen"], "later": True, "said": "hello"}
        assert client.get("/plain").json() == expected


def test_helpers_for_tests(manager: SessionManager) -> None:
    """A client that is logged in from the start; a login of the application replaces its cookie."""
    client = client_of(shop(manager))
    assert asyncio.run(read_session(client, manager)) is None
    first = asyncio.run(logged_in(client, manager, "alice", cart=["book"]))
    assert client.post("/cart/pen").json() == ["book", "pen"]
    client.post("/login")
    assert len(client.cookies.jar) == 1
    info = asyncio.run(read_session(client, manager))
    assert info is not None
    assert info["session_id"] != first
    assert (info["user_id"], info["custom_metadata"]) == ("alice", {"cart": ["book", "pen"]})


def test_openapi_says_how_to_log_in(manager: SessionManager) -> None:
    """By the cookie that is really sent, or the header."""
    document = client_of(shop(manager)).get("/openapi.json").json()
    scheme = document["components"]["securitySchemes"]["session"]
    assert scheme == {"type": "apiKey", "in": "cookie", "name": "__Host-session"}
    assert document["paths"]["/me"]["get"]["security"] == [{"session": []}]
    assert RequireUser(Header("X-Session")).model.model_dump()["name"] == "X-Session"


def test_a_typed_session() -> None:
    """Attributes are checked when they are set; what does not fit is as if it were not there."""
    scope: dict[str, Any] = {"type": "http", "headers": [], "path": "/"}

    async def nothing(*_: Any) -> Any: ...

    asyncio.run(SessionMiddleware(nothing, on_memory())(scope, nothing, nothing))
    typed = Shop(HTTPConnection(scope))
    assert (typed.cart, typed.theme) == (None, "light")
    assert dict(typed.session) == {}
    with pytest.raises(AttributeError, match="'count' is not in the session"):
        _ = typed.count
    with pytest.raises(ValidationError):
        setattr(typed, "theme", "blue")  # noqa: B010 (mypy knows better)
    typed.count, typed.theme = 1, "dark"
    assert dict(typed.session) == {"count": 1, "theme": "dark"}
    typed.session["theme"] = "blue"
    assert str(typed.theme) == "light"
    del typed.count
    with pytest.raises(AttributeError, match="no field 'other'"):
        typed.other = 1
    with pytest.raises(AttributeError, match="no field 'other'"):
        _ = typed.other
    with pytest.raises(TypeError, match="can be changed"):

        class Bad(TypedSession):
            cart: list[str] = []  # noqa: RUF012 (that is the point)


class Address(BaseModel):
    street: str


class Order(TypedSession):
    sent: datetime | None = None
    to: Address | None = None
    days: list[date] | None = None


def test_a_typed_session_gives_what_its_annotations_say(manager: SessionManager) -> None:
    """In the next request too, though JSON has neither dates nor models."""
    app = FastAPI()
    app.add_middleware(SessionMiddleware, manager=manager)
    day = date(2026, 1, 31)

    @app.post("/")
    async def fill(order: Annotated[Order, Depends()]) -> None:
        order.sent, order.to, order.days = datetime(2026, 1, 31, tzinfo=UTC), Address(street="Elm"), [day]

    @app.get("/")
    async def show(order: Annotated[Order, Depends()]) -> bool:
        return (order.sent, order.to, order.days) == (datetime(2026, 1, 31, tzinfo=UTC), Address(street="Elm"), [day])

    client = client_of(app)
    client.post("/")
    assert client.get("/").json() is True


def test_what_pydantic_reads_unseen(manager: SessionManager) -> None:
    """It asks no method of a dict: the response varies all the same, and a nested change is found."""
    app = FastAPI()
    app.add_middleware(SessionMiddleware, manager=manager)

    @app.post("/")
    async def fill(session: SessionDep) -> None:
        session["l"] = [1]

    @app.put("/")
    async def change(session: SessionDep) -> None:
        TypeAdapter(dict[str, Any]).validate_python(session)["l"].append(2)

    @app.get("/")
    async def show(session: SessionDep) -> dict[str, Any]:
        return session

    client = client_of(app)
    client.post("/")
    client.put("/")
    answer = client.get("/")
    assert (answer.json(), answer.headers["vary"]) == ({"l": [1, 2]}, "Cookie")


def starlette_app(manager: SessionManager) -> Starlette:
    async def index(request: Request) -> Response:
        return JSONResponse(request.session)

    def put(request: Request) -> Response:
        request.session.update(request.query_params)
        return RedirectResponse("/", 303)

    async def login(request: Request) -> Response:
        await session_of(request).login("alice")
        return PlainTextResponse("welcome")

    @requires("authenticated")
    async def me(request: Request) -> Response:
        return PlainTextResponse(request.user.display_name)

    def clear(request: Request) -> Response:
        request.session.clear()
        return PlainTextResponse("bye")

    async def stream(request: Request) -> Response:
        async def chunks() -> Any:
            yield "first"
            request.session["streamed"] = True
            yield "last"

        return StreamingResponse(chunks())

    async def bug(request: Request) -> Response:
        await session_of(request).login("alice")
        request.session["half"] = 1
        raise RuntimeError("bug")

    async def ws(websocket: WebSocket) -> None:
        websocket.session["from"] = "socket"
        await websocket.accept()
        await websocket.receive_text()  # raises as the client leaves

    async def pass_on(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        return response

    endpoints = {"/": index, "/put": put, "/me": me, "/clear": clear, "/stream": stream, "/bug": bug}
    routes: list[Any] = [Route(path, endpoint) for path, endpoint in endpoints.items()]
    routes += [Route("/login", login, methods=["POST"]), WebSocketRoute("/ws", ws)]
    inner = Starlette(routes=routes, middleware=[Middleware(SessionMiddleware, manager=manager)])
    return Starlette(
        routes=[Mount("/sub", inner), *routes],
        middleware=[
            Middleware(CrossOriginGuard),
            Middleware(SessionMiddleware, manager=manager),
            Middleware(AuthenticationMiddleware, backend=SessionBackend()),
            Middleware(BaseHTTPMiddleware, dispatch=pass_on),
        ],
    )


def test_starlette(manager: SessionManager) -> None:
    """`request.session` in sync and async endpoints, redirects, streams, `request.user`, a mounted application."""
    client = client_of(starlette_app(manager))
    assert client.get("/").json() == {}
    assert client.get("/me").status_code == 403
    assert client.get("/put?a=1").json() == {"a": "1"}
    assert client.get("/sub/").json() == {"a": "1"}
    assert client.post("/login", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert client.post("/login").text == "welcome"
    assert client.get("/me").text == "alice"
    assert client.get("/stream").text == "firstlast"
    assert client.get("/").json() == {"a": "1", "streamed": True}
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("wss://testserver/ws") as socket:
        socket.close()
    assert client.get("/").json() == {"a": "1", "streamed": True, "from": "socket"}
    client.get("/clear")
    assert client.get("/").json() == {}
    assert len(client.cookies.jar) == 0


def test_starlette_after_an_exception(manager: SessionManager) -> None:
    """The cookie of the login arrives, with a 500; what was set is not stored."""
    client = TestClient(starlette_app(manager), base_url="https://testserver", raise_server_exceptions=False)
    assert client.get("/bug").status_code == 500
    assert client.get("/me").text == "alice"
    assert client.get("/").json() == {}


def test_without_the_middleware(manager: SessionManager) -> None:
    app = FastAPI()

    @app.get("/")
    def index(session: SessionDep) -> None: ...

    with pytest.raises(RuntimeError, match="add SessionMiddleware"):
        client_of(app).get("/")


def test_annotations_are_what_they_name() -> None:
    """FastAPI 0.115 does not look for the names in postponed annotations of objects and classes."""
    for called in (RequireUser.__call__, TypedSession.__init__):
        assert called.__annotations__["connection"] is HTTPConnection
