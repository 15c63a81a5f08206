"""Applications of WSGI for clients that speak ASGI: called in the thread of the client, which waits meanwhile."""

from __future__ import annotations

import sys
from asyncio.events import _get_running_loop, _set_running_loop
from collections.abc import Callable
from io import BytesIO
from typing import Any

from benchmarks.web.applications import Application


def bridged(application: Callable[..., Any]) -> Application:
    """The application as clients of ASGI call it."""

    async def call(scope: Any, receive: Any, send: Any) -> None:
        begun: list[tuple[str, list[tuple[str, str]]]] = []
        loop = _get_running_loop()
        _set_running_loop(None)  # servers of WSGI call in threads that have none
        try:
            answer = application(_environ(scope), lambda status, headers, error=None: begun.append((status, headers)))
            body = b"".join(answer)
            answer.close()
        finally:
            _set_running_loop(loop)
        ((status, headers),) = begun
        encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
        await send({"type": "http.response.start", "status": int(status[:3]), "headers": encoded})
        await send({"type": "http.response.body", "body": body})

    return call


def _environ(scope: Any) -> dict[str, Any]:
    """The request as a WSGI server gives it."""
    headers = {f"HTTP_{name.decode().upper()}": value.decode("latin-1") for name, value in scope["headers"]}
    return headers | {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": scope["path"],
        "QUERY_STRING": "",
        "SERVER_NAME": scope["server"][0],
        "SERVER_PORT": str(scope["server"][1]),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.input": BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.url_scheme": "http",
    }
