"""For Flask: ``flask.session`` on the server, with the cookie of Flask's configuration.

app = Flask(__name__)
ChukSessions(app, manager)
"""

from __future__ import annotations

try:
    from flask import Flask, Request, Response
    from flask import request as flask_request
    from flask import session as flask_session
    from flask.sessions import SessionInterface
    from werkzeug.exceptions import ServiceUnavailable
except ImportError as exc:
    raise ImportError(
        f"chuk_sessions.web.flask needs Flask, and {exc.name} cannot be imported: pip install 'chuk-sessions[flask]'"
    ) from exc

import logging
import threading
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Literal, TypeVar, cast

from chuk_sessions.arguments import check_flag
from chuk_sessions.exceptions import StorageError
from chuk_sessions.session_manager import SessionManager
from chuk_sessions.web.asgi import Headers, lacks_cookie
from chuk_sessions.web.blocking import call_timeout, check_threads, open_at_once, run_for, update_at_once
from chuk_sessions.web.middleware import DEFAULT_MAX_BYTES
from chuk_sessions.web.origin import Origins, Paths
from chuk_sessions.web.outage import TEXT, Outage
from chuk_sessions.web.pallets import NoSession, TaggedSession, cookie_of, manager_of
from chuk_sessions.web.reply import is_kept_for_a_time, told
from chuk_sessions.web.settings import Settings, check_manager, not_below
from chuk_sessions.web.stored import StoredSession
from chuk_sessions.web.transports import Transport
from chuk_sessions.web.wsgi import Stream, scope_of

__all__ = ["ChukSessions", "FlaskSession", "SessionsUnavailable", "cookie_of", "session"]

T = TypeVar("T")

ManagerSource = SessionManager | Callable[[Request], SessionManager | None]

SERVER_ERROR = 500
MOST_CALLS = 4  # of the manager in one method of a session: a login may end a session, and make another
FAILURE = "chuk_sessions.failure"  # in the environ of a request: the error when its session was read

logger = logging.getLogger(__name__)


class FlaskSession(TaggedSession):
    """A session that can hold the types of Flask's own session too: tuples, bytes, ``datetime``, ``UUID``, ``Markup``.

    ``permanent`` and ``new`` are as in Flask. ``modified`` may be set, which does nothing: changes are found. The
    methods that reach the store block, and raise StorageError if it fails.
    """

    __slots__ = ("_guard", "_ready", "_uses", "_was_modified")

    def _take_over(self, stored: StoredSession | None, data: dict[str, Any] | None, home: Any) -> None:
        super()._take_over(stored, data, home)
        self._guard = threading.Lock()  # two threads of one request take turns
        self._uses = 0  # of the store, by methods of this session that have ended
        # The data to store, and the uses before it was taken: from the comparison to ``_wait_for_end``.
        self._ready: tuple[dict[str, Any], int] | None = None
        self._was_modified = False

    @property
    def modified(self) -> bool:
        """Whether the session differs from the stored data, or did until it was stored at the end of the request."""
        return self._was_modified or super().modified

    @modified.setter
    def modified(self, value: bool) -> None:
        """Do nothing: changes are found by comparison."""

    # The same names as in other frameworks, whose methods are awaited.

    def login(self, user_id: str, **data: Any) -> None:  # type: ignore[override]
        """Give the session to a user, under a new id; see ``Session.login``."""
        self._wait_for(super().login(user_id, **data))

    def renew(self, grace_seconds: float = 0) -> bool:  # type: ignore[override]
        """Give the session a new id; see ``Session.renew``."""
        return self._wait_for(super().renew(grace_seconds))

    def invalidate(self) -> None:  # type: ignore[override]
        """End the session now, for all clients; see ``Session.invalidate``."""
        self._wait_for(super().invalidate())

    def save(self) -> None:  # type: ignore[override]
        """Write the changes now; see ``Session.save``."""
        self._wait_for(super().save())

    def increment(self, key: str, amount: int = 1) -> int | None:  # type: ignore[override]
        """Add to one key in one atomic step; see ``Session.increment``."""
        return self._wait_for(super().increment(key, amount))

    def reload(self) -> None:  # type: ignore[override]
        """Read the session again; see ``Session.reload``."""
        self._wait_for(super().reload())

    def _wait_for(self, call: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine that uses the store of this session."""
        manager = self._stored.manager
        with self._guard:
            try:
                return run_for(manager, call, MOST_CALLS * call_timeout(manager))
            finally:
                self._uses += 1

    def _wait_for_end(self, settings: Settings) -> None:
        """Write what is to be written at the end of the request."""
        stored = self._stored
        ready, self._ready = self._ready, None
        is_permanent = self._is_permanent()
        is_rolling = settings.rolling or (self._refreshes and is_permanent)
        if not self._cleared and not is_rolling and is_permanent is self._stayed:
            with self._guard:
                if stored.session_id is not None and not stored.is_in_use():  # nobody can begin to use it meanwhile
                    if ready is None or ready[1] != self._uses:  # another thread has changed the session meanwhile
                        ready = self._plain(), self._uses
                    stored.commit_by(update_at_once, ready[0])
                    return
        self._wait_for(self._store(settings))

    def _is_settled(self, rolling: bool) -> bool:
        """Tell whether there is nothing to write at the end of the request."""
        stored = self._stored
        if stored.session_id is None and not dict.__len__(self):
            self._was_modified = self._cleared
            return stored.is_nothing()
        if self._accessed:
            uses = self._uses
            data = self._plain()
            if self._cleared or not stored.holds(data.items()):
                self._ready, self._was_modified = (data, uses), True
                return False
        return not self._is_rolling(rolling)

    async def _store(self, settings: Settings) -> None:
        """Write the changes, and give the session its whole lifetime again if each response does so."""
        await self._commit()
        if self._is_rolling(settings.rolling):
            await self._stored.prolong(again=is_kept_for_a_time(settings, self))


session = cast("FlaskSession", flask_session)
"""``flask.session`` with its type: the session of the request at hand."""


class SessionsUnavailable(ServiceUnavailable):
    """The storage of the sessions failed: a 503 with ``Retry-After`` that no cache keeps.

    An error handler for 503 may answer it. Its ``__cause__`` is the StorageError.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(TEXT, retry_after=retry_after)

    def get_headers(self, *args: Any, **kwargs: Any) -> list[tuple[str, str]]:
        """Return the headers of the response."""
        return [*super().get_headers(*args, **kwargs), ("Cache-Control", "no-store")]


class ChukSessions:
    """Puts the sessions of a manager into a Flask application.

    Args:
        app: The application; None: ``init_app`` gets it.
        manager: Strict and with opaque ids, or a function of the request that gives one; None from it means that the
            request has no session. None here: a manager of the sandbox ``SESSION_KEY_PREFIX``, ``"flask"`` by default,
            whose sessions live for ``PERMANENT_SESSION_LIFETIME``.
        transport: ``Cookie(...)``, ``Header(...)`` or ``Bearer()``; None: the cookie of the application's
            configuration.
        exclude: Paths without a session, which cost nothing; a ``/`` at the end stands for all paths below.
        rolling: Whether each response but an error gives every session its whole lifetime again. Those of permanent
            sessions do so by Flask's configuration.
        save_on_5xx: Whether changes are stored also if the response is an error of the server.
        on_outage: The reaction if the storage fails: ``"503"``, which error handlers may answer, or ``"empty"`` (the
            application gets an empty session that is not stored). A StorageError of the function ``manager`` is always
            a 503.
        retry_after: Seconds, for the header of that name in a 503.
        max_bytes: How large the JSON of a session may be. A larger session is a MetadataError that names its largest
            keys.

    Changes are stored after the view and the ``after_request`` functions, before the response is sent; those that a
    stream makes, when it has ended. They are not stored if the response has a status of 500 or more.

    Raises TypeError and ValueError for arguments and configurations out of range, and RuntimeError where no thread can
    run; see ``chuk_sessions.web.blocking.check_threads``.
    """

    def __init__(
        self,
        app: Flask | None = None,
        manager: ManagerSource | None = None,
        *,
        transport: Transport | None = None,
        exclude: Iterable[str] = ("/static/",),
        rolling: bool = False,
        save_on_5xx: bool = False,
        on_outage: Literal["503", "empty"] = "503",
        retry_after: int = 2,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        check_threads()
        if on_outage not in ("503", "empty"):
            raise ValueError(f"on_outage must be '503' or 'empty', got {on_outage!r}; error handlers answer a 503")
        if hasattr(transport, "wrap"):
            raise TypeError(f"{type(transport).__name__} works with ASGI only")
        if manager is not None and not callable(manager):
            check_manager(manager)
        self._manager, self._transport, self._retry_after = manager, transport, retry_after
        self._options: dict[str, Any] = {
            "exclude": Paths(exclude),
            "rolling": check_flag("rolling", rolling),
            "save_on_5xx": check_flag("save_on_5xx", save_on_5xx),
            "outage": Outage(on_outage, retry_after),
            "max_bytes": not_below("max_bytes", max_bytes, 1),
        }
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Add the sessions to an application whose configuration is complete."""
        settings = Settings(
            source=cast("Any", manager_of(app, "flask") if self._manager is None else self._manager),
            transport=cookie_of(app) if self._transport is None else self._transport,
            scope_key="session",
            recheck=0,
            origins=Origins(),
            session_class=FlaskSession,
            **self._options,
        )
        app.session_interface = cast("SessionInterface", _Interface(settings, self._retry_after))
        app.before_request_funcs.setdefault(None, []).insert(0, self._refuse_without_session)
        app.register_error_handler(StorageError, self._answer_failure(app, settings.outage))

    def regenerate(self, session: FlaskSession) -> None:
        """Give a session a new id, as Flask-Session does; ``session.login`` does so by itself."""
        session.renew()

    def _refuse_without_session(self) -> None:
        """Raise the 503 of a request whose session could not be read, where error handlers find it."""
        if (error := flask_request.environ.get(FAILURE)) is not None:
            raise SessionsUnavailable(self._retry_after) from error

    def _answer_failure(self, app: Flask, outage: Outage) -> Callable[[StorageError], Any]:
        """Make the error handler for a StorageError that a view raised."""

        def answer(error: StorageError) -> Any:
            outage.log(error)
            return app.handle_user_exception(_caused_by(error, self._retry_after))

        return answer


class _Interface:
    """Opens the session when the request begins, and writes it before the response is sent."""

    null_session_class = NoSession
    pickle_based = False

    def __init__(self, settings: Settings, retry_after: int) -> None:
        self._settings, self._retry_after = settings, retry_after

    def make_null_session(self, app: Flask) -> NoSession:
        return NoSession()

    def is_null_session(self, session: object) -> bool:
        return session is None or isinstance(session, NoSession)  # None: opening it has failed

    def regenerate(self, session: FlaskSession) -> None:
        """See ``ChukSessions``."""
        session.renew()

    def open_session(self, app: Flask, request: Request) -> FlaskSession | None:
        """Return the session of a request; None if it has none."""
        settings, environ = self._settings, request.environ
        scope = scope_of(environ, settings.transport.ambient)
        if settings.exclude.has(scope):
            return None
        source: Any = settings.source
        ids = settings.transport.ids(scope)
        stored: StoredSession | None = None
        data = None
        try:
            manager = source if isinstance(source, SessionManager) else _chosen(source(request))
            if manager is None:
                return None
            stored = StoredSession(manager, settings.max_bytes)
            if ids:
                data = stored.load_by(open_at_once, ids)
        except StorageError as error:
            settings.outage.log(error)
            if stored is None or not settings.outage.goes_on:  # without a manager there cannot even be an empty session
                environ[FAILURE] = error
                return None
            stored.gone, stored.unread = True, ids
        session = FlaskSession._of(stored, data, settings)
        session.follow(app.config)
        return session

    def save_session(self, app: Flask, session: FlaskSession, response: Response) -> None:
        """Write the session, and add its headers to the response. After an outage the response becomes a 503."""
        settings, stored = self._settings, session._stored
        spoiled = response.status_code >= SERVER_ERROR and not settings.save_on_5xx
        failed = False
        if not spoiled and not session._is_settled(settings.rolling):
            try:
                session._wait_for_end(settings)
            except StorageError as error:
                settings.outage.log(error)
                if not settings.outage.goes_on:
                    spoiled = failed = True
                    _put_in_place(response, _answer_to(app, _caused_by(error, self._retry_after)))
        stored.closed = True
        self._add_headers(session, response, failed)
        if not spoiled and response.is_streamed and not response.direct_passthrough:
            response.response = Stream(response.response, lambda: self._write_late(session))

    def _add_headers(self, session: FlaskSession, response: Response, failed: bool) -> None:
        """Add what the client must know. An outage clears no cookie: the session may live."""
        settings, stored, headers = self._settings, session._stored, response.headers
        news: Headers = []
        if stored.issued or (stored.ended and not failed):
            news = told(settings, session, {"scheme": flask_request.scheme})
            for name, value in news:
                headers.add(name.decode().title(), value.decode("latin-1"))
            if news and "Cache-Control" not in headers:
                headers["Cache-Control"] = "private, no-store"
        if settings.transport.ambient and (news or session._accessed):
            vary = headers.get("Vary")
            if vary is None:
                headers.add("Vary", "Cookie")  # in half the time of an assignment
            elif lacks_cookie(vary):
                headers["Vary"] = f"{vary}, Cookie"

    def _write_late(self, session: FlaskSession) -> None:
        """Write the changes since the response began."""
        stored = session._stored
        if stored.session_id is None and not stored.gone:
            if dict.__len__(session):
                logger.warning(
                    "a new session was filled after the response had begun: it is dropped, as the client cannot get"
                    " its id; set something before, or session.save()"
                )
        elif not session._is_stored():
            try:
                session._wait_for(session._commit())
            except StorageError as error:
                self._settings.outage.log(error)


def _chosen(manager: object) -> SessionManager | None:
    return None if manager is None else check_manager(manager)


def _caused_by(error: StorageError, retry_after: int) -> SessionsUnavailable:
    failure = SessionsUnavailable(retry_after)
    failure.__cause__ = error
    return failure


def _answer_to(app: Flask, error: SessionsUnavailable) -> Response:
    """Return the response of the error handler, or that of the error itself."""
    return app.make_response(cast("Any", app.handle_user_exception(error)))


def _put_in_place(response: Response, answer: Response) -> None:
    """Make a response equal to another, and close what it would have sent."""
    if hasattr(response.response, "close"):
        response.call_on_close(response.response.close)
    response.call_on_close(answer.close)
    response.status, response.headers, response.response = answer.status, answer.headers, answer.response
    response.direct_passthrough = answer.direct_passthrough
