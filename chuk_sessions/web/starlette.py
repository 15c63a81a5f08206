"""For Starlette: ``request.user`` from the session. ``request.session`` needs nothing of this module.

app.add_middleware(AuthenticationMiddleware, backend=SessionBackend())  # inside
app.add_middleware(SessionMiddleware, manager=manager)  # outside
"""

from __future__ import annotations

try:
    from starlette.authentication import AuthCredentials, AuthenticationBackend, BaseUser, SimpleUser
    from starlette.requests import HTTPConnection
except ImportError as exc:
    raise ImportError(
        f"chuk_sessions.web.starlette needs Starlette, and {exc.name} cannot be imported:"
        " pip install 'chuk-sessions[starlette]'"
    ) from exc

from chuk_sessions.web.session import Session

__all__ = ["SessionBackend", "session_of"]


def session_of(connection: HTTPConnection) -> Session:
    """Return the session of a request or WebSocket, ``request.session``, with its type.

    Raises RuntimeError if there is no session: there is no middleware, or it excludes the path.
    """
    session = connection.scope.get("session")
    if not isinstance(session, Session):
        raise RuntimeError(
            "no session of chuk_sessions at scope['session']: add SessionMiddleware, and do not exclude this path"
        )
    session.mark_accessed()  # pydantic, orjson and the like may read the dict unnoticed
    return session


class SessionBackend(AuthenticationBackend):
    """Finds the user who logged in with ``session.login``, for ``AuthenticationMiddleware`` and ``@requires``.

    The request of such a user has the scope ``authenticated``; ``request.user.display_name`` is the user id.
    """

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        """Return the user, or None for a visitor."""
        user_id = session_of(conn).user_id
        return None if user_id is None else (AuthCredentials(["authenticated"]), SimpleUser(user_id))
