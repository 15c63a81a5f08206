"""One request or WebSocket with a session: writes the session, and adds its headers to the response.

Rules this file keeps:

* Changes are written before the first byte of the response leaves: the request after a redirect finds them.
* After an exception, or with a status of 500 and more, nothing is written that the application did not write itself.
  The calls that it made (login, renew, invalidate, save) have happened, so the client is told even then.
* The client is told to forget its id only if the application ended the session. The late answer to a request whose
  session has died must not delete the cookie that a login at the same time has just set.
* While the storage fails, the answer is 503, and it has no headers about the session.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Any

from chuk_sessions.exceptions import StorageError
from chuk_sessions.web.asgi import Headers, Message, Receive, Scope, Send, lacks_cookie, respond
from chuk_sessions.web.late import write_late, write_later
from chuk_sessions.web.reply import is_kept_for_a_time, told
from chuk_sessions.web.session import LENGTH, Session
from chuk_sessions.web.settings import Settings
from chuk_sessions.web.stored import StoredSession

__all__ = ["Exchange"]

SERVER_ERROR = 500

# The phases of an exchange; None: the response has not begun.
IDLE = "idle"  # it has begun without a session, so that none can be stored any more
STARTED = "started"  # it has begun, with a session
LEFT = "left"  # it had begun, and the client has left while it was being sent
SPOILED = "spoiled"  # it has begun, and reports an error, so that nothing is written at the end
MUTED = "muted"  # we have answered: messages of the application are dropped, and nothing is written at the end

NO_HEADERS: Headers = []  # never changed

logger = logging.getLogger(__name__)


class Exchange:
    """The ``send`` that the application of one request gets, and the end of that request."""

    __slots__ = ("_phase", "_receive", "_scope", "_send", "session")

    def take(self, session: Session, scope: Scope, receive: Receive, send: Send) -> None:
        """Take over a request. It is no constructor, because Python 3.11 calls those much slower than methods."""
        self.session = session
        self._scope = scope
        self._receive = receive
        self._send = send
        self._phase: str | None = None

    @property
    def _settings(self) -> Settings:
        home: Settings = self.session._home
        return home

    @property
    def _stored(self) -> StoredSession:
        return self.session._stored

    @property
    def _started(self) -> bool:
        return self._phase is not None and self._phase is not MUTED

    @property
    def _spoiled(self) -> bool:
        return self._phase is SPOILED or self._phase is MUTED

    def send(self, message: Message) -> Awaitable[None]:
        """Pass a message on. For the first message of a response, write the session before, and add its headers.

        A message that is only passed on goes straight to the server, without a coroutine of ours around it.
        """
        send, phase = self._send, self._phase
        if phase is IDLE:
            return send(message)
        if phase is not None:
            return _drop() if phase is MUTED else self._pass_on(message)
        if message["type"] != "http.response.start":
            return send(message)
        session = self.session
        stored = session._known
        if (
            (stored is None or stored.is_nothing())
            and not (session._accessed and LENGTH(session))
            and self._scope.get(session._home.scope_key) is session
        ):
            self._phase = IDLE
            session._begun = True
            if stored is not None:
                stored.closed = True
            return send(self._with_headers(message) if session._accessed else message)
        if not self._is_settled(message["status"]):
            return self._begin_and_send(message)
        self._phase = STARTED
        session._close()
        return self._pass_on(self._with_headers(message))

    async def _begin_and_send(self, message: Message) -> None:
        message = await self.begin(message, message["status"])
        if self._phase is not MUTED:
            await self._pass_on(message)

    async def _pass_on(self, message: Message) -> None:
        try:
            await self._send(message)
        except OSError:
            if self._phase is STARTED:
                self._phase = LEFT
            raise

    def is_unfinished(self) -> bool:
        """Tell whether something must be written now that the application has returned, or a warning is due."""
        phase = self._phase
        if phase is None or phase is SPOILED or phase is MUTED:
            return False
        session = self.session
        if phase is IDLE:
            is_used = session._accessed and LENGTH(session) > 0
            return is_used or self._scope.get(session._home.scope_key) is not session
        return not self._is_as_it_was()

    async def is_answered_after(self, error: Exception) -> bool:
        """End the request of an application that raised. Return whether the error need not be raised."""
        if self._phase is LEFT:  # the client has left: no fault of the application
            await self.late_commit()
            return False
        return await self._answer_failure(error)

    def _is_as_it_was(self) -> bool:
        """Tell whether nothing must be written at the end of the request, and no warning is due."""
        session = self.session
        if self._scope.get(session._home.scope_key) is not session:
            return False
        stored = session._known
        return not LENGTH(session) if stored is None or stored.session_id is None else session._is_stored()

    def _is_settled(self, status: int) -> bool:
        """Tell whether the store holds what the session holds, so that `begin` would write nothing."""
        session = self.session
        stored = session._known
        return (
            status < SERVER_ERROR
            and (stored is None or not stored.is_in_use())
            and self._scope.get(session._home.scope_key) is session
            and session._is_stored()
            and not session._is_rolling(session._home.rolling)
        )

    async def begin(self, message: Message, status: int = 0) -> Message:
        """Write the session, and return the first message of the response with its headers."""
        session = self.session
        settings: Settings = session._home
        if status >= SERVER_ERROR and not settings.save_on_5xx:
            phase = SPOILED
        else:
            phase = STARTED
            try:
                await self._commit()
                if session._is_rolling(settings.rolling):
                    await session._stored.prolong(again=is_kept_for_a_time(settings, session))
            except StorageError as error:
                settings.outage.log(error)
                if not settings.outage.goes_on:
                    await self._answer_outage()
                    return message
        self._phase = phase
        session._close()
        return self._with_headers(message)

    def _commit(self) -> Awaitable[None]:
        """Write the session, or the dict that the application put in its place."""
        session = self.session
        key = session._home.scope_key
        current = self._scope.get(key, session)
        if current is not session:
            if not isinstance(current, dict):
                kind = type(current).__name__
                raise TypeError(f"the application put a {kind} into scope[{key!r}]: a session must be a dict")
            session._adopt(current)
        return session._commit()

    async def late_commit(self) -> None:
        """Write the changes since the response began, after the application has ended."""
        if self._stored.session_id is None and not self._stored.gone:
            if self._started and self._scope.get(self._settings.scope_key, self.session):
                logger.warning(
                    "a new session was filled after the response had begun: it is dropped, as the client cannot get"
                    " its id; set something before, or await session.save()"
                )
            return
        await write_late(self._commit, self._settings.outage.log)

    def write_later(self) -> None:
        """Write the changes since the response began, although the server has cancelled the request."""
        if self._started and not self._spoiled and self._stored.session_id is not None and not self._is_as_it_was():
            write_later(self._commit, self._settings.outage.log)

    def _told(self) -> Headers:
        return told(self._settings, self.session, self._scope)

    def _with_headers(self, message: Message) -> Message:
        session = self.session
        stored = session._known
        news = self._told() if stored is not None and (stored.issued or stored.ended) else NO_HEADERS
        varies = session._home.transport.ambient and (news or session._accessed)
        if not news and not varies:
            return message
        headers: Headers = [*message.get("headers", ()), *news]
        if varies:
            _vary_by_cookie(headers)
        if news and not any(name.lower() == b"cache-control" for name, _ in headers):
            headers.append((b"cache-control", b"private, no-store"))
        return {**message, "headers": headers}

    async def _answer_failure(self, error: Exception) -> bool:
        """Answer for an application that raised, if nothing else can. Return whether the error need not be raised.

        A server, or the middleware around this one, answers 500 by itself. But it does not know of a cookie that must
        go out.
        """
        if self._phase is not None:
            return False
        if (failure := _outage_in(error)) is not None and not self._settings.outage.goes_on:
            self._settings.outage.log(failure)
            await self._answer_outage()
            return True
        if news := self._told():
            await self._answer_error(news)
        return False

    async def _answer_error(self, headers: Headers) -> None:
        await respond(self._send, SERVER_ERROR, "Internal Server Error", headers)

    async def _answer_outage(self) -> None:
        self._phase = MUTED
        await self._settings.outage.answer(self._scope, self._receive_anew, self._send, self._told_in_outage())

    async def _receive_anew(self) -> Message:
        """Receive a message of the request for a response of our own."""
        return await self._receive()

    def _told_in_outage(self) -> Headers:
        """Make the headers with the new id of a session, if any. An outage clears no cookie: the session may live."""
        return self._told() if self._stored.issued else []


def _outage_in(error: Exception) -> StorageError | None:
    """Return the StorageError that an exception is, or that is alone in its group (of a task group); else None."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error if isinstance(error, StorageError) else None


async def _drop() -> None:
    """Send nothing."""


def _vary_by_cookie(headers: list[tuple[Any, Any]]) -> None:
    """Add ``Cookie`` to the Vary header, unless it is there."""
    for place, (name, value) in enumerate(headers):
        if len(name) == 4 and name.lower() == b"vary":
            if lacks_cookie(value.decode("latin-1")):
                headers[place] = (name, value + b", Cookie")
            return
    headers.append((b"vary", b"Cookie"))
