"""A login with Quart: a cart, messages for the next page, "where am I logged in", log out everywhere, a WebSocket.

    pip install '.[quart]' hypercorn
    SESSION_PROVIDER=redis hypercorn 'examples.quart_login:create_app()'

Without ``SESSION_PROVIDER`` the sessions are in the memory of the process. Passwords are left out: anybody who names a
user is that user. Over plain http://localhost most browsers send a secure cookie too; for the others set
``INSECURE_COOKIES=1``.
"""

from __future__ import annotations

import os
from typing import Any

from quart import Quart, abort, flash, get_flashed_messages, websocket

from chuk_sessions import SessionManager
from chuk_sessions.web.quart import ChukSessions, session


def the_user() -> str:
    """The id of the user who is logged in; a visitor gets a 401."""
    return session.user_id or abort(401)


def create_app(manager: SessionManager | None = None) -> Quart:
    """Make the application, with a manager of its own unless one is given."""
    sessions = manager or SessionManager("shop", strict=True, opaque_ids=True, max_sessions_per_user=5)
    app = Quart(__name__)
    app.config["SESSION_COOKIE_SECURE"] = os.environ.get("INSECURE_COOKIES") != "1"
    ChukSessions(app, sessions)

    @app.post("/login/<user>")
    async def login(user: str) -> dict[str, str]:
        await session.login(user)
        session.permanent = True  # the cookie outlives the browser
        await flash(f"welcome, {user}")
        return {"welcome": user}

    @app.get("/messages")
    async def messages() -> list[Any]:
        return list(get_flashed_messages())

    @app.post("/cart/<item>")
    async def add(item: str) -> list[str]:
        cart: list[str] = session.setdefault("cart", [])
        cart.append(item)
        return cart

    @app.get("/sessions")
    async def where_am_i_logged_in() -> list[dict[str, Any]]:
        found = await sessions.list_user_sessions(the_user())
        return [{"since": each["created_at"], "this": each["session_id"] == session.id} for each in found]

    @app.post("/logout/everywhere")
    async def logout_everywhere() -> dict[str, int]:
        others = await sessions.delete_user_sessions(the_user(), keep=session.id)
        await session.invalidate()
        return {"ended": others + 1}

    @app.websocket("/whoami")
    async def whoami() -> None:
        user = the_user()
        await websocket.accept()
        while True:  # until the client leaves, or the session has ended
            await websocket.receive()
            await websocket.send(user)

    return app
