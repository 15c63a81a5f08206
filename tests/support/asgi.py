"""An ASGI client of a few lines, with a cookie jar, for tests that need no framework: requests and WebSockets.

It takes applications as a server does, so that a test sees each message in its order. The jar keeps what Set-Cookie
says by name alone.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from chuk_sessions.web.asgi import ASGIApp, Message, Receive, Scope, Send
from chuk_sessions.web.session import Session

__all__ = ["Browser", "Endpoint", "Reply", "Socket", "application", "reply"]

Endpoint = Callable[[Session, Scope], Awaitable[Any]]


@dataclass
class Reply:
    """A response as it came."""

    messages: list[Message] = field(default_factory=list)

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def body(self) -> bytes:
        return b"".join(each.get("body", b"") for each in self.messages if each["type"].endswith("response.body"))

    def json(self) -> Any:
        return json.loads(self.body)

    def all(self, name: str) -> list[str]:
        """All headers of that name, of a response or of an accepted WebSocket."""
        headers = self.messages[0].get("headers", ()) if self.messages else ()
        return [value.decode("latin-1") for key, value in headers if key == name.encode()]

    def header(self, name: str) -> str | None:
        """The one header of that name."""
        found = self.all(name)
        assert len(found) < 2, f"{name} twice"
        return found[0] if found else None

    @property
    def set_cookie(self) -> str | None:
        return self.header("set-cookie")


class Browser:
    """Sends requests to an application, with the cookies that it got.

    `cookies` may be set; a request under way has those of its beginning.
    """

    def __init__(self, app: ASGIApp, **cookies: str) -> None:
        self.app = app
        self.cookies = dict(cookies)

    def copy(self) -> Browser:
        """Another one with the same cookies."""
        return Browser(self.app, **self.cookies)

    def scope(self, kind: str, path: str, headers: dict[str, str], **more: Any) -> Scope:
        named = {"host": "shop.example", **{key.lower(): value for key, value in headers.items()}}
        if self.cookies and "cookie" not in named:
            named["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        found = [(name.encode(), value.encode("latin-1")) for name, value in named.items()]
        scheme = "https" if kind == "http" else "wss"
        return {"type": kind, "path": path, "root_path": "", "scheme": scheme, "headers": found} | more

    def take(self, reply: Reply) -> None:
        """Keep the cookies of a response."""
        for text in reply.all("set-cookie"):
            pair, *attributes = text.split("; ")
            name, _, value = pair.partition("=")
            if "Max-Age=0" in attributes:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value

    async def get(self, path: str = "/", **headers: str) -> Reply:
        return await self.request("GET", path, headers)

    async def request(
        self, method: str, path: str = "/", headers: dict[str, str] | None = None, body: bytes = b"", **more: Any
    ) -> Reply:
        """Run the application for one request; an exception of it comes through, with `reply` as it was by then."""
        scope = self.scope("http", path, headers or {}, method=method, **more)
        incoming: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        answer = Reply()

        async def receive() -> Message:
            return incoming.pop(0) if incoming else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            answer.messages.append(message)

        try:
            await self.app(scope, receive, send)
        except Exception as error:
            error.reply = answer  # type: ignore[attr-defined]
            self.take(answer)
            raise
        self.take(answer)
        return answer

    def socket(self, path: str = "/", *, extensions: tuple[str, ...] = (), **headers: str) -> Socket:
        """A WebSocket, which `async with` opens."""
        scope = self.scope("websocket", path, headers, extensions={name: {} for name in extensions})
        return Socket(self, scope)


class Socket(Reply):
    """One WebSocket: what the application sends is in `messages`; `send` and `leave` are what the client does."""

    def __init__(self, browser: Browser, scope: Scope) -> None:
        super().__init__()
        self._browser, self._scope = browser, scope
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        self._arrived = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Socket:
        self._incoming.put_nowait({"type": "websocket.connect"})
        coroutine = self._browser.app(self._scope, self._incoming.get, self._take)
        self.task = asyncio.ensure_future(coroutine)
        await self.until(1)
        self._browser.take(self)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self.task is not None
        if not self.task.done():
            self._incoming.put_nowait({"type": "websocket.disconnect", "code": 1001})
        await self.task

    async def _take(self, message: Message) -> None:
        self.messages.append(message)
        self._arrived.set()

    async def until(self, count: int) -> Message:
        """The message of that number, once it is there."""
        assert self.task is not None
        while len(self.messages) < count:
            self._arrived.clear()
            waiting = asyncio.ensure_future(self._arrived.wait())
            done, _ = await asyncio.wait((waiting, self.task), timeout=10, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            assert done, f"only {self.messages} within 10 s"
            if self.task.done() and len(self.messages) < count:
                self.task.result()
                raise AssertionError(f"the application ended after {self.messages}")
        return self.messages[count - 1]

    async def ask(self, text: str) -> Any:
        """Send a text and wait for the next message."""
        count = len(self.messages)
        self._incoming.put_nowait({"type": "websocket.receive", "text": text})
        message = await self.until(count + 1)
        return message.get("text", message)


async def reply(send: Send, status: int = 200, body: bytes = b"", headers: Any = ()) -> None:
    """Send a whole response."""
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


def application(**endpoints: Endpoint) -> ASGIApp:
    """An application with an endpoint per path, `/name` for `name`; the answer is what it returns, as JSON.

    An int is a status.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        found = await endpoints[scope["path"].strip("/") or "index"](scope["session"], scope)
        status = found if type(found) is int else 200
        await reply(send, status, json.dumps(found).encode())

    return app
