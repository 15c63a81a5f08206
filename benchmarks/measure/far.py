"""A server that is a network away: a process that forwards bytes both ways, each late by ``DELAY``.

A data centre has some 0.3 ms from one rack to another. The timeout of ``select`` is in microseconds where that of
``epoll`` is in milliseconds. The delay is the same for all bytes, so that they wait in one queue.
"""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

__all__ = ["DELAY", "far"]

DELAY = 0.0003  # seconds, each way
PIECE = 1 << 16


@contextmanager
def far(host: str, port: int) -> Iterator[str]:
    """The URL of the server as it is from far away."""
    with subprocess.Popen(
        [sys.executable, "-m", __name__, host, str(port)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield f"redis://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def forward(listening: socket.socket, target: tuple[str, int]) -> NoReturn:
    """Forward every connection, until the process is killed."""
    ends: dict[socket.socket, socket.socket] = {}  # each end of a connection, with the other one
    late: deque[tuple[float, socket.socket, bytes]] = deque()  # when, to whom, what; no bytes: the end
    while True:
        wait = max(0.0, late[0][0] - time.monotonic()) if late else None
        for sock in select.select([listening, *ends], [], [], wait)[0]:
            if sock is listening:
                near, away = listening.accept()[0], socket.create_connection(target)
                for end, other in ((near, away), (away, near)):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    ends[end] = other
                continue
            data = _received(sock)
            if sock in ends:
                late.append((time.monotonic() + DELAY, ends[sock], data))
            if not data:
                ends.pop(sock, None)
        while late and late[0][0] <= time.monotonic():
            _, sock, data = late.popleft()
            _send(sock, data)


def _received(sock: socket.socket) -> bytes:
    try:
        return sock.recv(PIECE)
    except OSError:
        return b""


def _send(sock: socket.socket, data: bytes) -> None:
    try:
        if data:
            sock.sendall(data)
        else:
            sock.shutdown(socket.SHUT_WR)
    except OSError:
        return  # it is gone, and its own end will be read


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        forward(server, (sys.argv[1], int(sys.argv[2])))
