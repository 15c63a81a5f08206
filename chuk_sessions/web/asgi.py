"""The types of ASGI 3, and the responses that the middlewares of this package send by themselves.

https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

__all__ = [
    "ASGIApp",
    "Headers",
    "Message",
    "Receive",
    "Scope",
    "Send",
    "header",
    "lacks_cookie",
    "refuse_socket",
    "respond",
]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

TRY_AGAIN_LATER = 1013
POLICY_VIOLATION = 1008
UNAVAILABLE = 503


def header(scope: Scope, name: bytes) -> bytes | None:
    """Return the first header of that name, given in lower case; None if the request has no such header."""
    for each, value in scope["headers"]:
        if each == name:
            return value  # type: ignore[no-any-return]
    return None


def lacks_cookie(vary: str) -> bool:
    """Tell whether a Vary header does not yet say that the response depends on cookies."""
    return {"cookie", "*"}.isdisjoint(name.strip().lower() for name in vary.split(","))


async def respond(
    send: Send, status: int, text: str, headers: Iterable[tuple[bytes, bytes]] = (), *, prefix: str = "http"
) -> None:
    """Send a whole response of plain text that no cache keeps. ``prefix`` is ``websocket.http`` for a handshake."""
    body = text.encode()
    named = [*headers, (b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    if not any(name == b"cache-control" for name, _ in named):
        named.append((b"cache-control", b"no-store"))
    await send({"type": f"{prefix}.response.start", "status": status, "headers": named})
    await send({"type": f"{prefix}.response.body", "body": body, "more_body": False})


async def refuse_socket(
    scope: Scope, receive: Receive, send: Send, status: int, text: str, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Refuse the handshake of a WebSocket: with a response if the server can send one, else with a close.

    A server turns a close before the handshake into a 403. It may still log the code of the close.
    """
    await receive()  # websocket.connect
    if "websocket.http.response" in (scope.get("extensions") or {}):
        await respond(send, status, text, headers, prefix="websocket.http")
        return
    code = TRY_AGAIN_LATER if status == UNAVAILABLE else POLICY_VIOLATION
    await send({"type": "websocket.close", "code": code, "reason": text})
