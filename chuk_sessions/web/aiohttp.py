"""For aiohttp: a storage for ``aiohttp-session``.

from aiohttp_session import get_session
from chuk_sessions.web.aiohttp import ChukStorage, setup

setup(app, ChukStorage(manager))
"""

from __future__ import annotations

try:
    from aiohttp import web
    from aiohttp.typedefs import Handler
    from aiohttp_session import SESSION_KEY, AbstractStorage, get_session
    from aiohttp_session import Session as AiohttpSession
    from aiohttp_session import setup as setup_sessions
except ImportError as exc:
    raise ImportError(
        f"chuk_sessions.web.aiohttp needs aiohttp and aiohttp-session, and {exc.name} cannot be imported:"
        " pip install 'chuk-sessions[aiohttp]'"
    ) from exc

import asyncio
import logging
import time
from datetime import datetime
from typing import Any

from chuk_sessions.exceptions import StorageError
from chuk_sessions.session_manager import SessionManager
from chuk_sessions.web.asgi import Headers, Scope, lacks_cookie
from chuk_sessions.web.cookies import Cookie
from chuk_sessions.web.late import write_late, write_later
from chuk_sessions.web.middleware import DEFAULT_MAX_BYTES
from chuk_sessions.web.outage import TEXT, Outage
from chuk_sessions.web.session import Session
from chuk_sessions.web.settings import check_manager, not_below
from chuk_sessions.web.stored import StoredSession
from chuk_sessions.web.transports import Transport

__all__ = ["ChukSession", "ChukStorage", "session_of", "setup"]

SERVER_ERROR = 500
LOADED: Any = "chuk_sessions.web.aiohttp"  # key in a request: the session that it came with; None: not loaded in time
if hasattr(web, "RequestKey"):
    LOADED = web.RequestKey(LOADED, object)

logger = logging.getLogger(__name__)


class ChukSession(AiohttpSession):
    """A session of aiohttp-session with the methods of a session of this package.

    Changes are found, also inside lists and dicts: ``changed()`` is not needed. The manager, and not ``max_age``,
    decides how long the session lives. The awaitable methods raise StorageError if the storage fails.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(None, data=None, new=session._stored.is_new)
        self._mapping = self.inner = session
        self.told = False  # whether the headers of the response are complete

    @property
    def _changed(self) -> bool:
        """True, so that the session is always asked for its changes. The base class assigns to it, without effect."""
        return True

    @_changed.setter
    def _changed(self, value: bool) -> None: ...

    @property
    def created(self) -> int:
        """When the session was first stored, in seconds since 1970; the time now while it is not stored."""
        created = self.inner.created_at
        return int(time.time() if created is None else datetime.fromisoformat(created).timestamp())

    @property
    def identity(self) -> str | None:
        """The id of the session; None while it is not stored. Keep it secret: the id gives access to the session."""
        return self.inner.id

    def set_new_identity(self, identity: Any) -> None:
        """Raise RuntimeError: only the manager makes ids."""
        raise RuntimeError("the manager makes the ids of sessions: await session.renew()")

    @property
    def user_id(self) -> str | None:
        """The user who logged in with ``login``; None if no user did."""
        return self.inner.user_id

    async def login(self, user_id: str, **data: Any) -> None:
        """Give the session to a user, under a new id, and set ``data``. See ``Session.login``."""
        await self.inner.login(user_id, **data)

    async def renew(self, grace_seconds: float = 0) -> bool:
        """Give the session a new id. Return False if it has ended. See ``Session.renew``."""
        return await self.inner.renew(grace_seconds)

    async def logout(self) -> None:
        """End the session now, for all clients, and empty it. ``invalidate`` does so when the response begins."""
        await self.inner.invalidate()

    async def save(self) -> None:
        """Write the changes now, whatever the response will be. See ``Session.save``."""
        await self.inner.save()

    async def increment(self, key: str, amount: int = 1) -> int | None:
        """Add to one key in one atomic step. Return the new value. See ``Session.increment``."""
        return await self.inner.increment(key, amount)

    def invalidate(self) -> None:
        """Empty the session. If it is still empty when the response begins, it ends then."""
        self.inner.clear()


class ChukStorage(AbstractStorage):
    """The sessions of a manager, for ``aiohttp-session``. Install it with ``setup`` of this module.

    Args:
        manager: A ``SessionManager`` with ``strict=True`` and ``opaque_ids=True``.
        transport: ``Cookie(...)``, the default, or ``Header(...)``, ``Bearer()``.
        max_bytes: How large the JSON of a session may be. A larger session is a MetadataError that names its largest
            keys.
        retry_after: Seconds, for the header of that name in a 503.

    Raises TypeError and ValueError for a manager that cannot serve browsers, and for numbers out of range.
    """

    def __init__(
        self,
        manager: SessionManager,
        *,
        transport: Transport | None = None,
        max_bytes: int = DEFAULT_MAX_BYTES,
        retry_after: int = 2,
    ) -> None:
        self.transport: Transport = Cookie() if transport is None else transport
        if isinstance(self.transport, Cookie):
            super().__init__(cookie_name=self.transport.wire_name)
        else:
            super().__init__()
        self._manager, self._max_bytes = check_manager(manager), not_below("max_bytes", max_bytes, 1)
        self.retry_after, self.outage = retry_after, Outage("503", retry_after)

    async def new_session(self) -> AiohttpSession:
        """Make an empty session."""
        return ChukSession(Session._of(StoredSession(self._manager, self._max_bytes)))

    async def load_session(self, request: web.Request) -> AiohttpSession:
        """Load the session of a request, by its id. Return an empty session if it does not live."""
        stored = StoredSession(self._manager, self._max_bytes)
        ids = self.transport.ids(_scope(request))
        found = ChukSession(Session._of(stored, await stored.load(ids) if ids else None))
        found.told = stored.closed = LOADED in request  # a response has begun without it
        request[LOADED] = found
        return found

    async def save_session(self, request: web.Request, response: web.StreamResponse, session: AiohttpSession) -> None:
        """Write the changes, and tell the client its id. A response with 500 and more writes no changes."""
        if not isinstance(session, ChukSession):
            raise TypeError(f"this storage has sessions of its own, got {type(session).__name__}")
        if session.told:
            return
        inner = session.inner
        loaded: ChukSession | None = request.get(LOADED)
        if response.status < SERVER_ERROR:
            if loaded is not None and loaded is not session:  # the application called new_session() to begin anew
                await loaded.inner.invalidate()
                inner._stored.presented = True
                inner._stored.ended = not dict.__len__(inner)
            await inner._commit()
        self.tell(response, session)

    def tell(self, response: web.StreamResponse, session: ChukSession) -> None:
        """Add to a response the headers that the client needs for its session."""
        session.told = session.inner._stored.closed = True
        headers: Headers = []
        stored = session.inner._stored
        if stored.issued and not stored.gone and stored.session_id is not None:
            self.transport.issue(headers, stored.session_id, stored.seconds_left())
        elif stored.ended and stored.presented:
            self.transport.clear(headers)
        for name, value in headers:
            response.headers.add(name.decode("latin-1").title(), value.decode("latin-1"))
        if headers:
            response.headers.setdefault("Cache-Control", "private, no-store")
        if self.transport.ambient:
            _vary_by_cookie(response)


def setup(app: web.Application, storage: ChukStorage) -> None:
    """Install the sessions in an application, for streams and WebSockets too.

    Changes that were made before ``prepare`` are stored there, and the cookie goes out. Later changes are stored when
    the handler returns. A StorageError that the application does not catch is a 503. ``aiohttp_session.setup`` does
    none of this.
    """

    async def prepared(request: web.Request, response: web.StreamResponse) -> None:
        session = request.get(SESSION_KEY)
        if isinstance(session, ChukSession):
            try:
                await storage.save_session(request, response, session)
            except StorageError:
                _begin_anew(request.writer)
                raise
        elif session is None:
            request[LOADED] = None

    @web.middleware
    async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except asyncio.CancelledError:
            session = request.get(SESSION_KEY)
            if isinstance(session, ChukSession) and session.told and session.inner.modified:
                write_later(session.inner._commit, _log_loss)
            raise
        except ConnectionResetError:
            session = request.get(SESSION_KEY)
            if isinstance(session, ChukSession) and session.told and _has_left(request):
                await _write_late(session.inner)
            raise
        except StorageError as error:
            storage.outage.log(error)
            if _begun(request):
                raise
            headers = {"Retry-After": str(storage.retry_after), "Cache-Control": "no-store"}
            raise web.HTTPServiceUnavailable(text=TEXT, headers=headers) from error
        session = request.get(SESSION_KEY)
        if isinstance(session, ChukSession) and response.prepared and response.status < SERVER_ERROR:
            await _write_late(session.inner)
        return response

    app.middlewares.append(around)
    setup_sessions(app, storage)
    app.on_response_prepare.append(prepared)


def _begin_anew(writer: Any) -> None:
    """Undo the settings of the response that began, because another one will be sent: aiohttp leaves them set."""
    writer.chunked, writer.length = False, None


def _has_left(request: web.Request) -> bool:
    """Tell whether the client has closed the connection, which is no fault of the handler that was writing to it."""
    return request.transport is None or request.transport.is_closing()


def _begun(request: web.Request) -> bool:
    """Tell whether the client has already got the headers of a response."""
    session = request.get(SESSION_KEY)
    return isinstance(session, ChukSession) and session.told


async def _write_late(session: Session) -> None:
    """Write the changes since the response began."""
    if session._stored.session_id is not None or session._stored.gone:
        await write_late(session._commit, _log_loss)
    elif dict.__len__(session):
        logger.warning(
            "a new session was filled after the response had begun: it is dropped, as the client cannot get its id;"
            " set something before prepare(), or await session.save()"
        )


def _log_loss(error: Exception) -> None:
    logger.error("%s (changes after the beginning of a response are lost)", error)


async def session_of(request: web.Request) -> ChukSession:
    """Return the session of ``get_session`` with its type. Raises RuntimeError if it belongs to another storage."""
    session = await get_session(request)
    if not isinstance(session, ChukSession):
        raise RuntimeError("this session is of another storage: setup(app, ChukStorage(manager)) is missing")
    return session


def _scope(request: web.Request) -> Scope:
    """Make the part of a scope that a transport reads, from a request."""
    return {"headers": [(name.lower(), value) for name, value in request.raw_headers]}


def _vary_by_cookie(response: web.StreamResponse) -> None:
    """Add ``Cookie`` to the Vary header, unless it is there."""
    vary = response.headers.get("Vary", "")
    if lacks_cookie(vary):
        response.headers["Vary"] = f"{vary}, Cookie" if vary else "Cookie"
