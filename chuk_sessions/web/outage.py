"""Answers while the storage fails: never with a 401, and never as if the client were logged out."""

from __future__ import annotations

import logging
import time
from typing import Any, Literal

from chuk_sessions.web.asgi import UNAVAILABLE, ASGIApp, Headers, Message, Receive, Scope, Send, refuse_socket, respond

__all__ = ["OnOutage", "Outage"]

OnOutage = Literal["503", "empty"] | ASGIApp

TEXT = "Service temporarily unavailable, please try again"
REPORT_INTERVAL = 10  # seconds between two log lines about a store that fails

logger = logging.getLogger(__name__)


class Outage:
    """Answers a request whose session cannot be read or written.

    ``on_outage`` is ``"503"``, ``"empty"`` (the application runs with an empty session that is not stored) or an ASGI
    application that answers. ``retry_after`` is in seconds, for the header of that name.

    Raises ValueError for another text, and for a ``retry_after`` below 0.
    """

    def __init__(self, on_outage: Any, retry_after: Any) -> None:
        if not callable(on_outage) and on_outage not in ("503", "empty"):
            raise ValueError(f"on_outage must be '503', 'empty' or an ASGI application, got {on_outage!r}")
        if not isinstance(retry_after, int) or retry_after < 0:
            raise ValueError(f"retry_after must be whole seconds from 0, got {retry_after!r}")
        self.goes_on = on_outage == "empty"
        self._app = on_outage if callable(on_outage) else None
        self._headers = [(b"retry-after", b"%d" % retry_after)]
        self._next_report = 0.0

    def log(self, error: Exception) -> None:
        """Log the error, at most one per interval. No error of this package contains a session id."""
        now = time.monotonic()
        if now >= self._next_report:
            self._next_report = now + REPORT_INTERVAL
            logger.error("%s (more such failures are not logged for %d s)", error, REPORT_INTERVAL)

    async def answer(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        """Answer in the place of the application; ``headers`` go with the response."""
        if self._app is not None:
            await self._app(scope, receive, _with_headers(send, headers) if headers else send)
        elif scope["type"] == "websocket":
            await refuse_socket(scope, receive, send, UNAVAILABLE, TEXT, [*headers, *self._headers])
        else:
            await respond(send, UNAVAILABLE, TEXT, [*headers, *self._headers, (b"cache-control", b"no-store")])


def _with_headers(send: Send, headers: Headers) -> Send:
    """Wrap ``send`` so that it adds these headers to the response that begins."""

    async def added(message: Message) -> None:
        if message["type"].endswith("response.start"):
            message = {**message, "headers": [*message.get("headers", ()), *headers]}
        await send(message)

    return added
