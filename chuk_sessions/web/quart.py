"""For Quart: ``quart.session`` on the server, with the cookie of Quart's configuration.

app = Quart(__name__)
ChukSessions(app, manager)
"""

from __future__ import annotations

try:
    from flask.json.tag import TaggedJSONSerializer
    from flask.sessions import NullSession
    from quart import Quart, Response
    from quart import session as quart_session
    from quart.sessions import SessionInterface
except ImportError as exc:
    raise ImportError(
        f"chuk_sessions.web.quart needs Quart, and {exc.name} cannot be imported: pip install 'chuk-sessions[quart]'"
    ) from exc

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, NoReturn, cast

from chuk_sessions.exceptions import StorageError
from chuk_sessions.session_manager import SessionManager
from chuk_sessions.web.asgi import ASGIApp, Message, Scope
from chuk_sessions.web.cookies import Cookie
from chuk_sessions.web.exchange import Exchange
from chuk_sessions.web.middleware import SessionMiddleware
from chuk_sessions.web.outage import TEXT
from chuk_sessions.web.session import Session
from chuk_sessions.web.settings import ManagerSource
from chuk_sessions.web.stored import StoredSession
from chuk_sessions.web.transports import Transport

__all__ = ["ChukSessions", "QuartSession", "cookie_of", "session"]

SERVER_ERROR, UNAVAILABLE = 500, 503
PERMANENT = "_permanent"
SECONDS_AN_HOUR = 3600

serializer = TaggedJSONSerializer()


class QuartSession(Session):
    """A session that can hold the types of Quart's own session too: tuples, bytes, ``datetime``, ``UUID``, ``Markup``.

    ``permanent`` and ``new`` are as in Quart. ``modified`` may be set, which does nothing: changes are found.
    """

    __slots__ = ("_is_apart", "_refreshes")

    def __init__(self, stored: StoredSession, data: dict[str, Any] | None = None, home: object = None) -> None:
        super().__init__(stored, _untagged(data) if data else None, home)
        self._is_apart = False  # whether a test made it, without the middleware
        self._refreshes = False

    @property
    def permanent(self) -> bool:
        """Whether the cookie outlives the browser and lives as long as the session."""
        return bool(self.get(PERMANENT, False))

    @permanent.setter
    def permanent(self, value: bool) -> None:
        self[PERMANENT] = bool(value)

    @property
    def new(self) -> bool:
        """Whether this request came without a live session."""
        return self.is_new

    @property
    def modified(self) -> bool:
        """Whether the session differs from the stored data."""
        return super().modified

    @modified.setter
    def modified(self, value: bool) -> None:
        """Do nothing: changes are found by comparison."""

    @property
    def accessed(self) -> bool:
        """Whether the application used the session. Quart sets it for ``quart.session``."""
        return self._accessed

    @accessed.setter
    def accessed(self, value: bool) -> None:
        self._accessed = value

    def _plain(self) -> dict[str, Any]:
        return {key: serializer.tag(value) for key, value in dict.items(self)}

    def _as_stored(self) -> dict[str, Any]:
        return self._plain()

    def _is_stored(self) -> bool:
        return not self._cleared and self._stored.holds(self._plain().items())

    def _check(self) -> None:
        """Raise MetadataError if the session differs from the stored data and cannot be stored."""
        data = self._plain()
        if self._accessed and self._stored.is_changed(data):
            self._stored.check(data)

    def _take(self, data: dict[str, Any]) -> None:
        self._replace(_untagged(data))

    def _transport(self, usual: Transport) -> Transport:
        kept = isinstance(usual, Cookie) and dict.get(self, PERMANENT)
        return replace(usual, max_age="lifetime") if kept else usual  # type: ignore[type-var]

    def _is_rolling(self, usual: bool) -> bool:
        return usual or (self._refreshes and bool(dict.get(self, PERMANENT)))

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        self._accessed = True
        return dict, (dict(dict.items(self)),)


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
        manager = _manager_of(app) if self._manager is None else self._manager
        transport = cookie_of(app) if self._transport is None else self._transport
        middleware = SessionMiddleware(cast("ASGIApp", app.asgi_app), manager, transport=transport, **self._options)
        middleware.settings.session_class = QuartSession
        app.asgi_app = middleware  # type: ignore[assignment, method-assign]
        app.session_interface = _Interface(middleware)  # type: ignore[assignment]
        app.register_error_handler(StorageError, _unavailable(self._options.get("retry_after", 2)))


def cookie_of(app: Quart) -> Cookie:
    """Make the cookie of ``SESSION_COOKIE_NAME``, ``_SECURE``, ``_SAMESITE`` and so on.

    Raises ValueError for a cookie that browsers would refuse, and for ``SESSION_COOKIE_HTTPONLY=False``.
    """
    config = app.config
    if not config["SESSION_COOKIE_HTTPONLY"]:
        raise ValueError("SESSION_COOKIE_HTTPONLY is False: scripts must not read the id of a session")
    same_site: Any = (config["SESSION_COOKIE_SAMESITE"] or "lax").lower()
    return Cookie(
        config["SESSION_COOKIE_NAME"],
        secure=bool(config["SESSION_COOKIE_SECURE"]),
        same_site=same_site,
        path=config["SESSION_COOKIE_PATH"] or config["APPLICATION_ROOT"],
        domain=config["SESSION_COOKIE_DOMAIN"] or None,
        partitioned=bool(config.get("SESSION_COOKIE_PARTITIONED")),
    )


def _manager_of(app: Quart) -> SessionManager:
    hours = app.permanent_session_lifetime.total_seconds() / SECONDS_AN_HOUR
    sandbox = app.config.get("SESSION_KEY_PREFIX", "quart")
    return SessionManager(sandbox.rstrip(":"), default_ttl_hours=hours, strict=True, opaque_ids=True)


def _untagged(value: Any) -> Any:
    """Undo the tags of a value, item by item, as `TaggedJSONSerializer.loads` does with a text."""
    if isinstance(value, dict):
        return {key: _untag(each) for key, each in value.items()}
    return [_untag(each) for each in value] if isinstance(value, list) else value


def _untag(value: Any) -> Any:
    found = _untagged(value)
    return serializer.untag(found) if isinstance(found, dict) else found


class _NoSession(NullSession):
    """The session of a request whose path is excluded: it is empty, and refuses changes."""

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise RuntimeError("this path has no session: it is excluded, or has no manager")

    __setitem__ = __delitem__ = clear = pop = popitem = update = setdefault = _refuse


class _Interface(SessionInterface):
    """Gives out the session that the middleware loaded. The middleware writes it, at the response and at the end."""

    null_session_class = _NoSession

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
            session._refreshes = bool(app.config["SESSION_REFRESH_EACH_REQUEST"])
        return session

    async def _open_apart(self, scope: Scope) -> QuartSession | None:
        """Open the session of a request that a test made, for instance with ``session_transaction``."""
        settings = self._settings
        manager = await self._middleware.choose(scope)
        if manager is None:
            return None
        stored = StoredSession(manager, settings.max_bytes)
        ids = settings.transport.ids(scope)
        session = QuartSession(stored, await stored.load(ids) if ids else None, settings)
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
        exchange = Exchange(self._settings, scope, _no_message, _discard, session)
        begun = await exchange.begin({"type": "http.response.start", "headers": []})
        for name, value in begun["headers"]:
            response.headers.add(name.decode(), value.decode("latin-1"))


def _unavailable(retry_after: int) -> Callable[[Exception], Awaitable[Response]]:
    """Make the error handler for a ``StorageError`` that a handler raised; Quart would answer 500."""
    headers = {"Retry-After": str(retry_after), "Cache-Control": "no-store"}

    async def answer(error: Exception) -> Response:
        return Response(TEXT, UNAVAILABLE, headers, content_type="text/plain; charset=utf-8")

    return answer


async def _no_message() -> Message:
    return {"type": "http.disconnect"}


async def _discard(message: Message) -> None:
    """Drop a message."""
