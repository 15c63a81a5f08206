"""aiohttp as applications use it: `aiohttp_session.get_session`, streams, WebSockets, HTTP exceptions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("aiohttp_session", reason="aiohttp-session is not installed")

from aiohttp import ClientError, CookieJar, WSMsgType, web
from aiohttp.test_utils import TestClient, TestServer
from aiohttp_session import Session as AiohttpSession
from aiohttp_session import SimpleCookieStorage, get_session, new_session
from aiohttp_session import setup as setup_simple

from chuk_sessions import SessionManager
from chuk_sessions.exceptions import NotSent
from chuk_sessions.web import Cookie, Header
from chuk_sessions.web.aiohttp import ChukStorage, session_of, setup
from examples.aiohttp_login import MANAGER, create_app
from tests.support.failing_provider import failing_factory
from tests.web.conftest import on_memory

PLAIN = Cookie(secure=False)
if TYPE_CHECKING:  # older ones are no generics
    Client = TestClient[web.Request, web.Application]

routes = web.RouteTableDef()


@routes.get("/")
async def index(request: web.Request) -> web.Response:
    session = await get_session(request)
    return web.json_response(dict(session))


@routes.get("/untouched")
async def untouched(request: web.Request) -> web.Response:
    return web.Response(text="x")


@routes.post("/nested")
async def nested(request: web.Request) -> web.Response:
    session = await get_session(request)
    session.setdefault("cart", []).append("book")
    raise web.HTTPFound("/")


@routes.post("/login")
async def login(request: web.Request) -> web.Response:
    session = await session_of(request)
    await session.login("alice", role="editor")
    assert session.user_id == "alice"
    return web.json_response([session.new, session.created > 1e9, session.identity == session.inner.id])


@routes.post("/new")
async def begin_anew(request: web.Request) -> web.Response:
    await get_session(request)
    session = await new_session(request)
    if request.query:
        session["fresh"] = True
    return web.Response(text="x")


@routes.post("/acts")
async def acts(request: web.Request) -> web.Response:
    session = await session_of(request)
    session["a"] = 1
    await session.save()
    first = session.identity
    assert await session.renew()
    assert session.identity != first
    with pytest.raises(RuntimeError, match="manager makes"):
        session.set_new_identity("mine")
    session.changed()
    return web.json_response(await session.increment("n", 3))


@routes.post("/invalidate")
async def invalidate(request: web.Request) -> web.Response:
    (await get_session(request)).invalidate()
    return web.Response(text="x")


@routes.post("/logout")
async def logout(request: web.Request) -> web.Response:
    await (await session_of(request)).logout()
    return web.Response(text="x")


@routes.get("/stream")
async def stream(request: web.Request) -> web.StreamResponse:
    session = await get_session(request)
    if request.query:
        session["before"] = True
    response = web.StreamResponse()
    response.headers["Vary"] = "Accept"
    await response.prepare(request)
    session["after"] = True
    await response.write_eof(b"x")
    return response


@routes.get("/ws")
async def ws(request: web.Request) -> web.WebSocketResponse:
    session = await get_session(request)
    session["from"] = "socket"
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    session["said"] = (await socket.receive()).data
    await socket.close()
    return socket


@routes.post("/bug")
async def bug(request: web.Request) -> web.Response:
    session = await session_of(request)
    await session.login("alice")
    session["half"] = 1
    raise RuntimeError("bug")


@routes.post("/unavailable")
async def unavailable(request: web.Request) -> web.Response:
    (await get_session(request))["half"] = 1
    raise web.HTTPInternalServerError


@routes.post("/late")
async def late(request: web.Request) -> web.StreamResponse:
    session = await session_of(request)
    response = web.StreamResponse()
    await response.prepare(request)
    await session.login("alice")
    return response


def app_of(manager: SessionManager, **options: Any) -> web.Application:
    app = web.Application()
    setup(app, ChukStorage(manager, **{"transport": PLAIN, **options}))
    app.add_routes(routes)
    return app


def client_of(app: web.Application) -> Client:
    return TestClient(TestServer(app), cookie_jar=CookieJar(unsafe=True))


@pytest.fixture
async def client(web_manager: SessionManager) -> AsyncIterator[Client]:
    async with client_of(app_of(web_manager)) as found:
        yield found


async def data_of(client: Client) -> Any:
    return await (await client.get("/")).json()


def id_in(client: Client) -> str | None:
    found = {each.key: each.value for each in client.session.cookie_jar}
    return found.get("session")


async def test_requests(client: Client, web_manager: SessionManager) -> None:
    """Nested changes before a redirect, a login, the ends of a session."""
    assert await data_of(client) == {}
    assert (await client.get("/untouched")).headers.get("Vary") is None
    answer = await client.post("/nested")
    assert await answer.json() == {"cart": ["book"]}
    planted = id_in(client)
    assert planted is not None
    assert await (await client.post("/login")).json() == [False, True, True]
    assert id_in(client) != planted
    assert not await web_manager.validate_session(planted)
    answer = await client.get("/")
    assert await answer.json() == {"cart": ["book"], "role": "editor"}
    assert (answer.headers["Vary"], answer.headers.get("Set-Cookie")) == ("Cookie", None)
    for path in ("/logout", "/invalidate"):
        await client.post("/login")
        await client.post(path)
        assert id_in(client) is None
        assert await web_manager.list_user_sessions("alice") == []


async def test_new_session_ends_the_one_that_was_loaded(client: Client, web_manager: SessionManager) -> None:
    """As it is for logins: with something in it, and without."""
    for path, data in (("/new?fill=1", {"fresh": True}), ("/new", {})):
        await client.post("/nested")
        before = id_in(client)
        assert before is not None
        await client.post(path)
        assert not await web_manager.validate_session(before)
        assert await data_of(client) == data


async def test_acts(client: Client) -> None:
    assert await (await client.post("/acts")).json() == 3
    assert await data_of(client) == {"a": 1, "n": 3}


async def test_streams_and_websockets(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """The cookie goes out when they are prepared; what is set later is stored in the end."""
    await (await client.get("/stream")).read()
    assert "filled after the response had begun" in caplog.text
    answer = await client.get("/stream?x=1")
    assert answer.headers["Vary"] == "Accept, Cookie"
    await answer.read()
    assert await data_of(client) == {"before": True, "after": True}
    async with client.ws_connect("/ws") as socket:
        await socket.send_str("hello")
        await socket.receive()
    async with asyncio.timeout(10):
        while "said" not in (found := await data_of(client)):  # the handler may return after the client has left
            pass
    assert found == {"before": True, "after": True, "from": "socket", "said": "hello"}


async def test_after_an_exception(client: Client) -> None:
    """A login has happened and is told; what was set is not stored."""
    assert (await client.post("/bug")).status == 500
    assert id_in(client) is not None
    await client.post("/unavailable")
    assert await data_of(client) == {}
    assert (await client.post("/late")).status == 200


async def test_requests_that_overlap(client: Client) -> None:
    """Keep each other's changes."""
    await client.post("/nested")
    answers = await asyncio.gather(client.post("/nested"), client.get("/stream?x=1"))
    await answers[1].read()
    assert await data_of(client) == {"cart": ["book", "book"], "before": True, "after": True}


async def test_in_a_header(web_manager: SessionManager) -> None:
    async with client_of(app_of(web_manager, transport=Header())) as client:
        answer = await client.post("/acts")
        assert "Vary" not in answer.headers
        again = await client.get("/", headers={"X-Session": answer.headers["X-Session"]})
        assert await again.json() == {"a": 1, "n": 3}


async def test_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    """503: when a session is read, in an act, when it is written."""
    manager = SessionManager("shop", failing_factory(NotSent("down")), strict=True, opaque_ids=True)
    async with client_of(app_of(manager, retry_after=7)) as client:
        reading = {"Cookie": f"session=sess-{0:038x}"}
        answers = [
            await client.get("/", headers=reading),
            await client.post("/login"),
            await client.post("/nested"),
            await client.get("/stream?x=1"),
        ]
        assert [(each.status, each.headers["Retry-After"]) for each in answers] == [(503, "7")] * 4
        assert caplog.text.count("down") == 1  # an outage does not fill the log


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"max_bytes": 0}, ValueError, "max_bytes must be"),
        ({"max_bytes": "1"}, TypeError, "max_bytes must be"),
        ({"retry_after": -1}, ValueError, "retry_after must be"),
    ],
)
def test_arguments_out_of_range(options: dict[str, Any], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        ChukStorage(on_memory(), **options)


async def test_down_after_the_response_began(caplog: pytest.LogCaptureFixture) -> None:
    """It is too late to say so, but for the log."""
    manager = on_memory()
    async with client_of(app_of(manager)) as client:
        await client.post("/nested")
        original = manager.update_session_metadata

        async def fail_late(session_id: str, metadata: dict[str, Any], **options: Any) -> bool:
            if "after" in metadata:
                manager.session_factory = failing_factory(NotSent("down"))
            return await original(session_id, metadata, **options)

        manager.update_session_metadata = fail_late  # type: ignore[assignment, method-assign]
        await (await client.get("/stream?x=1")).read()
        assert "lost" in caplog.text


async def test_a_session_that_is_first_asked_for_in_a_stream(web_manager: SessionManager) -> None:
    """What is set is stored; a login is refused, as its id would reach nobody, and the client keeps its session."""

    async def late(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        session = await session_of(request)
        session["late"] = 1
        with pytest.raises(RuntimeError, match="response has begun"):
            await session.login("alice")
        await response.write_eof(b"x")
        return response

    app = app_of(web_manager)
    app.router.add_get("/first", late)
    async with client_of(app) as client:
        await client.post("/nested")
        assert await (await client.get("/first")).read() == b"x"
        assert await data_of(client) == {"cart": ["book"], "late": 1}


async def test_a_client_that_leaves_a_stream(web_manager: SessionManager) -> None:
    """aiohttp says so by a ConnectionResetError from `write`: what the stream has set so far is there."""

    async def cut(request: web.Request) -> web.StreamResponse:
        session = await get_session(request)
        response = web.StreamResponse()
        await response.prepare(request)
        session["streamed"] = True
        assert request.transport is not None
        request.transport.abort()
        while True:
            await response.write(b"x")
            await asyncio.sleep(0)

    app = app_of(web_manager)
    app.router.add_get("/cut", cut)
    async with client_of(app) as client:
        await client.post("/nested")
        with suppress(ClientError):
            await (await client.get("/cut")).read()
        async with asyncio.timeout(5):
            while "streamed" not in await data_of(client):  # noqa: ASYNC110
                await asyncio.sleep(0)


async def test_the_storage_of_somebody_else() -> None:
    """Has sessions of its own."""
    app = web.Application()
    setup_simple(app, SimpleCookieStorage())
    app.add_routes(routes)
    async with client_of(app) as client:
        assert (await client.post("/login")).status == 500
    theirs = AiohttpSession(None, data=None, new=True)
    with pytest.raises(TypeError, match="sessions of its own"):
        await ChukStorage(on_memory()).save_session(None, None, theirs)  # type: ignore[arg-type]


async def test_the_example(web_manager: SessionManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two browsers of one user; the WebSocket of one ends with its session."""
    monkeypatch.setenv("INSECURE_COOKIES", "1")
    app = create_app(manager=web_manager)
    async with client_of(app) as one:
        assert (await one.get("/sessions")).status == 401
        two = await one.app[MANAGER].allocate_session(user_id="alice")
        other = {"Cookie": f"session={two}"}
        assert "Max-Age" in (await one.post("/login/alice")).headers["Set-Cookie"]
        assert await (await one.post("/cart/book")).json() == ["book"]
        found = await (await one.get("/sessions")).json()
        assert [each["this"] for each in found] == [False, True]
        async with one.ws_connect("/whoami") as socket:
            await socket.send_str("?")
            assert await socket.receive_str() == "alice"
            assert await (await one.post("/logout/everywhere", headers=other)).json() == 2
            await socket.send_str("?")
            assert (await socket.receive()).type == WSMsgType.CLOSE
        assert (await one.get("/sessions")).status == 401
