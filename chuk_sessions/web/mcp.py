"""Sessions of MCP over HTTP, by the specifications from 2025-03-26 to 2025-11-25: ``Mcp-Session-Id``.

https://modelcontextprotocol.io/specification/2025-11-25/basic/transports ("Session Management"). The specification of
2026-07-28 has no sessions any more: new servers give out handles (``examples/mcp_handles.py``).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chuk_sessions.web.asgi import ASGIApp, Headers, Message, Receive, Scope, Send, header, respond
from chuk_sessions.web.session import Session
from chuk_sessions.web.transports import Header

__all__ = ["McpHeader"]

NAME = b"mcp-session-id"
LARGEST_INITIALIZE = 256 * 1024  # bytes: a larger body is not parsed
LONGEST_VERSION = 64  # characters
PROTOCOL_KEY = "mcp_protocol"
BAD_REQUEST, NOT_FOUND, NO_CONTENT = 400, 404, 204

Subject = Callable[[Scope], str | None]


@dataclass(frozen=True)
class McpHeader(Header):
    """The id in ``Mcp-Session-Id``, with the answers that the specification asks for.

    A POST of ``initialize`` begins a session. The key ``mcp_protocol`` of the session is the version that the client
    asked for. Any other request without the header is a 400. A request with an id that is unknown or has ended is a
    404, and a client then begins anew. A DELETE ends the session with a 204. Put the middleware around the MCP endpoint
    alone.

    A session is no authentication. ``subject`` gives the user in the access token of a request, or None. The session is
    bound to that user when it begins, and is not found (404) for any other user.
    """

    name: str = "Mcp-Session-Id"
    subject: Subject | None = None

    def clear(self, headers: Headers) -> None:
        """Add nothing: the answer to a DELETE, or a 404 later, tells the client."""

    def wrap(self, app: ASGIApp, scope_key: str) -> ASGIApp:
        """Wrap the application in these rules."""
        return _Rules(app, scope_key, self.subject)


class _Rules:
    """Gives the answers of the specification before the application is called."""

    def __init__(self, app: ASGIApp, scope_key: str, subject: Subject | None) -> None:
        self._app, self._key, self._subject = app, scope_key, subject

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] == "OPTIONS":
            await self._app(scope, receive, send)
            return
        session: Session = scope[self._key]
        user = self._subject(scope) if self._subject is not None else None
        if header(scope, NAME) is None:
            await self._begin(scope, receive, send, session, user)
        elif session.is_new or session.user_id != user:
            await respond(send, NOT_FOUND, "this session is unknown or has ended: initialize a new one")
        elif scope["method"] == "DELETE":
            await session.invalidate()
            await send({"type": "http.response.start", "status": NO_CONTENT, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await self._app(scope, receive, send)

    async def _begin(self, scope: Scope, receive: Receive, send: Send, session: Session, user: str | None) -> None:
        body = await _read(receive) if scope["method"] == "POST" else b""
        version = _initialize(body)
        if version is None:
            await respond(send, BAD_REQUEST, "the header Mcp-Session-Id is missing, and this is no initialize")
            return
        session[PROTOCOL_KEY] = version
        if user is not None:
            await session.login(user)
        await self._app(scope, _replay(body, receive), send)


async def _read(receive: Receive) -> bytes:
    """Read the body of a request; return nothing if it is too large for an ``initialize``."""
    body = bytearray()
    while len(body) <= LARGEST_INITIALIZE:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    return bytes(body) if len(body) <= LARGEST_INITIALIZE else b""


def _initialize(body: bytes) -> str | None:
    """Return the version of the protocol in the body of an ``initialize``; None for any other body."""
    try:
        call: Any = json.loads(body)
        version = call["params"]["protocolVersion"] if call["method"] == "initialize" else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return version if isinstance(version, str) and len(version) <= LONGEST_VERSION else None


def _replay(body: bytes, receive: Receive) -> Receive:
    """Make a ``receive`` that gives that body first."""
    left = [body]

    async def replayed() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return replayed
