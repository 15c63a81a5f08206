"""A login with Litestar and its ``SessionAuth``: a cart, "where am I logged in", log out everywhere, a WebSocket.

    pip install '.[litestar]' uvicorn websockets
    SESSION_PROVIDER=redis uvicorn --factory examples.litestar_login:create_app

Without ``SESSION_PROVIDER`` the sessions are in the memory of the process. Passwords are left out: anybody who names a
user is that user. ``curl`` and some browsers need ``INSECURE_COOKIES=1`` over plain http://localhost.
"""

from __future__ import annotations

import os
from typing import Any

from litestar import Litestar, Request, WebSocket, delete, get, post, websocket
from litestar.connection import ASGIConnection
from litestar.exceptions import WebSocketDisconnect
from litestar.params import FromPath
from litestar.security.session_auth import SessionAuth

from chuk_sessions import SessionManager
from chuk_sessions.exceptions import StorageError
from chuk_sessions.web import Cookie
from chuk_sessions.web.litestar import LitestarSession, SessionBackend, SessionConfig, session_of, storage_unavailable


async def user_of(session: LitestarSession, connection: ASGIConnection[Any, Any, Any, Any]) -> str | None:
    """The user of a request, for ``SessionAuth``: a real application looks the id up in its database."""
    return session.user_id


@post("/login/{user:str}", exclude_from_auth=True)
async def login(user: FromPath[str], request: Request[Any, Any, Any]) -> dict[str, str]:
    """Give the session a new id, and to that user."""
    await session_of(request).login(user)
    return {"welcome": user}


@post("/cart/{item:str}")
async def add(item: FromPath[str], request: Request[str, Any, Any]) -> list[str]:
    """Put something into the cart."""
    cart: list[str] = request.session.setdefault("cart", [])
    cart.append(item)
    return cart


@delete("/sessions", status_code=200)
async def logout_everywhere(request: Request[str, Any, Any]) -> int:
    """End all sessions of the user; how many there were."""
    manager: SessionManager = request.app.state.manager
    others = await manager.delete_user_sessions(request.user, keep=session_of(request).id)
    await session_of(request).invalidate()
    return others + 1


@get("/sessions")
async def where_am_i_logged_in(request: Request[str, Any, Any]) -> list[dict[str, Any]]:
    """One entry for each browser."""
    found = await request.app.state.manager.list_user_sessions(request.user)
    this = session_of(request).id
    return [{"since": each["created_at"], "this": each["session_id"] == this} for each in found]


@websocket("/whoami")
async def whoami(socket: WebSocket[str, Any, Any]) -> None:
    """Say who is logged in, as often as asked, until the client leaves or the session ends."""
    await socket.accept()
    try:
        while True:
            await socket.receive_text()
            await socket.send_text(socket.user)
    except WebSocketDisconnect:
        pass


def create_app(manager: SessionManager | None = None) -> Litestar:
    """Make the application, with a manager of its own unless one is given."""
    manager = manager or SessionManager("shop", strict=True, opaque_ids=True, max_sessions_per_user=5)
    cookie = Cookie(secure=os.environ.get("INSECURE_COOKIES") != "1", max_age="lifetime")
    auth = SessionAuth[str, SessionBackend](
        session_backend_config=SessionConfig(manager, transport=cookie),
        retrieve_user_handler=user_of,
        exclude="/schema",
    )
    app = Litestar(
        route_handlers=[login, add, logout_everywhere, where_am_i_logged_in, whoami],
        on_app_init=[auth.on_app_init],
        exception_handlers={StorageError: storage_unavailable},
    )
    app.state.manager = manager
    return app
