"""A blocking socket to a server, for one command at a time: it is written and its reply read in the caller's thread."""

from __future__ import annotations

import select
import socket
from types import BuiltinFunctionType

import hiredis

from chuk_sessions.exceptions import ProviderError
from chuk_sessions.redis_client.commands import Reply
from chuk_sessions.redis_client.connection import HUNG_UP, NO_REPLY
from chuk_sessions.redis_client.replies import server_error
from chuk_sessions.redis_client.watchdog import clock

__all__ = ["LONGEST_WAIT", "SocketWire", "WireError", "can_be_polled"]

READ_SIZE = 1 << 16  # bytes that are read at once
LONGEST_WAIT = 24 * 24 * 3600.0  # seconds, the limit of an ``exchange``: poll counts milliseconds in 31 bits
INCOMPLETE = object()


class WireError(ProviderError):
    """The connection was lost, or was given up, after a command may have been sent."""


def can_be_polled() -> bool:
    """Tell whether this system can look at a socket without a limit for the number of sockets.

    The sockets of gevent and eventlet cannot be used here: they belong to the thread that made them.
    """
    if not isinstance(getattr(select, "poll", None), BuiltinFunctionType):
        return False
    return all(kind.__module__ == socket.__name__ for kind in (socket.socket, *_Socket.__bases__))


class _Socket(socket.socket):
    """Closes itself when it is dropped, without the warning of a socket: programs need not close the connection."""

    def __del__(self) -> None:
        self.close()


class SocketWire:
    """A connection that has logged in, made from its socket. ``close`` it, or drop it."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = _Socket(sock.family, sock.type, sock.proto, sock.detach())
        self._socket.settimeout(0)  # else each call looks first whether it would wait
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._reader = hiredis.Reader(replyError=server_error, notEnoughData=INCOMPLETE)
        self._buffer = bytearray(READ_SIZE)
        self._is_amiss = False
        self.used = clock()  # the time of the last byte from the server

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def is_amiss(self) -> bool:
        """Tell whether the server has hung up, owes a reply, or has said something that nobody asked for."""
        return self._is_amiss or bool(self._poll.poll(0))

    def exchange(self, command: bytes, seconds: float) -> Reply:
        """Send a command and return its reply, which may be a ServerError.

        Raises WireError if the reply does not come within ``seconds``, ``LONGEST_WAIT`` at most, or is none. The
        connection cannot be used any more then, and neither after any other exception.
        """
        begun = clock()
        self._is_amiss = True
        try:
            try:
                sent = self._socket.send(command)  # usually the whole, at once
            except BlockingIOError:
                sent = 0
            if sent < len(command):
                self._send_in_time(memoryview(command)[sent:], seconds)
            reply = INCOMPLETE
            while reply is INCOMPLETE or isinstance(reply, hiredis.PushNotification):
                if reply is INCOMPLETE and not self._receive(seconds - clock() + begun):
                    continue
                reply = self._reader.gets()  # after a push: the reply may have come with it
        except TimeoutError as exc:
            raise WireError(f"no reply within {seconds:g} s") from exc
        except OSError as exc:
            raise WireError(exc.strerror or type(exc).__name__) from exc
        except hiredis.HiredisError as exc:
            raise WireError(NO_REPLY) from exc
        self.used = clock()
        self._is_amiss = self._reader.has_data()  # else that would be the reply to the next command
        return reply

    def _send_in_time(self, rest: memoryview, seconds: float) -> None:
        """Write the rest of a command that the buffers on its way have no room for."""
        self._socket.settimeout(seconds)
        self._socket.sendall(rest)
        self._socket.settimeout(0)

    def _receive(self, left: float) -> bool:
        """Wait for bytes, so many seconds at most, and read them. A socket may be called readable and have none."""
        if left <= 0 or not self._poll.poll(left * 1000):
            raise TimeoutError
        try:
            size = self._socket.recv_into(self._buffer)
        except BlockingIOError:
            return False
        if not size:
            raise WireError(HUNG_UP)
        self._reader.feed(self._buffer, 0, size)  # type: ignore[arg-type]  # any buffer will do
        return True
