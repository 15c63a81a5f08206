"""Clients that leave, and servers that cancel the request then: what a stream or a socket has set is kept."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.web import SessionMiddleware
from chuk_sessions.web.asgi import ASGIApp, Message, Receive, Scope, Send
from tests.support.asgi import Browser

START: Message = {"type": "http.response.start", "status": 200, "headers": []}
BEGINNING: dict[str, Message] = {"http": START, "websocket": {"type": "websocket.accept"}}
CHUNK: Message = {"type": "http.response.body", "body": b"x", "more_body": True}


async def data_of(manager: SessionManager, session_id: str) -> dict[str, Any]:
    info = await manager.get_session_info(session_id)
    assert info is not None
    data: dict[str, Any] = info["custom_metadata"]
    return data


async def keys_of(manager: SessionManager, session_id: str, key: str) -> set[str]:
    """The keys of the session, once that one is there."""
    async with asyncio.timeout(10):
        while key not in await data_of(manager, session_id):  # noqa: ASYNC110
            await asyncio.sleep(0)
    return set(await data_of(manager, session_id))


async def serve(app: ASGIApp, scope: Scope) -> None:
    """Serve a client that hears nothing."""
    await app(scope, nothing, drop)


async def begin(manager: SessionManager, app: ASGIApp, kind: str = "http") -> tuple[str, asyncio.Task[None]]:
    """A new session, and a request of it, or a WebSocket."""
    session_id = await manager.allocate_session()
    middleware = SessionMiddleware(app, manager)
    scope = Browser(middleware, **{"__Host-session": session_id}).scope(kind, "/", {}, method="GET")
    return session_id, asyncio.create_task(serve(middleware, scope))


async def cancel(task: asyncio.Task[None], when: asyncio.Event) -> None:
    """Cancel the request once it is that far."""
    await when.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class Cut:
    """A server whose client leaves with the second chunk: `send` raises OSError from then on."""

    def __init__(self) -> None:
        self.sent: list[Message] = []

    async def send(self, message: Message) -> None:
        if len(self.sent) == 2:
            raise OSError("the client has left")
        self.sent.append(message)


async def nothing() -> Message:
    return {"type": "http.disconnect"}


async def drop(message: Message) -> None: ...


async def test_a_client_that_leaves_a_stream(web_manager: SessionManager) -> None:
    """Its server says so by an OSError, which goes through; what the stream has set so far is there."""

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        for n in range(3):
            scope["session"][f"chunk{n}"] = True
            await send(CHUNK)

    session_id = await web_manager.allocate_session()
    app = SessionMiddleware(stream, web_manager)
    scope = Browser(app, **{"__Host-session": session_id}).scope("http", "/", {}, method="GET")
    with pytest.raises(OSError, match="has left"):
        await app(scope, nothing, Cut().send)
    assert set(await data_of(web_manager, session_id)) == {"chunk0", "chunk1"}


async def test_an_application_that_fails_by_itself(web_manager: SessionManager) -> None:
    """An OSError of its own is a bug like any other: nothing is stored."""

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        scope["session"]["half"] = True
        raise OSError("no such file")

    session_id = await web_manager.allocate_session()
    browser = Browser(SessionMiddleware(stream, web_manager), **{"__Host-session": session_id})
    with pytest.raises(OSError, match="no such file"):
        await browser.get()
    assert await data_of(web_manager, session_id) == {}


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_a_request_that_is_cancelled(web_manager: SessionManager, kind: str) -> None:
    """Once the response has begun: as servers do whose client leaves a stream or a WebSocket."""
    inside = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(BEGINNING[kind])
        scope["session"]["streamed"] = True
        inside.set()
        await asyncio.Event().wait()

    session_id, task = await begin(web_manager, app, kind)
    await cancel(task, inside)
    assert await keys_of(web_manager, session_id, "streamed") == {"streamed"}


async def test_a_cancelled_request_whose_session_was_replaced(web_manager: SessionManager) -> None:
    """What counts is the dict that the application has put in its place."""
    inside = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["session"] = {"kept": True}
        await send(START)
        scope["session"]["streamed"] = True
        inside.set()
        await asyncio.Event().wait()

    session_id, task = await begin(web_manager, app)
    await cancel(task, inside)
    assert await keys_of(web_manager, session_id, "streamed") == {"kept", "streamed"}


async def test_a_request_that_is_cancelled_before_its_response(web_manager: SessionManager) -> None:
    """It has not happened, but for what was awaited."""
    inside = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["session"]["saved"] = True
        await scope["session"].save()
        scope["session"]["half"] = True
        inside.set()
        await asyncio.Event().wait()

    session_id, task = await begin(web_manager, app)
    await cancel(task, inside)
    assert await keys_of(web_manager, session_id, "saved") == {"saved"}


@pytest.mark.redis
@pytest.mark.parametrize("web_manager", ["redis"], indirect=True)
@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_a_late_write_that_is_cancelled(web_manager: SessionManager, kind: str) -> None:
    """Is made again."""
    ended = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(BEGINNING[kind])
        scope["session"]["late"] = True
        ended.set()

    session_id, task = await begin(web_manager, app, kind)
    await cancel(task, ended)
    assert await keys_of(web_manager, session_id, "late") == {"late"}


async def test_a_client_that_leaves_a_socket(web_manager: SessionManager) -> None:
    """Its server says so by an OSError from `send`, without a disconnect: what was set is there."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        scope["session"]["greeted"] = True
        await send({"type": "websocket.send", "text": "one"})
        await send({"type": "websocket.send", "text": "two"})

    session_id = await web_manager.allocate_session()
    middleware = SessionMiddleware(app, web_manager)
    scope = Browser(middleware, **{"__Host-session": session_id}).scope("websocket", "/", {})
    with pytest.raises(OSError, match="has left"):
        await middleware(scope, nothing, Cut().send)
    assert set(await data_of(web_manager, session_id)) == {"greeted"}
