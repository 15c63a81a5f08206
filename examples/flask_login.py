"""A login with Flask: a cart, messages for the next page, "where am I logged in", log out everywhere.

    pip install '.[flask]' gunicorn
    SESSION_PROVIDER=redis gunicorn --threads 8 'examples.flask_login:create_app()'

Without ``SESSION_PROVIDER`` the sessions are in the memory of the process. Passwords are left out: anybody who names a
user is that user. Over plain http://localhost most browsers send a secure cookie too; for the others set
``INSECURE_COOKIES=1``.
"""

from __future__ import annotations

import os
from typing import Any

from flask import Flask, abort, flash, get_flashed_messages

from chuk_sessions import SessionManager
from chuk_sessions.web.blocking import SyncSessionManager
from chuk_sessions.web.flask import ChukSessions, session


def the_user() -> str:
    """The id of the user who is logged in; a visitor gets a 401."""
    return session.user_id or abort(401)


def create_app(manager: SessionManager | None = None) -> Flask:
    """Make the application, with a manager of its own unless one is given."""
    manager = manager or SessionManager("shop", strict=True, opaque_ids=True, max_sessions_per_user=5)
    sessions = SyncSessionManager(manager)
    app = Flask(__name__)
    app.config["SESSION_COOKIE_SECURE"] = os.environ.get("INSECURE_COOKIES") != "1"
    ChukSessions(app, manager)

    @app.post("/login/<user>")
    def login(user: str) -> dict[str, str]:
        session.login(user)
        session.permanent = True  # the cookie outlives the browser
        flash(f"welcome, {user}")
        return {"welcome": user}

    @app.get("/messages")
    def messages() -> list[Any]:
        return list(get_flashed_messages())

    @app.post("/cart/<item>")
    def add(item: str) -> list[str]:
        cart: list[str] = session.setdefault("cart", [])
        cart.append(item)
        return cart

    @app.get("/sessions")
    def where_am_i_logged_in() -> list[dict[str, Any]]:
        found = sessions.list_user_sessions(the_user())
        return [{"since": each["created_at"], "this": each["session_id"] == session.id} for each in found]

    @app.post("/logout/everywhere")
    def logout_everywhere() -> dict[str, int]:
        others = sessions.delete_user_sessions(the_user(), keep=session.id)
        session.invalidate()
        return {"ended": others + 1}

    @app.errorhandler(503)
    def unavailable(error: Exception) -> tuple[str, int]:
        return "We cannot reach your session at the moment, please try again.", 503

    return app
