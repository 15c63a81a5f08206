"""One socket to one server: commands go out in batches, replies come back in order.

Rules this file keeps:

* Replies match commands first in, first out. A command that was written keeps its place in ``_sent`` until its reply
  has been read, whether or not its caller still waits: no reply can reach another caller.
* All commands of one turn of the loop leave in one write, by a callback that the first of them schedules. No timer.
* A caller that gives up cancels its future. Not yet written: the flush skips it. Written: its reply is dropped.
* Bytes that are no reply, or a reply that nobody asked for, end the connection; it is never resynchronised.
* When the connection ends, every future is settled: OutcomeUnknown for what was written; what was not goes back to
  the owner, who may send it elsewhere.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import hiredis

from chuk_sessions.exceptions import OutcomeUnknown, ServerError

__all__ = ["Argument", "Command", "Connection", "Reply", "pack"]

Argument = bytes | str | int
Reply = Any
Command = tuple["asyncio.Future[Reply]", bytes]

# hiredis types the argument as a tuple of exactly one element.
pack = cast(Callable[[tuple[Argument, ...]], bytes], hiredis.pack_command)

INCOMPLETE = object()


class Connection(asyncio.Protocol):
    """A pipelined connection. ``address`` names the server in errors; ``on_lost`` gets the commands not written."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: str,
        on_lost: Callable[[Connection, list[Command]], None],
    ) -> None:
        self._loop = loop
        self._address = address
        self._on_lost = on_lost
        self._reader = hiredis.Reader(replyError=ServerError, notEnoughData=INCOMPLETE)
        self._transport: asyncio.Transport | None = None
        self._unsent: list[Command] = []
        self._sent: deque[asyncio.Future[Reply]] = deque()
        self._flush_scheduled = False
        self._reason = "the server closed the connection"
        self.lost: asyncio.Future[None] = loop.create_future()

    def __repr__(self) -> str:
        state = "closed" if self.lost.done() else "open" if self._transport else "new"
        return f"<Connection {self._address} {state} unsent={len(self._unsent)} sent={len(self._sent)}>"

    def send(self, command: Command) -> None:
        """Have the command written at the end of this turn of the loop."""
        self._unsent.append(command)
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def request(self, *args: Argument) -> asyncio.Future[Reply]:
        """Send one command; its reply. For the handshake; callers' commands come by ``send``."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        self.send((future, pack(args)))
        return future

    def abort(self, reason: str) -> None:
        """End the connection now. Futures settle when the loop reports it lost, in this or the next turn."""
        self._reason = reason
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop when the socket is connected."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Called by the loop with bytes from the server: hand each complete reply to the oldest command."""
        gets, sent = self._reader.gets, self._sent
        try:
            self._reader.feed(data)
            while (reply := gets()) is not INCOMPLETE:
                if isinstance(reply, hiredis.PushNotification):
                    continue
                future = sent.popleft()
                if future.done():
                    continue
                if isinstance(reply, ServerError):
                    future.set_exception(reply)
                else:
                    future.set_result(reply)
        except (hiredis.HiredisError, IndexError):
            self.abort("the server sent what is no reply to a command")

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop when the connection has ended: settle everybody."""
        self._transport = None
        if exc is not None:
            self._reason = str(exc) or type(exc).__name__
        unsent, self._unsent = self._unsent, []
        sent, self._sent = self._sent, deque()
        for future in sent:
            if not future.done():
                future.set_exception(
                    OutcomeUnknown(
                        f"the connection to Redis at {self._address} was lost before the reply came: {self._reason}"
                    )
                )
        if not self.lost.done():
            self.lost.set_result(None)
        self._on_lost(self, unsent)

    def _flush(self) -> None:
        self._flush_scheduled = False
        if self._transport is None or self._transport.is_closing():
            return  # connection_lost hands the commands back
        batch, self._unsent = self._unsent, []
        chunks = []
        for future, packed in batch:
            if not future.done():
                self._sent.append(future)
                chunks.append(packed)
        if chunks:
            self._transport.write(b"".join(chunks))
