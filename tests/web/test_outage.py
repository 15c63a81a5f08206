"""Redis is away: 503 and no word about the session; and when it is back, so is the session."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chuk_sessions import SessionManager, StorageError
from chuk_sessions.providers import redis
from chuk_sessions.web import Session, SessionMiddleware
from chuk_sessions.web.asgi import Receive, Scope, Send
from tests.support.asgi import Browser, application, reply
from tests.support.failing_provider import failing_factory
from tests.support.helpers import eventually
from tests.support.servers import RedisServer

pytestmark = pytest.mark.redis
NAME = "__Host-session"


def manager_on(server: RedisServer) -> SessionManager:
    url = f"{server.url}?reconnect_grace=0&socket_timeout=1&socket_connect_timeout=1"
    return SessionManager("shop", redis.factory(url), strict=True, opaque_ids=True)


async def show(session: Session, scope: Scope) -> Any:
    return dict(session)


async def fill(session: Session, scope: Scope) -> Any:
    session["a"] = 1


async def is_back(browser: Browser) -> bool:
    return (await browser.get()).status == 200


async def test_down_when_the_session_is_read(own_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """The application is not called; the cookie stays, and finds the session when the server is back."""
    own_server.restart("appendonly yes")
    called: list[str] = []

    async def called_show(session: Session, scope: Scope) -> Any:
        called.append(scope["path"])
        return dict(session)

    browser = Browser(SessionMiddleware(application(fill=fill, index=called_show), manager_on(own_server)))
    await browser.get("/fill")
    own_server.kill()
    for _ in range(3):
        answer = await browser.get()
        assert answer.status == 503
        assert (answer.header("retry-after"), answer.header("cache-control")) == ("2", "no-store")
        assert answer.set_cookie is None
    assert called == []
    assert caplog.text.count("could not open session") == 1
    assert browser.cookies[NAME] not in caplog.text
    assert (await Browser(browser.app).get()).status == 200, "a request without a cookie needs no server"
    own_server.restart()
    await eventually(lambda: is_back(browser))
    assert (await browser.get()).json() == {"a": 1}


@pytest.mark.parametrize("new", [True, False])
async def test_down_when_the_session_is_written(own_server: RedisServer, new: bool) -> None:
    """The application has done its part, but nobody gets its answer: the client may try again."""

    async def slow(session: Session, scope: Scope) -> Any:
        session["b"] = 2
        own_server.kill()
        return "done"

    browser = Browser(SessionMiddleware(application(fill=fill, slow=slow), manager_on(own_server), retry_after=7))
    if not new:
        await browser.get("/fill")
    answer = await browser.get("/slow")
    assert (answer.status, answer.header("retry-after"), answer.set_cookie) == (503, "7", None)
    assert b"done" not in answer.body
    assert [message["type"] for message in answer.messages] == ["http.response.start", "http.response.body"]


async def test_down_in_the_middle_of_a_handler(own_server: RedisServer) -> None:
    """What the application does not catch is a 503 too; what it catches is for it to answer."""

    async def login(session: Session, scope: Scope) -> Any:
        own_server.kill()
        if scope.get("query_string"):
            with pytest.raises(StorageError):
                await session.login("alice")
            return "caught"
        await session.login("alice")
        return "logged in"

    browser = Browser(SessionMiddleware(application(fill=fill, login=login, index=show), manager_on(own_server)))
    await browser.get("/fill")
    before = dict(browser.cookies)
    answer = await browser.get("/login")
    assert (answer.status, answer.set_cookie) == (503, None)
    assert browser.cookies == before
    own_server.restart()
    await eventually(lambda: is_back(browser))
    assert (await browser.request("GET", "/login", query_string=b"catch")).json() == "caught"


async def test_down_after_a_login(own_server: RedisServer) -> None:
    """It has happened, so the client gets the new id with the 503."""
    own_server.restart("appendonly yes")

    async def login(session: Session, scope: Scope) -> Any:
        await session.login("alice")
        session["late"] = 1
        own_server.kill()

    browser = Browser(SessionMiddleware(application(login=login, index=show, fill=fill), manager_on(own_server)))
    await browser.get("/fill")
    answer = await browser.get("/login")
    assert answer.status == 503
    assert str(answer.set_cookie).startswith(f"{NAME}=sess-")
    own_server.restart()
    await eventually(lambda: is_back(browser))
    assert (await browser.get()).json() == {"a": 1}


async def test_a_logout_that_fails_is_no_logout(own_server: RedisServer) -> None:
    """The client keeps its cookie, as the session may live."""

    async def logout(session: Session, scope: Scope) -> Any:
        own_server.kill()
        await session.invalidate()

    browser = Browser(SessionMiddleware(application(fill=fill, logout=logout), manager_on(own_server)))
    await browser.get("/fill")
    answer = await browser.get("/logout")
    assert (answer.status, answer.set_cookie) == (503, None)


async def test_down_after_the_response_began(own_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """It is too late to say so, but for the log."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["session"]["a"] = 1
        await reply(send, body=b"fine")
        own_server.kill()
        scope["session"]["b"] = 2

    answer = await Browser(SessionMiddleware(app, manager_on(own_server))).get()
    assert (answer.status, answer.body) == (200, b"fine")
    assert "could not update session" in caplog.text


async def test_empty_goes_on_without_a_session(own_server: RedisServer) -> None:
    """If that is wished for: an empty session that is not stored, and the cookie stays."""
    app = application(fill=fill, index=show)
    browser = Browser(SessionMiddleware(app, manager_on(own_server), on_outage="empty"))
    await browser.get("/fill")
    own_server.kill()
    for path in ("/", "/fill"):
        answer = await browser.get(path)
        assert (answer.status, answer.set_cookie) == (200, None)
    stranger = Browser(browser.app)
    assert (await stranger.get("/fill")).set_cookie is None
    assert (await browser.get()).json() == {}


async def test_an_application_of_ones_own_answers(own_server: RedisServer) -> None:
    """When reading fails, and when writing does."""

    async def sorry(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, 503, b"sorry")

    async def slow(session: Session, scope: Scope) -> Any:
        session["b"] = 2
        own_server.kill()

    app = application(fill=fill, slow=slow)
    browser = Browser(SessionMiddleware(app, manager_on(own_server), on_outage=sorry))
    await browser.get("/fill")
    assert (await browser.get("/slow")).body == b"sorry"
    assert (await browser.get("/slow")).body == b"sorry"


@pytest.mark.parametrize("extensions", [(), ("websocket.http.response",)])
async def test_a_websocket_is_refused(own_server: RedisServer, extensions: tuple[str, ...]) -> None:
    """By a 503 where the server can send one, else by the code 1013: when reading fails, and when writing does."""

    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await application(fill=fill)(scope, receive, send)
            return
        await receive()
        scope["session"]["b"] = 2
        own_server.kill()
        await send({"type": "websocket.accept"})
        raise AssertionError("not refused")

    browser = Browser(SessionMiddleware(echo, manager_on(own_server)))
    await browser.get("/fill")
    for _ in range(2):
        async with browser.socket(extensions=extensions) as socket:
            if extensions:
                assert (socket.messages[0]["type"], socket.status) == ("websocket.http.response.start", 503)
                assert socket.header("retry-after") == "2"
            else:
                assert (socket.messages[0]["type"], socket.messages[0]["code"]) == ("websocket.close", 1013)


async def test_an_open_websocket_outlives_an_outage(own_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody knows whether its session has ended; when the server is back and it has, the socket is closed."""

    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await application(fill=fill, index=show)(scope, receive, send)
            return
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})

    browser = Browser(SessionMiddleware(echo, manager_on(own_server), websocket_recheck=0.02))
    await browser.get("/fill")
    async with browser.socket() as socket:
        own_server.kill()
        await eventually(lambda: "could not validate session" in caplog.text)
        assert await socket.ask("still there") == "still there"
        own_server.restart()
        assert (await socket.until(3))["code"] == 4401


@pytest.mark.parametrize("error", [OSError("broken")])
async def test_a_storage_of_ones_own_that_fails(error: Exception) -> None:
    """It is an outage like any other."""
    manager = SessionManager("shop", failing_factory(error), strict=True, opaque_ids=True)
    browser = Browser(SessionMiddleware(application(fill=fill), manager))
    browser.cookies[NAME] = "sess-" + "0" * 38
    assert (await browser.get("/fill")).status == 503
    browser.cookies.clear()
    assert (await browser.get("/fill")).status == 503


ACTS: dict[str, Callable[[Session], Awaitable[Any]]] = {
    "login": lambda session: session.login("alice"),
    "renew": lambda session: session.renew(),
    "invalidate": lambda session: session.invalidate(),
    "increment": lambda session: session.increment("n"),
    "reload": lambda session: session.reload(),
    "save": lambda session: session.save(),
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("grouped", [False, True], ids=["alone", "in a task group"])
async def test_down_in_each_act(own_server: RedisServer, act: str, grouped: bool) -> None:
    """503, no word about the cookie; back, the session is as it was."""
    own_server.restart("appendonly yes")

    async def fail(session: Session, scope: Scope) -> Any:
        session["b"] = 2
        own_server.kill()
        if not grouped:
            return await ACTS[act](session)
        async with asyncio.TaskGroup() as group:

            async def inside() -> None:
                await ACTS[act](session)

            group.create_task(inside())
        return None

    browser = Browser(SessionMiddleware(application(fill=fill, fail=fail, index=show), manager_on(own_server)))
    await browser.get("/fill")
    answer = await browser.get("/fail")
    assert (answer.status, answer.set_cookie) == (503, None)
    own_server.restart()
    await eventually(lambda: is_back(browser))
    assert (await browser.get()).json() == {"a": 1}


async def test_down_when_a_rolling_session_is_prolonged(own_server: RedisServer, monkeypatch: Any) -> None:
    """The changes are stored by then; the client hears 503, and may ask again."""
    own_server.restart("appendonly yes")
    manager = manager_on(own_server)
    prolong = manager.set_session_ttl

    async def killed(session_id: str, ttl_hours: float) -> bool:
        own_server.kill()
        return await prolong(session_id, ttl_hours)

    browser = Browser(SessionMiddleware(application(fill=fill, index=show), manager, rolling=True))
    await browser.get("/fill")
    with monkeypatch.context() as patched:
        patched.setattr(manager, "set_session_ttl", killed)
        assert (await browser.get()).status == 503
    own_server.restart()
    await eventually(lambda: is_back(browser))
    assert (await browser.get()).json() == {"a": 1}


async def test_a_server_that_hangs(own_server: RedisServer) -> None:
    """It answers nothing, neither when the session is read nor when it is written: 503 after the timeout."""

    async def hang(session: Session, scope: Scope) -> Any:
        session["b"] = 2
        own_server.pause()

    app = application(fill=fill, hang=hang, index=show)
    browser = Browser(SessionMiddleware(app, manager_on(own_server)))
    await browser.get("/fill")
    assert [(await browser.get(path)).status for path in ("/hang", "/index")] == [503, 503]
    own_server.resume()
    await eventually(lambda: is_back(browser))
    assert (await browser.get()).json()["a"] == 1


async def test_an_application_of_ones_own_answers_after_a_login(own_server: RedisServer) -> None:
    """The login has happened, so the new id goes out with its answer too."""

    async def sorry(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, 503, b"sorry")

    async def login(session: Session, scope: Scope) -> Any:
        await session.login("alice")
        session["b"] = 2
        own_server.kill()

    browser = Browser(SessionMiddleware(application(login=login), manager_on(own_server), on_outage=sorry))
    answer = await browser.get("/login")
    assert answer.body == b"sorry"
    assert (answer.set_cookie or "").startswith(f"{NAME}=sess-")
