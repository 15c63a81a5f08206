"""How many bytes have been written and have not reached the other end: if they become fewer, the peer lives."""

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

WORTH_A_LOOK = 1 << 16  # bytes: less may be what was written a moment ago, and a peer that hangs takes that much too


def backlog(transport: asyncio.Transport) -> int:
    """Bytes that the transport holds, and those that the system holds until the peer's system has acknowledged them."""
    held = transport.get_write_buffer_size()
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sys.platform != "win32" and sock is not None:
        with suppress(OSError, ValueError):  # Linux: man 7 tcp, SIOCOUTQ; where there is no such thing, it is not added
            held += struct.unpack("i", ioctl(sock.fileno(), TIOCOUTQ, struct.pack("i", 0)))[0]
    return held
