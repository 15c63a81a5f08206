"""What an operation costs where no clock is needed: what it sends to a server, and whether it suspends."""

from __future__ import annotations

import socket
from collections.abc import Coroutine
from typing import Any

import pytest

from chuk_sessions.redis_client import client
from chuk_sessions.redis_client.direct import NO_LOOP, Direct

__all__ = ["Wire", "forget_direct", "hear", "run_without_suspending", "take_command"]


def run_without_suspending(operation: Coroutine[Any, Any, Any]) -> Any:
    """Its result; AssertionError if it yields to the event loop even once."""
    try:
        operation.send(None)
    except StopIteration as done:
        return done.value
    operation.close()
    raise AssertionError("the operation gave control to the event loop")


class Wire:
    """What this process sends to one port, write by write."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def clear(self) -> None:
        self.writes.clear()

    @property
    def size(self) -> int:
        return sum(map(len, self.writes))

    @property
    def commands(self) -> list[str]:
        """The names of the commands, in order."""
        rest, found = b"".join(self.writes), []
        while rest:
            parts, rest = take_command(rest)
            found.append(parts[0].decode())
        return found


def take_command(data: bytes) -> tuple[list[bytes], bytes]:
    """The first command of a stream, and the rest."""
    head, rest = data.split(b"\r\n", 1)
    parts = []
    for _ in range(int(head.removeprefix(b"*"))):
        size, rest = rest.split(b"\r\n", 1)
        length = int(size.removeprefix(b"$"))
        parts.append(rest[:length])
        rest = rest[length + 2 :]
    return parts, rest


def hear(port: int, monkeypatch: pytest.MonkeyPatch) -> Wire:
    """Every send of this process to that port: event loops of asyncio, and blocking calls, send by these methods alone.

    Blocking calls make all their commands in an event loop meanwhile: when they would get a connection beside that
    depends on the threads.
    """
    found = Wire()
    send, sendall, sendmsg = socket.socket.send, socket.socket.sendall, socket.socket.sendmsg

    def counted_send(sock: socket.socket, data: Any, *flags: int) -> int:
        sent = send(sock, data, *flags)
        _record(found, sock, port, bytes(data)[:sent])
        return sent

    def counted_sendall(sock: socket.socket, data: Any, *flags: int) -> None:
        sendall(sock, data, *flags)
        _record(found, sock, port, bytes(data))

    def counted_sendmsg(sock: socket.socket, buffers: Any, *more: Any) -> int:
        data = b"".join(bytes(buffer) for buffer in buffers)
        sent = sendmsg(sock, [data], *more)
        _record(found, sock, port, data[:sent])
        return sent

    monkeypatch.setattr(socket.socket, "send", counted_send)
    monkeypatch.setattr(socket.socket, "sendall", counted_sendall)
    monkeypatch.setattr(socket.socket, "sendmsg", counted_sendmsg)
    forget_direct()
    monkeypatch.setattr(Direct, "_may_open", lambda self: False)
    return found


def forget_direct() -> None:
    """Close the connections that blocking calls use in the threads of their callers."""
    for each in list(client._clients):
        each._opened.pop(NO_LOOP, None)


def _record(wire: Wire, sock: socket.socket, port: int, data: bytes) -> None:
    if sock.family in (socket.AF_INET, socket.AF_INET6) and sock.getpeername()[1] == port:
        wire.writes.append(data)
