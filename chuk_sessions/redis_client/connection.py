"""One socket to one server: commands go out in batches, replies come back in order.

Rules this file keeps:

* Replies match commands first in, first out. A command that was written keeps its place in ``_sent`` until its reply
  has been read, whether or not its caller still waits: no reply can reach another caller.
* All commands of one turn of the loop leave in one write, by a callback that the first of them schedules. No timer.
* At most ``max_in_flight`` commands and about ``MAX_BYTES_IN_FLIGHT`` bytes are written and unanswered. One write holds
  about ``MAX_WRITE`` bytes. Nothing is written while the transport's buffer is full. Commands that may not be written
  yet wait in ``_unsent``, in order.
* A ``Large`` command goes to ``divert`` instead: nothing of more than 1 MB comes between the commands of other callers.
* A caller that gives up cancels its future. If its command is not written yet, the flush skips it. While nothing may be
  written, such commands are cleared away, so that they and their values do not add up. If the command is written, its
  reply is dropped.
* Bytes that are no reply, and replies without a command, end the connection. It is never resynchronised.
* An exception during a read or a write ends the connection, because it is not known what was written or read. A command
  stays in its queue until the step that can raise is over.
* When the connection ends, the owner gets its commands back, the written and the others, and settles each. An error
  reply goes to the owner too: it may know another server for that command.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections import deque
from collections.abc import Callable
from types import MethodType
from typing import cast

import hiredis

from chuk_sessions.exceptions import ServerError
from chuk_sessions.redis_client.backlog import WORTH_A_LOOK, backlog
from chuk_sessions.redis_client.commands import (
    MANY,
    MAY_BE_LARGE,
    NO_SLOT,
    Argument,
    Command,
    Preceded,
    Replay,
    Reply,
    clear_given_up,
    is_large,
    pack,
)
from chuk_sessions.redis_client.config import MAX_IN_FLIGHT
from chuk_sessions.redis_client.outcomes import hand_on, settle, settle_with_error
from chuk_sessions.redis_client.replies import server_error

__all__ = ["Connection"]

INCOMPLETE = object()
USUAL = frozenset((bytes, int, list, dict, type(None)))  # types of replies that are neither a push nor an error
HUNG_UP = "the server closed the connection"
RAISED = "an exception came amid a read or a write"
NO_REPLY = "the server sent what is no reply to a command"
MAX_BYTES_IN_FLIGHT = 64 << 20  # of commands written and unanswered
READ_SIZE = 1 << 16  # bytes; one buffer for all reads, because asyncio would allocate 256 KB anew for each
MAX_WRITE = 1 << 20  # bytes; to join more at once would hold up the loop


def _ignore(push: list[Reply]) -> None:
    """Do nothing: a server sends pushes only to a connection that asked for them."""


class Connection(asyncio.BufferedProtocol):
    """A pipelined connection. At its end ``on_lost`` gets the connection, the written commands and the others.

    ``on_lost`` is called once, but again if it raised; it must allow for that.

    ``on_error`` gets each command that still waits and that the server answered with an error, and the error.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_lost: Callable[[Connection, list[Command], list[Command]], None],
        max_in_flight: int = MAX_IN_FLIGHT,
    ) -> None:
        self._loop = loop
        self._on_lost = on_lost
        self._max_in_flight = max_in_flight
        self.on_error = settle_with_error
        self.on_push: Callable[[list[Reply]], object] = _ignore  # gets the pushes of RESP3
        self.divert: Callable[[Command], None] | None = None  # takes the large commands
        self._reader = hiredis.Reader(replyError=server_error, notEnoughData=INCOMPLETE)
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray(READ_SIZE)
        self._view = memoryview(self._buffer)  # asyncio's TLS reads into slices; slices of a bytearray are copies
        self._unsent: deque[Command] = deque()
        self._many = MANY  # unsent commands: more are looked through for those that were given up
        self._sent: deque[Command] = deque()
        self._flush_scheduled = False
        self._paused = False
        self._finishing = False
        self._writes: deque[tuple[int, int]] = deque()  # for each write: commands written up to its end; its bytes
        self.bytes_in_flight = 0
        self.commands_written = 0
        self.writes = 0
        self._backlog = self._bytes_then = 0  # when the owner last asked whether bytes moved
        self.heard = False  # bytes came since the owner last set this to False
        self.was_silent = False  # the owner has ended it for that
        self.login_since = 0.0  # by the clock of the loop
        self.renew_in: float | None = None  # seconds from then on, if the login must be renewed
        self.reason = HUNG_UP
        self.lost: asyncio.Future[None] = loop.create_future()

    def __repr__(self) -> str:
        state = "closed" if self.lost.done() else "open" if self._transport else "new"
        return f"<Connection {state} unsent={len(self._unsent)} sent={len(self._sent)}>"

    @property
    def peer(self) -> str:
        """The address at the other end, for messages."""
        host, port = self.endpoint
        return host if port is None else f"{host}:{port}"

    @property
    def endpoint(self) -> tuple[str, int | None]:
        """Host and port at the other end; words and None if they are not known."""
        name = None if self._transport is None else self._transport.get_extra_info("peername")
        return (name[0], name[1]) if isinstance(name, tuple) else ("an unknown address", None)

    @property
    def was_hung_up(self) -> bool:
        """Whether the server ended the connection, in good order."""
        return self.lost.done() and self.reason == HUNG_UP

    @property
    def in_flight(self) -> int:
        """Commands written and not answered yet."""
        return len(self._sent)

    @property
    def queued(self) -> int:
        """Commands not written yet."""
        return len(self._unsent)

    @property
    def holds_large(self) -> bool:
        """Whether a large command waits to go to ``divert``."""
        return any(is_large(command[1]) for command in self._unsent)

    def moves(self) -> bool:
        """Tell whether bytes have left since the last such question, of many that waited: a slow network is no silence.

        With few waiting bytes the answer is False: a peer that hangs takes some too. ``heard`` tells whether a reply
        came meanwhile.
        """
        if self._transport is None:
            return False
        written = self.bytes_in_flight - self._bytes_then
        before, self._backlog = self._backlog, backlog(self._transport)
        self._bytes_then = self.bytes_in_flight
        return before > WORTH_A_LOOK and self._backlog < before + written

    def send(self, command: Command) -> None:
        """Write the command at the end of this turn of the loop, or as soon as the bounds allow."""
        if not self._flush_scheduled:
            self._schedule_flush()
        self._unsent.append(command)

    def request(self, *args: Argument) -> asyncio.Future[Reply]:
        """Send a command of the client itself. Return a future of its reply. Commands of callers come by ``send``."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        self.send((future, pack(args), sys.maxsize, Replay.NEVER, NO_SLOT))  # the caller checks its age
        return future

    def overdue(self, born: int) -> tuple[list[Command], list[Command]]:
        """Return the unsettled commands made at tick ``born`` or before: the written ones, and the others."""
        sent, unsent = (
            [command for command in commands if command[2] <= born and not command[0].done()]
            for commands in (self._sent, self._unsent)
        )
        return sent, unsent

    def abort(self, reason: str) -> None:
        """End the connection now; ``on_lost`` is called in this or the next turn of the loop."""
        self.reason = reason
        if self._transport is not None:
            self._transport.abort()

    def finish(self, reason: str) -> None:
        """Stop writing, and end the connection as soon as every written command has its reply."""
        self._finishing = True
        self.reason = reason
        if not self._sent:
            self.abort(reason)

    def hand_over(self) -> socket.socket:
        """Return a socket of its own for the connection, which goes on, and end this object. Not for TLS.

        Raises OSError if the process has too many open files; the connection has ended then.
        """
        assert self._transport is not None
        mine = self._transport.get_extra_info("socket")
        try:
            return socket.fromfd(mine.fileno(), mine.family, mine.type)
        finally:
            self.abort("its socket was handed over")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport; the loop calls this when the socket is connected."""
        self._transport = cast(asyncio.Transport, transport)

    def pause_writing(self) -> None:
        """Stop writing for now; the transport calls this when its buffer is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on writing; the transport calls this when its buffer has drained."""
        self._paused = False
        self._schedule_flush()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer for bytes from the server; the loop calls this."""
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        """Give each reply to the oldest command; the loop calls this with bytes from the server in the buffer."""
        gets, sent = self._reader.gets, self._sent
        self.heard = True
        try:
            self._reader.feed(cast(bytes, self._buffer), 0, nbytes)  # any buffer will do; the stub says bytes
            while (reply := gets()) is not INCOMPLETE:
                usual = type(reply) in USUAL
                if not usual and isinstance(reply, hiredis.PushNotification):
                    self.on_push(reply)
                    continue
                if not sent:  # a server that has too many clients says so before the first command
                    self.abort(str(reply) if isinstance(reply, ServerError) else NO_REPLY)
                    return
                waiter = sent[0][0]
                if waiter.done():
                    sent.popleft()
                elif not usual and isinstance(reply, ServerError):
                    command = sent.popleft()
                    try:  # here, because an exception at the call of a method would lose the command
                        self.on_error(command, reply)
                    except BaseException:
                        settle(command, reply)
                        raise
                else:
                    waiter.set_result(reply)
                    sent.popleft()
        except hiredis.HiredisError:
            self.abort(NO_REPLY)
        except BaseException:
            self.abort(RAISED)
            raise
        writes, answered = self._writes, self.commands_written - len(sent)
        while writes and writes[0][0] <= answered:
            self.bytes_in_flight -= writes.popleft()[1]
        if self._finishing:
            self.finish(self.reason)
        elif self._unsent and not self._flush_scheduled:
            self._schedule_flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give all commands back; the loop calls this when the connection has ended."""
        self._transport = None
        try:
            if exc is not None:
                self.reason = str(exc) or type(exc).__name__
            self._give_back()
        except BaseException:  # no other object knows these commands, or that the connection has ended
            self._loop.call_soon(self._give_back)
            raise

    def _give_back(self) -> None:
        """Hand over all commands. It is called again if an exception came in between, which ``on_lost`` allows."""
        if not self.lost.done():
            self.lost.set_result(None)
        self._on_lost(self, list(self._sent), list(self._unsent))
        self._sent.clear()
        self._unsent.clear()

    def _schedule_flush(self) -> None:
        self._loop.call_soon(self._flush)
        self._flush_scheduled = True

    def _flush(self) -> None:
        self._flush_scheduled = False
        if self._paused or self._finishing or self._transport is None or self._transport.is_closing():
            self._bound_unsent()
            return  # resume_writing or connection_lost goes on from here
        try:
            more = self._write(self._transport)
        except BaseException:
            self.abort(RAISED)
            raise
        if self._unsent:
            self._bound_unsent()
            if more and not self._paused:
                self._schedule_flush()

    def _write(self, transport: asyncio.Transport) -> bool:
        """Write the commands that may be written. Return whether more may be written."""
        unsent, sent = self._unsent, self._sent
        before = len(sent)
        free = self._max_in_flight - before
        most = room = min(MAX_WRITE, MAX_BYTES_IN_FLIGHT - self.bytes_in_flight)
        chunks, commands, seen = [], [], 0
        large: deque[Command] | None = None
        for command in unsent:
            if free <= 0 or room <= 0:
                break
            seen += 1
            if not command[0].done():
                packed = command[1]
                if type(packed) is not bytes:
                    if type(packed) is not MethodType:  # that of a batch is none of these, and there may be many
                        if type(packed) in MAY_BE_LARGE and self.divert is not None and is_large(packed):
                            if large is None:
                                large = deque()
                            large.append(command)
                            continue
                        if isinstance(packed, Preceded):
                            commands.append(packed.before)
                            free -= 1
                    packed = packed()  # type: ignore[operator]  # mypy takes it for bytes all the same
                commands.append(command)
                chunks.append(packed)
                free -= 1
                room -= len(packed)
        data = b"".join(chunks)
        sent += commands  # before they leave the other queue, so that each is in at least one queue
        if seen == len(unsent):
            unsent.clear()
        else:
            for _ in range(seen):
                unsent.popleft()
        if commands:
            self.commands_written += len(commands)
            self.bytes_in_flight += most - room
            self._writes.append((self.commands_written, most - room))
            self.writes += 1
            transport.write(data)
        if large:
            self._divert(large)
        return free > 0 and self.bytes_in_flight < MAX_BYTES_IN_FLIGHT

    def _divert(self, large: deque[Command]) -> None:
        try:
            if self.divert is not None:
                hand_on(large, self.divert)
        finally:
            self._unsent.extendleft(reversed(large))  # empty, except after an exception

    def _bound_unsent(self) -> None:
        if len(self._unsent) > self._many:
            self._many = clear_given_up(self._unsent)
