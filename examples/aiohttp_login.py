"""A login with aiohttp and aiohttp-session: a cart, "where am I logged in", log out everywhere, a WebSocket.

    pip install '.[aiohttp]'
    SESSION_PROVIDER=redis python -m aiohttp.web -P 8000 examples.aiohttp_login:create_app

Without ``SESSION_PROVIDER`` the sessions are in the memory of the process. Passwords are left out: anybody who names a
user is that user. Over plain http://localhost most browsers send a secure cookie too; for the others set
``INSECURE_COOKIES=1``.
"""

from __future__ import annotations

import os
from typing import Any

from aiohttp import web

from chuk_sessions import SessionManager
from chuk_sessions.web import Cookie
from chuk_sessions.web.aiohttp import ChukStorage, session_of, setup

MANAGER = web.AppKey("sessions", SessionManager)
routes = web.RouteTableDef()


async def user_of(request: web.Request) -> str:
    """The id of the user who is logged in; a visitor gets a 401."""
    user = (await session_of(request)).user_id
    if user is None:
        raise web.HTTPUnauthorized
    return user


@routes.post("/login/{user}")
async def login(request: web.Request) -> web.Response:
    """Give the session a new id, and to that user."""
    await (await session_of(request)).login(request.match_info["user"])
    return web.json_response({"welcome": request.match_info["user"]})


@routes.post("/cart/{item}")
async def add(request: web.Request) -> web.Response:
    """Put something into the cart."""
    session = await session_of(request)
    session.setdefault("cart", []).append(request.match_info["item"])
    return web.json_response(session["cart"])


@routes.get("/sessions")
async def where_am_i_logged_in(request: web.Request) -> web.Response:
    """One entry for each browser."""
    found = await request.app[MANAGER].list_user_sessions(await user_of(request))
    this = (await session_of(request)).identity
    return web.json_response([{"since": each["created_at"], "this": each["session_id"] == this} for each in found])


@routes.post("/logout/everywhere")
async def logout_everywhere(request: web.Request) -> web.Response:
    """End all sessions of the user; how many there were."""
    session = await session_of(request)
    others = await request.app[MANAGER].delete_user_sessions(await user_of(request), keep=session.identity)
    await session.logout()
    return web.json_response(others + 1)


@routes.get("/whoami")
async def whoami(request: web.Request) -> web.WebSocketResponse:
    """Say who is logged in, as often as asked, until the client leaves or the session has ended."""
    session, user = await session_of(request), await user_of(request)
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for _ in socket:
        if not await request.app[MANAGER].validate_session(session.identity or ""):
            break
        await socket.send_str(user)
    await socket.close()
    return socket


def create_app(argv: Any = None, manager: SessionManager | None = None) -> web.Application:
    """Make the application, with a manager of its own unless one is given."""
    app = web.Application()
    app[MANAGER] = manager or SessionManager("shop", strict=True, opaque_ids=True, max_sessions_per_user=5)
    cookie = Cookie(secure=os.environ.get("INSECURE_COOKIES") != "1", max_age="lifetime")
    setup(app, ChukStorage(app[MANAGER], transport=cookie))
    app.add_routes(routes)
    return app
