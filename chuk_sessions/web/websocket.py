"""A WebSocket with a session: its handshake carries the cookie, and it is closed when the session has ended."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from chuk_sessions.exceptions import StorageError
from chuk_sessions.web.asgi import ASGIApp, Headers, Message, Receive, Scope, Send, refuse_socket
from chuk_sessions.web.exchange import MUTED, SERVER_ERROR, Exchange
from chuk_sessions.web.session import Session

__all__ = ["ENDED_CODE", "SocketClosed", "SocketExchange"]

ENDED_CODE = 4401
REASON = "session ended"
REFUSED = "the handshake was refused, as the session could not be stored"


class SocketClosed(ConnectionError):
    """The socket was closed because its session ended; ASGI asks for an OSError from ``send`` then."""


class SocketExchange(Exchange):
    """The ``receive`` and ``send`` of one WebSocket.

    Every ``recheck`` seconds the session is looked up. If it has ended, the client gets a close with the code 4401. The
    application gets a ``websocket.disconnect`` with that code, and a ``SocketClosed`` if it goes on sending.
    """

    def take(self, session: Session, scope: Scope, receive: Receive, send: Send) -> None:
        """Take over a WebSocket."""
        super().take(session, scope, receive, send)
        self._over: asyncio.Future[None] | None = None
        self._pending: asyncio.Future[Message] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._connected = self._disconnected = False

    async def run(self, app: ASGIApp) -> None:
        """Serve the socket until the application returns."""
        try:
            await app(self._scope, self.receive, self.send)
        except asyncio.CancelledError:
            self.write_later()
            raise
        except Exception as error:
            if self._phase is MUTED:
                return
            if self._disconnected and self._started:  # frameworks end the handler so if its client left
                await self.late_commit()
            elif await self._answer_failure(error):
                return
            raise
        else:
            if not self._spoiled:
                await self.late_commit()
        finally:
            for task in (self._watcher, self._pending):
                if task is not None:
                    task.cancel()

    async def send(self, message: Message) -> None:
        """Pass a message on. At the end of the handshake, write the session before, and add its headers."""
        kind = message["type"]
        if self._phase is MUTED:
            raise SocketClosed(REFUSED)
        if self._over is not None and self._over.done():
            if kind != "websocket.close":
                raise SocketClosed(REASON)
            return
        if not self._started and kind in ("websocket.accept", "websocket.http.response.start"):
            message = await self.begin(message, message.get("status", 0))
            if self._phase is MUTED:
                raise SocketClosed(REFUSED)
            if kind == "websocket.accept":
                self._watch()
        try:
            await self._send(message)
        except OSError:
            self._disconnected = True
            raise

    async def receive(self) -> Message:
        """Return the next message of the client, or a disconnect once the session has ended."""
        message = await (self._receive() if self._over is None else self._receive_or_end(self._over))
        if message["type"] == "websocket.connect":
            self._connected = True
        elif message["type"] == "websocket.disconnect":
            self._disconnected = True
        return message

    async def _receive_or_end(self, over: asyncio.Future[None]) -> Message:
        if self._pending is None:  # else a cancelled call left its pending message
            self._pending = asyncio.ensure_future(self._receive())
        await asyncio.wait((self._pending, over), return_when=asyncio.FIRST_COMPLETED)
        if not over.done():
            message, self._pending = self._pending.result(), None
            return message
        return {"type": "websocket.disconnect", "code": ENDED_CODE, "reason": REASON}

    def _watch(self) -> None:
        if self._settings.recheck and self._stored.session_id is not None and not self._stored.gone:
            self._over = asyncio.get_running_loop().create_future()
            self._watcher = asyncio.create_task(self._close_when_ended(self._over))

    async def _close_when_ended(self, over: asyncio.Future[None]) -> None:
        while True:
            await asyncio.sleep(self._settings.recheck)
            if not await self._lives():
                break
        over.set_result(None)
        with suppress(Exception):  # the client may have left
            await self._send({"type": "websocket.close", "code": ENDED_CODE, "reason": REASON})

    async def _lives(self) -> bool:
        """Tell whether the session lives; True too while the storage fails."""
        if self._stored.session_id is None or self._stored.gone:
            return False
        try:
            return await self._stored.manager.validate_session(self._stored.session_id)
        except StorageError as error:
            self._settings.outage.log(error)
            return True

    async def _receive_anew(self) -> Message:
        """Receive the beginning of the handshake again, which the application may have got, to refuse it."""
        if self._connected:
            self._connected = False
            return {"type": "websocket.connect"}
        return await self._receive()

    async def _answer_error(self, headers: Headers) -> None:
        await refuse_socket(self._scope, self._receive_anew, self._send, SERVER_ERROR, "Internal Server Error", headers)
