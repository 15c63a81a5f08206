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
from chuk_sessions.redis_client.watchdog import TICKS, clock

__all__ = ["SocketWire", "WireError", "can_be_polled"]

READ_SIZE = 1 << 16  # bytes that are read at once
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
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._reader = hiredis.Reader(replyError=server_error, notEnoughData=INCOMPLETE)
        self._buffer = bytearray(READ_SIZE)
        self._seconds = -1.0  # the time limit of the socket
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

        Raises WireError if the reply does not come within ``seconds``, or by a twentieth later, or is none. The
        connection cannot be used any more then, and neither after any other exception.
        """
        begun = clock()
        self._is_amiss = True
        try:
            self._limit(seconds)
            self._socket.sendall(command)
            while (reply := self._reader.gets()) is INCOMPLETE or isinstance(reply, hiredis.PushNotification):
                if reply is not INCOMPLETE:
                    continue  # the reply may have come with it
                self._limit(seconds, clock() - begun)
                size = self._socket.recv_into(self._buffer)
                if not size:
                    raise WireError(HUNG_UP)
                self._reader.feed(self._buffer, 0, size)  # type: ignore[arg-type]  # any buffer will do
        except TimeoutError as exc:
            raise WireError(f"no reply within {seconds:g} s") from exc
        except OSError as exc:
            raise WireError(exc.strerror or type(exc).__name__) from exc
        except hiredis.HiredisError as exc:
            raise WireError(NO_REPLY) from exc
        self.used = clock()
        self._is_amiss = self._reader.has_data()  # else that would be the reply to the next command
        return reply

    def _limit(self, seconds: float, passed: float = 0.0) -> None:
        """Limit what the next step may take. Raises TimeoutError if the time is up."""
        if passed > seconds / TICKS:  # less is not worth a system call
            seconds -= passed
            if seconds <= 0:
                raise TimeoutError
        if seconds != self._seconds:
            self._socket.settimeout(seconds)
            self._seconds = seconds
