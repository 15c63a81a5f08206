"""For Quart: ``quart.session`` on the server, with the cookie of Quart's configuration.

app = Quart(__name__)
ChukSessions(app, manager)
"""

from __future__ import annotations

try:
    from quart import Quart, Response
    from quart import session as quart_session
    from quart.sessions import SessionInterface
except ImportError as exc:
    raise ImportError(
        f"chuk_sessions.web.quart needs Quart, and {exc.name} cannot be imported: pip install 'chuk-sessions[quart]'"
    ) from exc

from collections.abc import Awaitable, Callable
from typing import Any, cast

from chuk_sessions.exceptions import StorageError
from chuk_sessions.web.asgi import ASGIApp, Message, Scope
from chuk_sessions.web.exchange import Exchange
from chuk_sessions.web.middleware import SessionMiddleware
from chuk_sessions.web.outage import TEXT, Outage
from chuk_sessions.web.pallets import NoSession, TaggedSession, cookie_of, manager_of
from chuk_sessions.web.settings import ManagerSource
from chuk_sessions.web.stored import StoredSession
from chuk_sessions.web.transports import Transport

__all__ = ["ChukSessions", "QuartSession", "cookie_of", "session"]

SERVER_ERROR, UNAVAILABLE = 500, 503


class QuartSession(TaggedSession):
    """A session that can hold the types of Quart's own session too: tuples, bytes, ``datetime``, ``UUID``, ``Markup``.

    ``permanent`` and ``new`` are as in Quart. ``modified`` may be set, which does nothing: changes are found.
    """

    __slots__ = ("_is_apart",)

    def _take_over(self, stored: StoredSession | None, data: dict[str, Any] | None, home: Any) -> None:
        super()._take_over(stored, data, home)
        self._is_apart = False  # whether a test made it, without the middleware


session = cast("QuartSession", quart_session)
"""``quart.session`` with its type: the session of the request or WebSocket at hand."""


class ChukSessions:
    """Puts the sessions of a manager into a Quart application, for requests and WebSockets.

    Args:
        app: The application; None: ``init_app`` gets it.
        manager: As for ``SessionMiddleware``: strict and with opaque ids, or a function of the scope that gives one.
            None: a manager of the sandbox ``SESSION_KEY_PREFIX``, ``"quart"`` by default, whose sessions live for
            ``PERMANENT_SESSION_LIFETIME``.
        transport: How the id travels; None: in the cookie of the application's configuration.
        **options: The other arguments of ``SessionMiddleware``: ``exclude``, ``on_outage``, ``max_bytes``, ...

    Raises what ``SessionMiddleware`` and ``Cookie`` raise for arguments and configurations out of range.
    """

    def __init__(
        self,
        app: Quart | None = None,
        manager: ManagerSource | None = None,
        *,
        transport: Transport | None = None,
        **options: Any,
    ) -> None:
        self._manager, self._transport, self._options = manager, transport, options
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Quart) -> None:
        """Add the sessions to an application whose configuration is complete."""
        manager = manager_of(app, "quart") if self._manager is None else self._manager
        transport = cookie_of(app) if self._transport is None else self._transport
        middleware = SessionMiddleware(cast("ASGIApp", app.asgi_app), manager, transport=transport, **self._options)
        middleware.settings.session_class = QuartSession
        app.asgi_app = middleware  # type: ignore[assignment, method-assign]
        app.session_interface = _Interface(middleware)  # type: ignore[assignment]
        app.register_error_handler(
            StorageError, _unavailable(middleware.settings.outage, self._options.get("retry_after", 2))
        )


class _Interface(SessionInterface):
    """Gives out the session that the middleware loaded. The middleware writes it, at the response and at the end."""

    null_session_class = NoSession

    def __init__(self, middleware: SessionMiddleware) -> None:
        self._middleware = middleware
        self._settings = middleware.settings

    async def open_session(self, app: Quart, request: Any) -> Any:
        """Return the session of a request; None if it has none."""
        scope: Scope = request.scope
        session = scope.get(self._settings.scope_key)
        if session is None and not self._settings.exclude.has(scope):
            session = await self._open_apart(scope)
        if isinstance(session, QuartSession):
            session.follow(app.config)
        return session

    async def _open_apart(self, scope: Scope) -> QuartSession | None:
        """Open the session of a request that a test made, for instance with ``session_transaction``."""
        settings = self._settings
        manager = await self._middleware.choose(scope)
        if manager is None:
            return None
        stored = StoredSession(manager, settings.max_bytes)
        ids = settings.transport.ids(scope)
        session = QuartSession._of(stored, await stored.load(ids) if ids else None, settings)
        session._is_apart = True
        return session

    async def save_session(self, app: Quart, session: Any, response: Any) -> None:
        """Raise MetadataError for data that cannot be stored, while the application can still answer with its own 500.

        The middleware writes the session, when the response begins.
        """
        if response is None:
            return
        if session._is_apart:
            await self._save_apart(session, response)
        elif response.status_code < SERVER_ERROR:
            session._check()

    async def _save_apart(self, session: QuartSession, response: Any) -> None:
        """Write a session that a test opened, and add its cookie."""
        scope: Scope = {"type": "http", "scheme": "https", self._settings.scope_key: session}
        exchange = Exchange()
        exchange.take(session, scope, _no_message, _discard)
        begun = await exchange.begin({"type": "http.response.start", "headers": []})
        for name, value in begun["headers"]:
            response.headers.add(name.decode(), value.decode("latin-1"))


def _unavailable(outage: Outage, retry_after: int) -> Callable[[Exception], Awaitable[Response]]:
    """Make the error handler for a ``StorageError`` that a handler raised; Quart would answer 500."""
    headers = {"Retry-After": str(retry_after), "Cache-Control": "no-store"}

    async def answer(error: Exception) -> Response:
        outage.log(error)
        return Response(TEXT, UNAVAILABLE, headers, content_type="text/plain; charset=utf-8")

    return answer


async def _no_message() -> Message:
    return {"type": "http.disconnect"}


async def _discard(message: Message) -> None:
    """Drop a message."""
