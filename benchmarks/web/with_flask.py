"""The pages of ``applications``, as an application of Flask: with our sessions, Flask's own, and Flask-Session's."""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module
from typing import Any

from benchmarks.web.applications import DATA, LIFETIME, Application, manager_on
from benchmarks.web.wsgi import bridged


def bare(url: str | None) -> Application:
    """Without sessions."""
    return _application(_flask())


def chuk(url: str | None, **options: Any) -> Application:
    """With this library, and these options of its manager."""
    app = _flask()
    import_module("chuk_sessions.web.flask").ChukSessions(app, manager_on(url, **options))
    return _application(app)


def in_the_cookie(url: str | None) -> Application:
    """With Flask's own: the whole session is in the cookie, signed."""
    return _application(_flask(SECRET_KEY="of the benchmarks"))


def flask_session(url: str | None, **options: Any) -> Application:
    """With Flask-Session, whose sessions are permanent by default: each response writes them."""
    if url is None:
        options |= {"SESSION_TYPE": "cachelib", "SESSION_CACHELIB": import_module("cachelib").SimpleCache()}
    else:
        options |= {"SESSION_TYPE": "redis", "SESSION_REDIS": import_module("redis").Redis.from_url(url)}
    app = _flask(**options)
    import_module("flask_session").Session(app)
    return _application(app)


def _flask(**options: Any) -> Any:
    app = import_module("flask").Flask("shop")
    app.config.update(PERMANENT_SESSION_LIFETIME=timedelta(seconds=LIFETIME), **options)
    return app


def _application(app: Any) -> Application:
    session, overlap = import_module("flask").session, import_module("benchmarks.web.overlap")

    def nothing() -> str:
        return "x"

    def fill() -> str:
        session.update(DATA)
        return "x"

    def read() -> str:
        found: str = session["user"]
        return found

    def change() -> str:
        session["seen"] = session.get("seen", 0) + 1
        return "x"

    def keep(number: int) -> str:
        session.get("user")
        overlap.wait_for_all()
        session[f"{overlap.KEY}{number}"] = number
        return "x"

    def kept() -> str:
        return str(sum(key.startswith(overlap.KEY) for key in session))

    for page in (nothing, fill, read, change, kept):
        app.get(f"/{page.__name__}")(page)
    app.get("/keep/<int:number>")(keep)
    return bridged(app)
