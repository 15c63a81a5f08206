"""One socket to one server: commands go out in batches, replies come back in order.

Rules this file keeps:

* Replies match commands first in, first out. A command that was written keeps its place in ``_sent`` until its reply
  has been read, whether or not its caller still waits: no reply can reach another caller.
* All commands of one turn of the loop leave in one write, by a callback that the first of them schedules. No timer.
* At most ``max_in_flight`` commands and about ``MAX_BYTES_IN_FLIGHT`` bytes are written and unanswered, one write holds
  about ``MAX_WRITE`` bytes, and nothing is written while the transport's buffer is full. What may not go yet waits in
  ``_unsent``, in order.
* A ``Large`` command is handed to ``divert`` instead: nothing of more than 1 MB goes between the commands of others.
* A caller that gives up cancels its future. Not yet written: the flush skips it, and while nothing may be written such
  commands are cleared away, lest they and their values add up. Written: its reply is dropped.
* Bytes that are no reply, or a reply that nobody asked for, end the connection; it is never resynchronised.
* An exception amid a read or a write ends the connection, as what was written or read is not known. A command stays
  in its queue until the step that can raise is over.
* When the connection ends, the owner gets its commands back, the written and the others, and settles each. An error
  that the server answers is the owner's too: it may know another server for that command.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from typing import cast

import hiredis

from chuk_sessions.exceptions import ServerError
from chuk_sessions.redis_client.backlog import WORTH_A_LOOK, backlog
from chuk_sessions.redis_client.commands import (
    ASKING_ITSELF,
    MANY,
    NO_SLOT,
    Argument,
    Asking,
    Command,
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
HUNG_UP = "the server closed the connection"
RAISED = "an exception came amid a read or a write"
NO_REPLY = "the server sent what is no reply to a command"
MAX_BYTES_IN_FLIGHT = 64 << 20  # of commands written and unanswered
READ_SIZE = 1 << 16  # bytes; one buffer for good, as asyncio would allocate 256 KB anew for each read
MAX_WRITE = 1 << 20  # bytes; joining more at once would hold up the loop


class Connection(asyncio.BufferedProtocol):
    """A pipelined connection. ``on_lost`` gets the connection, the commands written and the others, at its end.

    It is called once, but again if it raised, and must bear that.

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
        self.divert: Callable[[Command], None] | None = None  # takes the commands that go by themselves
        self._reader = hiredis.Reader(replyError=server_error, notEnoughData=INCOMPLETE)
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray(READ_SIZE)
        self._view = memoryview(self._buffer)  # asyncio's TLS reads into slices, which of a bytearray are copies
        self._unsent: deque[Command] = deque()
        self._many = MANY  # unsent commands: more are looked through for those that were given up
        self._sent: deque[Command] = deque()
        self._flush_scheduled = False
        self._paused = False
        self._finishing = False
        self._writes: deque[tuple[int, int]] = deque()  # of each: the commands written up to and with it; its bytes
        self.bytes_in_flight = 0
        self.commands_written = 0
        self.writes = 0
        self._backlog = self._bytes_then = 0  # when the owner last asked whether bytes moved
        self.heard = False  # bytes came since the owner last set this to False
        self.reason = HUNG_UP
        self.lost: asyncio.Future[None] = loop.create_future()

    def __repr__(self) -> str:
        state = "closed" if self.lost.done() else "open" if self._transport else "new"
        return f"<Connection {state} unsent={len(self._unsent)} sent={len(self._sent)}>"

    @property
    def peer(self) -> str:
        """The address at the other end, for messages."""
        name = None if self._transport is None else self._transport.get_extra_info("peername")
        return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else "an unknown address"

    @property
    def was_hung_up(self) -> bool:
        """Whether the server ended it, and in good order."""
        return self.lost.done() and self.reason == HUNG_UP

    @property
    def in_flight(self) -> int:
        """Commands written and not answered yet."""
        return len(self._sent)

    @property
    def queued(self) -> int:
        """Commands not written yet."""
        return len(self._unsent)

    def moves(self) -> bool:
        """Whether bytes have left since the last such question, of many that waited for that: a slow way is no silence.

        Tells nothing if there were few: a peer that hangs takes some too. If a reply came meanwhile, ``heard`` says so.
        """
        if self._transport is None:
            return False
        written = self.bytes_in_flight - self._bytes_then
        before, self._backlog = self._backlog, backlog(self._transport)
        self._bytes_then = self.bytes_in_flight
        return before > WORTH_A_LOOK and self._backlog < before + written

    def send(self, command: Command) -> None:
        """Have the command written at the end of this turn of the loop, or as soon as the bounds allow."""
        if not self._flush_scheduled:
            self._schedule_flush()
        self._unsent.append(command)

    def request(self, *args: Argument) -> asyncio.Future[Reply]:
        """Send one command; its reply. For the handshake; callers' commands come by ``send``."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        self.send((future, pack(args), sys.maxsize, Replay.NEVER, NO_SLOT))  # who asks looks after its age
        return future

    def overdue(self, born: int) -> tuple[list[Command], list[Command]]:
        """The unsettled commands made at tick ``born`` or before: the written ones, and the others."""
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
        """Write nothing more, and end the connection as soon as every written command has its reply."""
        self._finishing = True
        self.reason = reason
        if not self._sent:
            self.abort(reason)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop when the socket is connected."""
        self._transport = cast(asyncio.Transport, transport)

    def pause_writing(self) -> None:
        """Called by the transport when its buffer is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """Called by the transport when its buffer has drained."""
        self._paused = False
        self._schedule_flush()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Called by the loop for where to put bytes from the server."""
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        """Called by the loop with bytes from the server in the buffer: hand each reply to the oldest command."""
        gets, sent = self._reader.gets, self._sent
        self.heard = True
        try:
            self._reader.feed(cast(bytes, self._buffer), 0, nbytes)  # any buffer will do; the stub says bytes
            while (reply := gets()) is not INCOMPLETE:
                if isinstance(reply, hiredis.PushNotification):
                    continue
                if not sent:  # a server that is full says so before it is asked
                    self.abort(str(reply) if isinstance(reply, ServerError) else NO_REPLY)
                    return
                waiter = sent[0][0]
                if waiter.done():
                    sent.popleft()
                elif isinstance(reply, ServerError):
                    command = sent.popleft()
                    try:  # here, as an exception at the call of a method would leave the command with nobody
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
        """Called by the loop when the connection has ended: give all commands back."""
        self._transport = None
        try:
            if exc is not None:
                self.reason = str(exc) or type(exc).__name__
            self._give_back()
        except BaseException:  # nobody else knows these commands, nor that the connection has ended
            self._loop.call_soon(self._give_back)
            raise

    def _give_back(self) -> None:
        """Hand over all commands; once more if an exception came amid that, which ``on_lost`` allows."""
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
        """Write what may be written; whether more may be."""
        unsent, sent = self._unsent, self._sent
        before = len(sent)
        free = self._max_in_flight - before
        most = room = min(MAX_WRITE, MAX_BYTES_IN_FLIGHT - self.bytes_in_flight)
        chunks, commands, large, seen = [], [], deque[Command](), 0
        for command in unsent:
            if free <= 0 or room <= 0:
                break
            seen += 1
            if not command[0].done():
                packed = command[1]
                if not isinstance(packed, bytes):
                    if self.divert is not None and is_large(packed):
                        large.append(command)
                        continue
                    if isinstance(packed, Asking):
                        commands.append(ASKING_ITSELF)
                        free -= 1
                    packed = packed()
                commands.append(command)
                chunks.append(packed)
                free -= 1
                room -= len(packed)
        data = b"".join(chunks)
        sent += commands  # before they leave the other queue: none is in neither
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
            self._unsent.extendleft(reversed(large))  # none but after an exception

    def _bound_unsent(self) -> None:
        if len(self._unsent) > self._many:
            self._many = clear_given_up(self._unsent)
