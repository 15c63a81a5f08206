"""WebSockets: the cookie in the handshake, what is kept of later changes, and the end of the session elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.web import Header, Session, SessionMiddleware
from chuk_sessions.web.asgi import ASGIApp, Message, Receive, Scope, Send
from chuk_sessions.web.websocket import SocketClosed
from tests.support.asgi import Browser, application

NAME = "__Host-session"
On = Callable[[Session, Message], Awaitable[str]]


async def show(session: Session, scope: Scope) -> Any:
    return dict(session)


async def fill(session: Session, scope: Scope) -> Any:
    await session.login("alice", a=1)


async def remember(session: Session, message: Message) -> str:
    session["last"] = message["text"]
    return "ok"


def app_of(on: On = remember, before: Callable[[Session], Any] = lambda session: None) -> ASGIApp:
    """An application with a WebSocket that answers each text; `before` is called before the handshake ends."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await application(fill=fill, index=show)(scope, receive, send)
            return
        await receive()
        before(scope["session"])
        await send({"type": "websocket.accept", "headers": [(b"x-mine", b"1")]})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": await on(scope["session"], message)})

    return app


async def test_the_cookie_goes_with_the_handshake(web_manager: SessionManager) -> None:
    """What is set before it is there at once; the headers of the application stay."""
    browser = Browser(SessionMiddleware(app_of(before=lambda session: session.update(a=1)), web_manager))
    async with browser.socket() as socket:
        assert socket.all("x-mine") == ["1"]
        assert str(socket.set_cookie).startswith(f"{NAME}=sess-")
        assert (await browser.get()).json() == {"a": 1}


async def test_what_is_set_after_the_handshake_is_kept(web_manager: SessionManager) -> None:
    """It is stored when the socket closes."""
    browser = Browser(SessionMiddleware(app_of(), web_manager))
    await browser.get("/fill")
    async with browser.socket() as socket:
        assert socket.all("set-cookie") == []
        assert await socket.ask("hello") == "ok"
    assert (await browser.get()).json() == {"a": 1, "last": "hello"}


async def test_a_handler_that_ends_by_the_disconnect_keeps_them_too(web_manager: SessionManager) -> None:
    """Frameworks raise an exception for it; another one loses them."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await application(fill=fill, index=show)(scope, receive, send)
            return
        await receive()
        await send({"type": "websocket.accept"})
        message = await receive()
        scope["session"]["last"] = message["text"]
        await send({"type": "websocket.send", "text": "ok"})
        if message["text"] == "bug":
            raise RuntimeError("bug")
        await receive()
        raise ConnectionError("WebSocketDisconnect")

    browser = Browser(SessionMiddleware(app, web_manager))
    await browser.get("/fill")
    for text, error in (("kept", ConnectionError), ("bug", RuntimeError)):
        with pytest.raises(error):
            async with browser.socket() as socket:
                await socket.ask(text)
        assert (await browser.get()).json() == {"a": 1, "last": "kept"}


async def test_a_socket_is_closed_when_its_session_ends_elsewhere(web_manager: SessionManager) -> None:
    """With the code 4401, for client and application; also if the application is waiting."""
    disconnects: list[Message] = []
    inner = app_of()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def watched() -> Message:
            message = await receive()
            disconnects.extend([message] if message["type"] == "websocket.disconnect" else [])
            return message

        await inner(scope, watched, send)

    browser = Browser(SessionMiddleware(app, web_manager, websocket_recheck=0.02))
    await browser.get("/fill")
    async with browser.socket() as socket:
        assert await socket.ask("hello") == "ok"
        await asyncio.sleep(0.1)
        assert await socket.ask("still") == "ok"
        await web_manager.delete_user_sessions("alice")
        last = await socket.until(4)
    assert (last["type"], last["code"]) == ("websocket.close", 4401)
    assert [message["code"] for message in disconnects] == [4401]
    assert await web_manager.count_sessions() == 0, "what it had set is not brought back"


async def test_a_socket_is_closed_by_a_login_in_another_tab(web_manager: SessionManager) -> None:
    """Its id is worth nothing then; the next socket is the user's."""
    browser = Browser(SessionMiddleware(app_of(), web_manager, websocket_recheck=0.02))
    async with browser.socket() as first:
        await first.ask("nobody yet")  # a visitor who has nothing, and so no session to look at
    await browser.get("/fill")
    async with browser.socket() as socket:
        await browser.get("/fill")
        last = await socket.until(2)
    assert (last["type"], last["code"]) == ("websocket.close", 4401)
    async with browser.socket() as socket:
        assert await socket.ask("hello") == "ok"


async def test_a_socket_that_only_sends_learns_of_it(web_manager: SessionManager) -> None:
    """By an OSError, as after a client has left; closing is no error."""
    ended: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await application(fill=fill)(scope, receive, send)
            return
        await receive()
        await send({"type": "websocket.accept"})
        try:
            while True:
                await send({"type": "websocket.send", "text": "tick"})
                await asyncio.sleep(0.01)
        except OSError as error:
            ended.append(isinstance(error, SocketClosed))
            await send({"type": "websocket.close"})

    browser = Browser(SessionMiddleware(app, web_manager, websocket_recheck=0.02))
    await browser.get("/fill")
    async with browser.socket() as socket:
        await socket.until(3)
        await web_manager.delete_user_sessions("alice")
        assert socket.task is not None
        await socket.task
    assert ended == [True]
    assert [message["type"] for message in socket.messages].count("websocket.close") == 1


async def test_a_receive_that_is_given_up_loses_no_message(web_manager: SessionManager) -> None:
    """As with `asyncio.wait_for`."""
    got: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await application(fill=fill)(scope, receive, send)
            return
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            try:
                message = await asyncio.wait_for(receive(), 0.01)
            except TimeoutError:
                await send({"type": "websocket.send", "text": "waiting"})
                continue
            if message["type"] == "websocket.disconnect":
                return
            got.append(message["text"])

    browser = Browser(SessionMiddleware(app, web_manager, websocket_recheck=30))
    await browser.get("/fill")
    async with browser.socket() as socket:
        for n in range(5):
            await socket.ask(f"{n}")
        await socket.until(len(socket.messages) + 3)
    assert got == [f"{n}" for n in range(5)]


@pytest.mark.parametrize("options", [{"websocket_recheck": 0}, {}])
async def test_without_a_session_nothing_is_looked_up(web_manager: SessionManager, options: dict[str, Any]) -> None:
    """And with `websocket_recheck=0` never."""
    browser = Browser(SessionMiddleware(app_of(), web_manager, **options))
    if options:
        await browser.get("/fill")
    before = len(asyncio.all_tasks())
    async with browser.socket() as socket:
        assert len(asyncio.all_tasks()) == before + 1
        assert await socket.ask("hello") == "ok"


async def test_a_login_in_an_open_socket_is_refused(web_manager: SessionManager) -> None:
    """The client could not get the new id."""

    async def login(session: Session, message: Message) -> str:
        with pytest.raises(RuntimeError, match="response has begun"):
            await session.login("bob")
        return "refused"

    browser = Browser(SessionMiddleware(app_of(login), web_manager))
    async with browser.socket() as socket:
        assert await socket.ask("login") == "refused"


async def test_a_logout_in_an_open_socket_ends_it(web_manager: SessionManager) -> None:
    """At the next look."""

    async def logout(session: Session, message: Message) -> str:
        await session.invalidate()
        return "bye"

    browser = Browser(SessionMiddleware(app_of(logout), web_manager, websocket_recheck=0.02))
    await browser.get("/fill")
    async with browser.socket() as socket:
        assert await socket.ask("logout") == "bye"
        assert (await socket.until(3))["code"] == 4401
    assert await web_manager.count_sessions() == 0


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, True),
        ("https://shop.example", True),
        ("https://shop.example:443", True),
        ("http://shop.example", True),
        ("https://app.example", True),
        ("https://evil.example", False),
        ("https://sub.shop.example", False),
        ("https://shop.example:8443", False),
        ("null", False),
        ("", False),
        ("shop.example", False),
    ],
)
@pytest.mark.parametrize("extensions", [(), ("websocket.http.response",)])
async def test_only_our_own_pages_open_sockets(
    web_manager: SessionManager, origin: str | None, allowed: bool, extensions: tuple[str, ...]
) -> None:
    """A page of another site could act in the name of its visitor, as the browser sends the cookie."""
    browser = Browser(SessionMiddleware(app_of(), web_manager, trusted_origins=["https://app.example"]))
    headers = {} if origin is None else {"origin": origin}
    async with browser.socket(extensions=extensions, **headers) as socket:
        first = socket.messages[0]
        if allowed:
            assert first["type"] == "websocket.accept"
        elif extensions:
            assert (first["type"], first["status"]) == ("websocket.http.response.start", 403)
        else:
            assert (first["type"], first["code"]) == ("websocket.close", 1008)


async def test_a_header_needs_no_origin(web_manager: SessionManager) -> None:
    """No other site can make a browser send it."""
    browser = Browser(SessionMiddleware(app_of(), web_manager, transport=Header()))
    async with browser.socket(origin="https://evil.example") as socket:
        assert socket.messages[0]["type"] == "websocket.accept"


async def test_an_application_that_refuses_a_socket_after_a_login(web_manager: SessionManager) -> None:
    """A response in the place of the handshake has the cookie, also if the application raised."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await application(index=show)(scope, receive, send)
            return
        await receive()
        await scope["session"].login("alice", a=1)
        if scope["path"] == "/bug":
            raise RuntimeError("bug")
        await send({"type": "websocket.http.response.start", "status": 403, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"no"})

    browser = Browser(SessionMiddleware(app, web_manager))
    async with browser.socket("/", extensions=("websocket.http.response",)) as socket:
        assert socket.status == 403
    assert (await browser.get()).json() == {"a": 1}
    before = dict(browser.cookies)
    with pytest.raises(RuntimeError, match="bug"):
        async with browser.socket("/bug", extensions=("websocket.http.response",)) as socket:
            assert socket.status == 500
    assert browser.cookies != before
    assert (await browser.get()).json() == {"a": 1}
