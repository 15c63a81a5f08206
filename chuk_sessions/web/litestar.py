"""For Litestar: its own session back end, so that ``SessionAuth``, ``exclude`` and ``skip_session`` work.

sessions = SessionConfig(manager)
app = Litestar(route_handlers=[...], on_app_init=[sessions.on_app_init])
"""

from __future__ import annotations

try:
    from litestar.config.app import AppConfig
    from litestar.connection import ASGIConnection, Request
    from litestar.datastructures import MutableScopeHeaders
    from litestar.enums import MediaType, ScopeType
    from litestar.middleware.base import DefineMiddleware
    from litestar.middleware.session.base import BaseBackendConfig, BaseSessionBackend
    from litestar.middleware.session.base import SessionMiddleware as LitestarMiddleware
    from litestar.response import Response
    from litestar.types import Empty, Scopes
    from litestar.types import Message as LitestarMessage
except ImportError as exc:
    raise ImportError(
        f"chuk_sessions.web.litestar needs Litestar, and {exc.name} cannot be imported:"
        " pip install 'chuk-sessions[litestar]'"
    ) from exc

import json
from typing import Any

from chuk_sessions.exceptions import StorageError
from chuk_sessions.session_manager import SessionManager
from chuk_sessions.web.asgi import ASGIApp, Message, Receive, Scope, Send
from chuk_sessions.web.cookies import Cookie
from chuk_sessions.web.exchange import Exchange
from chuk_sessions.web.middleware import SessionMiddleware
from chuk_sessions.web.outage import TEXT, Outage
from chuk_sessions.web.session import Session
from chuk_sessions.web.settings import ManagerSource, Settings
from chuk_sessions.web.stored import StoredSession
from chuk_sessions.web.transports import Bearer, Header, Transport

__all__ = ["LitestarSession", "SessionBackend", "SessionConfig", "session_of", "storage_unavailable"]

UNAVAILABLE = 503
DEFAULT_RETRY_AFTER = 2
BEGINNINGS = frozenset(("http.response.start", "websocket.accept", "websocket.http.response.start"))

outages = Outage("503", DEFAULT_RETRY_AFTER)


class LitestarSession(Session):
    """A session that is true if it has data or a user: ``SessionAuth`` takes a false session for a stranger's.

    A stored session counts as accessed: a handler may return it, and an encoder of JSON reads a dict unnoticed.
    """

    __slots__ = ()

    def _take_over(self, stored: StoredSession | None, data: dict[str, Any] | None, home: Any) -> None:
        super()._take_over(stored, data, home)
        self._accessed = stored is not None and stored.session_id is not None

    def __bool__(self) -> bool:
        return len(self) > 0 or self.user_id is not None


class SessionConfig(BaseBackendConfig["SessionBackend"]):
    """The sessions of a manager as a session configuration of Litestar.

    Args:
        manager: As for ``SessionMiddleware``: strict and with opaque ids, or a function of the scope that gives one.
        transport: ``Cookie(...)``, the default, or ``Header(...)``, ``Bearer()``.
        exclude: A pattern or patterns of paths without a session; regular expressions, as always in Litestar.
        exclude_opt_key: The option of a route without a session: ``@get("/", skip_session=True)``.
        scopes: The kinds of scope with sessions; None: HTTP and WebSocket.
        **options: The other arguments of ``SessionMiddleware``: ``rolling``, ``on_outage``, ``max_bytes``, ...

    Raises what ``SessionMiddleware`` raises for arguments out of range.
    """

    _backend_class: type[SessionBackend]  # set below, after the class is defined

    def __init__(
        self,
        manager: ManagerSource,
        *,
        transport: Transport | None = None,
        exclude: str | list[str] | None = None,
        exclude_opt_key: str = "skip_session",
        scopes: Scopes | None = None,
        **options: Any,
    ) -> None:
        self.transport = Cookie() if transport is None else transport
        self._manager, self._options = manager, options
        self.exclude, self.exclude_opt_key = exclude, exclude_opt_key
        self.scopes = scopes or {ScopeType.HTTP, ScopeType.WEBSOCKET}
        self.settings = self.around(_nothing).settings
        self._describe(self.transport)

    def _describe(self, transport: Transport) -> None:
        """Set the attributes that Litestar reads of a configuration: OpenAPI has the key, the rest informs."""
        cookie = transport if isinstance(transport, Cookie) else Cookie()
        if isinstance(transport, Header):
            self.key = "Authorization" if isinstance(transport, Bearer) else transport.name
        else:
            self.key = cookie.wire_name
        self.max_age = cookie.max_age if isinstance(cookie.max_age, int) else 0
        self.path, self.domain, self.secure, self.httponly = cookie.path, cookie.domain, cookie.secure, True
        self.samesite = cookie.same_site

    def around(self, app: ASGIApp) -> SessionMiddleware:
        """Make the middleware of this package around ``app``, with these settings."""
        made = SessionMiddleware(app, self._manager, transport=self.transport, exclude=(), **self._options)
        made.settings.session_class = LitestarSession
        return made

    @property
    def middleware(self) -> DefineMiddleware:
        """The entry for a list of middlewares, on any layer. ``SessionAuth`` adds it by itself."""
        return DefineMiddleware(_Middleware, backend=SessionBackend(self))

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add the sessions, and a 503 for a ``StorageError`` that a handler raises, to an application."""
        app_config.middleware.append(self.middleware)
        app_config.exception_handlers = {StorageError: self._answer_outage, **app_config.exception_handlers}
        return app_config

    def _answer_outage(self, request: Request[Any, Any, Any], error: Exception) -> Response[str]:
        """Answer as `storage_unavailable`, with the ``retry_after`` of this configuration."""
        return _unavailable(error, self._options.get("retry_after", DEFAULT_RETRY_AFTER))

    async def manager_of(self, scope: Scope) -> SessionManager:
        """Return the manager of a request. Raises RuntimeError if the request has none."""
        found = await self.around(_nothing).choose(scope)
        if found is None:
            raise RuntimeError("this request has no manager, so no sessions")
        return found


def session_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Session:
    """Return the session of a request or WebSocket, ``request.session``, with its type.

    Raises RuntimeError if there is no session.
    """
    session = connection.scope.get("session")
    if not isinstance(session, Session):
        raise RuntimeError(
            "this request has no session of chuk_sessions: add SessionConfig, and do not skip this route"
        )
    session.mark_accessed()
    return session


class SessionBackend(BaseSessionBackend[SessionConfig]):
    """Reads and writes one session outside the middleware, as Litestar's test client does in ``set_session_data``."""

    def get_session_id(self, connection: ASGIConnection[Any, Any, Any, Any]) -> str | None:
        """Return the id of the stored session of a connection; None if it has none."""
        session = connection.scope.get("session")
        return session.id if isinstance(session, Session) else None

    async def load_from_connection(self, connection: ASGIConnection[Any, Any, Any, Any]) -> dict[str, Any]:
        """Load the session of a connection, by its cookie. Return an empty session if it does not live."""
        scope = _with_cookies(connection)
        manager, settings = await self.config.manager_of(scope), self.config.settings
        stored = StoredSession(manager, settings.max_bytes)
        ids = settings.transport.ids(scope)
        return LitestarSession._of(stored, await stored.load(ids) if ids else None, settings)

    async def store_in_message(
        self, scope_session: Any, message: LitestarMessage, connection: ASGIConnection[Any, Any, Any, Any]
    ) -> None:
        """Make the session hold exactly ``scope_session``, and add its cookie to the message."""
        scope: Scope = dict(connection.scope)
        session = await self.load_from_connection(connection)
        assert isinstance(session, Session)
        scope["session"] = session
        if scope_session is Empty:
            session.clear()
        else:
            session._adopt(_as_dict(scope_session))
        exchange = Exchange()
        exchange.take(session, scope, _no_message, _discard)
        headers = MutableScopeHeaders.from_message(message).headers
        begun = await exchange.begin({"type": "http.response.start", "headers": list(headers)})
        headers[:] = begun["headers"]


SessionConfig._backend_class = SessionBackend


class _Middleware(LitestarMiddleware[SessionBackend]):
    """Litestar's middleware, which leaves out the excluded paths, with ours in it."""

    def __init__(self, app: Any, backend: SessionBackend) -> None:
        super().__init__(app=app, backend=backend)
        self._ours = backend.config.around(_settled(app, backend.config.settings))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request or WebSocket."""
        await self._ours(scope, receive, send)


def _settled(app: Any, settings: Settings) -> ASGIApp:
    """Wrap the application so that the values of ``clear_session`` and ``set_session`` in the scope become the session.

    These values may be ``Empty``, a dict or a model.
    """
    key = settings.scope_key

    async def called(scope: Scope, receive: Receive, send: Send) -> None:
        session = scope.get(key)
        if not isinstance(session, Session):  # the manager of this request is None
            scope.setdefault(key, {})
            await app(scope, receive, send)
            return

        def settle() -> None:
            current = scope.get(key)
            if current is session:
                return
            scope[key] = session
            if current is not Empty:
                session._adopt(_as_dict(current))
            elif session.id is not None:
                session.clear()
            else:  # there was no session: the login of another request may have set the cookie meanwhile
                session._adopt({})

        async def settled(message: Message) -> None:
            if message["type"] in BEGINNINGS:
                settle()
            await send(message)

        await app(scope, receive, settled)
        settle()

    return called


def _with_cookies(connection: ASGIConnection[Any, Any, Any, Any]) -> Scope:
    """Return the scope of a connection, with the cookies that Litestar's test client keeps in another place."""
    scope: Scope = dict(connection.scope)
    if not scope["headers"]:
        text = "; ".join(f"{name}={value}" for name, value in connection.cookies.items())
        scope["headers"] = [(b"cookie", text.encode("latin-1", "replace"))]
    return scope


def _as_dict(value: Any) -> dict[str, Any]:
    """Return the argument of ``set_session``, a dict or a model, as a dict. Raises TypeError for another type."""
    if isinstance(value, dict):
        return value
    found: Any = json.loads(BaseSessionBackend.serialize_data(value))
    if not isinstance(found, dict):
        raise TypeError(f"the session was set to a {type(value).__name__}: it must be a dict or a model")
    return found


def storage_unavailable(request: Request[Any, Any, Any], error: Exception) -> Response[str]:
    """Answer 503 for a ``StorageError`` that a handler raised; an exception handler of Litestar."""
    return _unavailable(error, DEFAULT_RETRY_AFTER)


def _unavailable(error: Exception, retry_after: int) -> Response[str]:
    """Make the answer for an outage, which is logged here, at most once in some seconds."""
    outages.log(error)
    headers = {"retry-after": str(retry_after), "cache-control": "no-store"}
    return Response(TEXT, status_code=UNAVAILABLE, headers=headers, media_type=MediaType.TEXT)


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that is never called."""


async def _no_message() -> Message:
    return {"type": "http.disconnect"}


async def _discard(message: Message) -> None:
    """Drop a message."""
