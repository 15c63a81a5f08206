"""``SessionMiddleware``: sessions for every ASGI application."""

from __future__ import annotations

import inspect
from asyncio import CancelledError
from collections.abc import Iterable
from typing import Any, Literal

from chuk_sessions.arguments import check_flag
from chuk_sessions.exceptions import StorageError
from chuk_sessions.session_manager import SessionManager
from chuk_sessions.web.asgi import ASGIApp, Receive, Scope, Send, refuse_socket
from chuk_sessions.web.cookies import Cookie
from chuk_sessions.web.exchange import Exchange
from chuk_sessions.web.origin import FORBIDDEN, TEXT, Origins, Paths
from chuk_sessions.web.outage import OnOutage, Outage
from chuk_sessions.web.settings import ManagerSource, Settings, check_manager, not_below
from chuk_sessions.web.stored import StoredSession
from chuk_sessions.web.transports import Transport
from chuk_sessions.web.websocket import SocketExchange

__all__ = ["SessionMiddleware"]

DEFAULT_MAX_BYTES = 256 * 1024
DEFAULT_RECHECK = 60.0
UNSET: Any = object()


class SessionMiddleware:
    """ASGI middleware that puts a ``Session`` at ``scope["session"]``, for HTTP and WebSocket.

    Args:
        app: The application.
        manager: A ``SessionManager`` with ``strict=True`` and ``opaque_ids=True``, or a function that gives one for a
            scope, for a manager per tenant. The function may be asynchronous. If it gives None, the application runs
            without sessions.
        transport: ``Cookie(...)``, the default, or ``Header(...)``, ``Bearer()``, ``McpHeader()``.
        exclude: Paths without a session, which cost nothing; a ``/`` at the end stands for all paths below.
        rolling: Whether each response but an error gives the session its whole lifetime again, the manager's default.
            It costs one command more for each request, and two with a cookie that has a ``max_age``: that cookie is
            sent each time too.
        scope_key: The key of the session in the scope.
        save_on_5xx: Whether changes are stored also if the response is an error of the server.
        on_outage: The reaction if the storage fails: ``"503"``, ``"empty"`` (the application gets an empty session
            that is not stored; to end it or to log in raises the StorageError) or an ASGI application that answers.
        retry_after: Seconds, for the header of that name in a 503.
        websocket_recheck: Every how many seconds an open WebSocket checks that its session lives, which also touches
            it; 0: never.
        max_bytes: How large the JSON of a session may be. A larger session is a MetadataError that names its largest
            keys.
        trusted_origins: Origins whose pages may open WebSockets here, beside our own; see ``CrossOriginGuard``.
        session_cookie, max_age, https_only, domain, path, same_site, partitioned: The attributes of a ``Cookie`` by the
            names of Starlette's middleware, in the place of ``transport``.

    Changes are stored when the response begins, before it is sent, and again after the application has returned. They
    are not stored if the application raised, or answered with 500 or more. Round trips to Redis: none for a request
    without an id, one to read, one more if something was changed, and one to store a new session.

    Raises TypeError and ValueError for arguments out of range, and ValueError for a manager that is not strict or has
    no opaque ids.
    """

    def __init__(
        self,
        app: ASGIApp,
        manager: ManagerSource,
        *,
        transport: Transport | None = None,
        exclude: Iterable[str] = ("/static/",),
        rolling: bool = False,
        scope_key: str = "session",
        save_on_5xx: bool = False,
        on_outage: OnOutage = "503",
        retry_after: int = 2,
        websocket_recheck: float = DEFAULT_RECHECK,
        max_bytes: int = DEFAULT_MAX_BYTES,
        trusted_origins: Iterable[str] = (),
        session_cookie: str = UNSET,
        max_age: Literal["session", "lifetime"] | int | None = UNSET,
        https_only: bool = UNSET,
        domain: str | None = UNSET,
        path: str = UNSET,
        same_site: Literal["lax", "strict", "none"] = UNSET,
        partitioned: bool = UNSET,
    ) -> None:
        cookie: dict[str, Any] = {
            **{"name": session_cookie, "max_age": max_age, "secure": https_only, "domain": domain, "path": path},
            **{"same_site": same_site, "partitioned": partitioned},
        }
        cookie = {name: value for name, value in cookie.items() if value is not UNSET}
        if transport is not None and cookie:
            raise TypeError(f"{', '.join(cookie)}: give these to transport=Cookie(...), or leave transport out")
        if not callable(manager):
            check_manager(manager)
        self.settings = Settings(
            source=manager,
            transport=transport or Cookie(**cookie),
            scope_key=scope_key,
            exclude=Paths(exclude),
            rolling=check_flag("rolling", rolling),
            save_on_5xx=check_flag("save_on_5xx", save_on_5xx),
            outage=Outage(on_outage, retry_after),
            recheck=not_below("websocket_recheck", websocket_recheck, 0.0),
            max_bytes=not_below("max_bytes", max_bytes, 1),
            origins=Origins(trusted_origins),
        )
        wrap = getattr(self.settings.transport, "wrap", None)
        self.app: ASGIApp = app if wrap is None else wrap(app, scope_key)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        settings, app = self.settings, self.app
        key = settings.scope_key
        socket = None
        if scope["type"] != "http":
            if scope["type"] != "websocket":
                await app(scope, receive, send)
                return
            socket = SocketExchange()
        exclude = settings.exclude
        if (exclude.part in scope["path"] and exclude.has(scope)) or (key in scope and self._is_there(scope)):
            await app(scope, receive, send)
            return
        stored = data = None
        manager = settings.manager
        if manager is None:
            try:
                manager = await self.choose(scope)
            except StorageError as error:
                settings.outage.log(error)
                if settings.outage.goes_on:
                    raise
                await settings.outage.answer(scope, receive, send, [])
                return
            if manager is None:
                await app(scope, receive, send)
                return
            stored = StoredSession(manager, settings.max_bytes)
        if socket is not None and settings.transport.ambient and not settings.origins.allow_socket(scope):
            await refuse_socket(scope, receive, send, FORBIDDEN, TEXT)
            return
        if ids := settings.transport.ids(scope):
            if stored is None:
                stored = StoredSession(manager, settings.max_bytes)
            try:
                data = await stored.load(ids)
            except StorageError as error:
                settings.outage.log(error)
                if not settings.outage.goes_on:
                    await settings.outage.answer(scope, receive, send, [])
                    return
                stored.gone, stored.unread = True, ids
        new_session = settings.session_class  # read first: Python 3.11 is slow to call a slot
        scope[key] = session = new_session()
        session._take_over(stored, data, settings)
        if socket is not None:
            socket.take(session, scope, receive, send)
            await socket.run(app)
            return
        exchange = Exchange()
        exchange.take(session, scope, receive, send)
        try:
            await app(scope, receive, exchange.send)
        except CancelledError:
            exchange.write_later()
            raise
        except Exception as error:
            if await exchange.is_answered_after(error):
                return
            raise
        if (session._accessed or scope.get(key) is not session) and exchange.is_unfinished():
            await exchange.late_commit()

    def _is_there(self, scope: Scope) -> bool:
        """Tell whether the scope has the same session already, from a middleware further out.

        Raises RuntimeError if the scope has another session: the two would write over each other.
        """
        key = self.settings.scope_key
        outer = getattr(scope[key], "_home", None)
        if isinstance(outer, Settings) and _are_one(outer, self.settings):
            return True
        raise RuntimeError(
            f"scope[{key!r}] has a session of another middleware already: give this one a scope_key of its own"
        )

    async def choose(self, scope: Scope) -> SessionManager | None:
        """Return the manager for a request; None if the request has no session.

        Raises TypeError and ValueError for a manager that does not fit.
        """
        if self.settings.manager is not None:
            return self.settings.manager
        source: Any = self.settings.source
        found = source(scope)
        if inspect.isawaitable(found):
            found = await found
        return None if found is None else check_manager(found)


def _are_one(one: Settings, other: Settings) -> bool:
    """Tell whether both have the same sessions: the same transport, and not two sandboxes, as far as is known."""
    managers = [each.source for each in (one, other) if isinstance(each.source, SessionManager)]
    return one.transport == other.transport and len({manager.sandbox_id for manager in managers}) < 2
