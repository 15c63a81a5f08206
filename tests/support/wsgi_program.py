"""A Flask application for real servers, whose storage the environment names. With USE_IN_PARENT it is used at once."""

from __future__ import annotations

import os
from typing import Any

from flask import Flask

from chuk_sessions import SessionManager
from chuk_sessions.web.blocking import SyncSessionManager
from chuk_sessions.web.flask import ChukSessions, session

app = Flask(__name__)
manager = SessionManager("shop", strict=True, opaque_ids=True)
ChukSessions(app, manager)
sessions = SyncSessionManager(manager)

if os.environ.get("USE_IN_PARENT"):
    sessions.allocate_session(user_id="parent")


@app.post("/add/<name>")
def add(name: str) -> dict[str, Any]:
    """What the session has, and which process and whose sessions are behind it."""
    session["names"] = [*session.get("names", []), name]
    if session.user_id is None:
        session.login(name.partition("-")[0])
    mine = sessions.list_user_sessions(session.user_id or "")
    return {"names": session["names"], "pid": os.getpid(), "sessions": len(mine)}
