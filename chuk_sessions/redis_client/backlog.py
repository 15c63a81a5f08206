"""Counts bytes that were written and have not reached the other end: if they become fewer, the peer lives."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from contextlib import suppress

if sys.platform != "win32":
    from fcntl import ioctl
    from termios import TIOCOUTQ

__all__ = ["WORTH_A_LOOK", "backlog"]

WORTH_A_LOOK = 1 << 16  # bytes: fewer may have been written just now, and a peer that hangs takes so many too


def backlog(transport: asyncio.Transport) -> int:
    """Count the bytes in the transport's buffer and those in the system that the peer has not acknowledged yet."""
    held = transport.get_write_buffer_size()
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sys.platform != "win32" and sock is not None:
        with suppress(OSError, ValueError):  # Linux: man 7 tcp, SIOCOUTQ; other systems add nothing
            held += struct.unpack("i", ioctl(sock.fileno(), TIOCOUTQ, struct.pack("i", 0)))[0]
    return held
