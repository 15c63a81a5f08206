"""Quart as applications use it: `quart.session`, `flash`, its configuration, its test client."""

from __future__ import annotations

import asyncio
import copy
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

pytest.importorskip("quart", reason="Quart is not installed")

from quart import Blueprint, Quart, flash, get_flashed_messages, websocket
from quart import session as their_session

from chuk_sessions import SessionManager
from chuk_sessions.exceptions import NotSent
from chuk_sessions.web import Header
from chuk_sessions.web.pallets import ConfiguredCookie
from chuk_sessions.web.quart import ChukSessions, QuartSession, cookie_of, session
from examples.quart_login import create_app
from tests.support.failing_provider import failing_factory
from tests.web.conftest import on_memory

SECURE = {"SESSION_COOKIE_SECURE": True}
VALUES: dict[str, Any] = {
    **{"tuple": (1, (2, "x")), "bytes": b"\x00\xff", "uuid": uuid.UUID(int=7), "list": [{"a": (1,)}], "text": "x"},
    **{"when": datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC), "tag": {" t": [1]}, "empty": {}, "none": None},
}


routes = Blueprint("shop", __name__)


@routes.get("/")
async def index() -> dict[str, Any]:
    return {"data": sorted(session), "user": session.user_id, "new": session.new}


@routes.post("/put/<name>")
async def put(name: str) -> str:
    their_session.setdefault(name, []).append(1)
    their_session.modified = True  # as applications of Quart do after such a change
    return str(len(their_session[name]))


@routes.post("/login/<user>")
async def login(user: str) -> str:
    await session.login(user, role="editor")
    return user


@routes.post("/stay")
async def stay() -> str:
    session.permanent = True
    return str(session.permanent)


@routes.post("/logout")
async def logout() -> str:
    session.clear()
    return "bye"


@routes.post("/flash")
async def leave() -> str:
    await flash("saved", "info")
    await flash("twice")
    return ""


@routes.get("/flashed")
async def flashed() -> Any:
    return [list(each) for each in get_flashed_messages(with_categories=True)]


@routes.get("/values")
async def values() -> str:
    expected = session.modified
    session.update(VALUES)
    return str(expected)


@routes.get("/same")
async def same() -> str:
    return str({key: session[key] for key in VALUES} == VALUES and not session.modified)


@routes.get("/stream")
async def stream() -> Any:
    proxy: Any = their_session
    found = proxy._get_current_object()

    async def chunks() -> Any:
        yield b"first"
        found["streamed"] = True

    return chunks()


@routes.get("/bug")
async def bug() -> str:
    await session.login("alice")
    session["half"] = 1
    raise RuntimeError("bug")


@routes.get("/static-like")
async def excluded() -> str:
    with pytest.raises(RuntimeError, match="no session") as caught:
        their_session["a"] = 1
    assert not their_session
    return str(caught.value)


@routes.websocket("/ws")
async def ws() -> None:
    session["from"] = "socket"
    await websocket.accept()
    session["said"] = await websocket.receive()
    await websocket.send(session.user_id or "nobody")


def app_of(manager: Any = None, config: dict[str, Any] = SECURE, **options: Any) -> Quart:
    app = Quart(__name__)
    app.config.update(config)
    ChukSessions(app, manager, **options)
    app.register_blueprint(routes)
    return app


@pytest.fixture
def manager() -> SessionManager:
    return on_memory()


async def test_requests(manager: SessionManager) -> None:
    """A session as Quart has it, whose nested changes are stored, with a login and a logout."""
    client = app_of(manager).test_client()
    assert await (await client.get("/")).get_json() == {"data": [], "user": None, "new": True}
    answer = await client.post("/put/a")
    assert answer.headers["set-cookie"].startswith("__Host-session=sess-")
    assert await (await client.post("/put/a")).get_data(as_text=True) == "2"
    assert "__Host-session" in (await client.post("/login/alice")).headers["set-cookie"]
    answer = await client.get("/")
    assert await answer.get_json() == {"data": ["a", "role"], "user": "alice", "new": False}
    assert (answer.headers["vary"], answer.headers.get("set-cookie")) == ("Cookie", None)
    await (await client.get("/stream")).get_data()
    assert (await (await client.get("/")).get_json())["data"] == ["a", "role", "streamed"]
    await client.post("/logout")
    assert await (await client.get("/")).get_json() == {"data": [], "user": None, "new": True}
    assert await manager.list_user_sessions("alice") == []


async def test_what_quart_can_store(web_manager: SessionManager) -> None:
    """Comes back as it was, and is then no change."""
    client = app_of(web_manager).test_client()
    assert await (await client.get("/values")).get_data(as_text=True) == "False"
    for _ in range(2):
        assert await (await client.get("/same")).get_data(as_text=True) == "True"
        await client.post("/login/alice")


async def test_flashed_messages(manager: SessionManager) -> None:
    client = app_of(manager).test_client()
    await client.post("/flash")
    assert await (await client.get("/flashed")).get_json() == [["info", "saved"], ["message", "twice"]]
    assert await (await client.get("/flashed")).get_json() == []


@pytest.mark.parametrize("refresh", [True, False])
async def test_a_permanent_session(manager: SessionManager, refresh: bool) -> None:
    """Its cookie is kept; with Quart's default, each response gives it its whole time again."""
    client = app_of(manager, SECURE | {"SESSION_REFRESH_EACH_REQUEST": refresh}).test_client()
    assert "Max-Age" not in (await client.post("/put/a")).headers["set-cookie"]
    await client.post("/stay")
    assert ("set-cookie" in (await client.get("/")).headers) == refresh
    if refresh:
        assert "Max-Age=86" in (await client.get("/")).headers["set-cookie"]
    assert "Max-Age=86" in (await client.post("/login/alice")).headers["set-cookie"]


async def test_a_websocket(manager: SessionManager) -> None:
    """The cookie goes with the handshake; what is set later is there at the end."""
    app = app_of(manager)
    client = app.test_client()
    await client.post("/login/alice")
    async with client.websocket("/ws") as socket:
        await socket.send("hello")
        assert await socket.receive() == "alice"
    assert (await (await client.get("/")).get_json())["data"] == ["from", "role", "said"]


async def test_after_an_exception(manager: SessionManager) -> None:
    """The login has happened and is told; what was set is not stored."""
    app = app_of(manager, SECURE | {"PROPAGATE_EXCEPTIONS": False})
    client = app.test_client()
    answer = await client.get("/bug")
    assert (answer.status_code, "set-cookie" in answer.headers) == (500, True)
    assert await (await client.get("/")).get_json() == {"data": [], "user": "alice", "new": False}


async def test_session_transaction(manager: SessionManager) -> None:
    """Of Quart's test client: read and change what is stored."""
    client = app_of(manager).test_client()
    async with client.session_transaction(scheme="https") as mine:
        mine["a"] = (1, 2)
    assert (await (await client.get("/")).get_json())["data"] == ["a"]
    async with client.session_transaction(scheme="https") as mine:
        assert mine.pop("a") == (1, 2)
        mine["b"] = 1
    assert (await (await client.get("/")).get_json())["data"] == ["b"]


async def test_some_requests_have_none(manager: SessionManager) -> None:
    """Excluded paths, and those for which there is no manager."""
    cases: list[dict[str, Any]] = [{"exclude": ["/static-like"]}, {}]
    for options in cases:
        chosen = manager if options else (lambda scope: None)
        client = app_of(chosen, **options).test_client()
        assert "excluded" in await (await client.get("/static-like")).get_data(as_text=True)


@pytest.mark.parametrize("path", ["/put/a", "/login/alice"])
async def test_an_outage(path: str, caplog: pytest.LogCaptureFixture) -> None:
    """503 and a line in the log, whether it is found when the session is stored or in a handler."""
    manager = SessionManager("shop", failing_factory(NotSent("down")), strict=True, opaque_ids=True)
    client = app_of(manager, retry_after=7).test_client()
    answer = await client.post(path)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert "down" in caplog.text


async def test_what_cannot_be_stored_reaches_the_error_handlers(manager: SessionManager) -> None:
    """Of the status 500; nothing is stored then."""
    app = app_of(manager, SECURE | {"PROPAGATE_EXCEPTIONS": False}, max_bytes=100)

    @app.post("/large")
    async def large() -> str:
        session["x"] = "x" * 200
        return "x"

    @app.post("/odd")
    async def odd() -> str:
        session["x"] = object()
        return "x"

    @app.errorhandler(500)
    async def sorry(error: Any) -> tuple[str, int]:
        return str(error.original_exception), 500

    client = app.test_client()
    for path, text in (("/large", "'x' (203 bytes)"), ("/odd", "object")):
        answer = await client.post(path)
        assert answer.status_code == 500
        assert text in await answer.get_data(as_text=True)
    assert await manager.count_sessions() == 0


def test_the_configuration() -> None:
    """Says what the cookie is like; a transport is instead of it."""
    app = Quart(__name__)
    assert cookie_of(app) == ConfiguredCookie(secure=False, same_site=None)
    app.config.update(SESSION_COOKIE_NAME="shop", SESSION_COOKIE_SAMESITE="Strict", SESSION_COOKIE_PATH="/a")
    app.config.update(SESSION_COOKIE_SECURE=True, SESSION_COOKIE_DOMAIN="shop.example", SESSION_COOKIE_PARTITIONED=True)
    expected = ConfiguredCookie("shop", same_site="strict", path="/a", domain="shop.example", partitioned=True)
    assert cookie_of(app) == expected
    app.config["SESSION_COOKIE_SAMESITE"] = "nonsense"
    with pytest.raises(ValueError, match="same_site"):
        ChukSessions(app, on_memory())
    ChukSessions(app, on_memory(), transport=Header())


async def test_a_manager_of_the_configuration() -> None:
    """The prefix is its sandbox, and sessions live for as long as Quart says."""
    config = SECURE | {"SESSION_KEY_PREFIX": "books:", "PERMANENT_SESSION_LIFETIME": timedelta(minutes=20)}
    app = app_of(None, config)
    interface: Any = app.session_interface
    made = interface._settings.source
    assert (made.sandbox_id, made.default_ttl_hours) == ("books", 1 / 3)
    assert (await app.test_client().post("/put/a")).status_code == 200


async def test_a_copy_is_a_plain_dict(manager: SessionManager) -> None:
    """With its values as they are."""
    client = app_of(manager).test_client()
    async with client.session_transaction(scheme="https") as mine:
        assert isinstance(mine, QuartSession)
        mine["a"] = (1, 2)
        assert copy.deepcopy(mine) == {"a": (1, 2)}
        assert type(copy.copy(mine)) is dict


async def test_requests_that_overlap(web_manager: SessionManager) -> None:
    """Each sets a key of its own; all are there."""
    client = app_of(web_manager).test_client()
    await client.post("/put/first")
    await asyncio.gather(*(client.post(f"/put/key{n}") for n in range(20)))
    assert len((await (await client.get("/")).get_json())["data"]) == 21


async def test_the_example(web_manager: SessionManager) -> None:
    """Two browsers of one user."""
    app = create_app(web_manager)
    one, two = app.test_client(), app.test_client()
    assert (await one.get("/sessions")).status_code == 401
    for each in (one, two):
        assert "Max-Age" in (await each.post("/login/alice")).headers["set-cookie"]
    assert await (await one.get("/messages")).get_json() == ["welcome, alice"]
    assert await (await one.post("/cart/book")).get_json() == ["book"]
    assert [each["this"] for each in await (await two.get("/sessions")).get_json()] == [False, True]
    async with one.websocket("/whoami") as socket:
        await socket.send("?")
        assert await socket.receive() == "alice"
    assert await (await two.post("/logout/everywhere")).get_json() == {"ended": 2}
    assert (await one.get("/sessions")).status_code == 401
