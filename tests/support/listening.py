"""Servers that tests write themselves: whichever way a test ends, no connection is left to the loop that ends after.

asyncio.start_server is not used: it accepts in a task of its own, which loses the connection if the server is closed
meanwhile, and a task that is cancelled before its first step closes nothing.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    *,
    port: int = 0,
    receive_buffer: int | None = None,
    limit: int = 1 << 16,
) -> AbstractAsyncContextManager[str]:
    """Have ``serve`` talk on each connection, which is closed when it returns; where that is, as ``host:port``.

    Connections that are open at the end are cut. ``receive_buffer`` is of each, in bytes.
    """

    async def serve_and_close(connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection, limit=limit)
        try:
            await serve(reader, writer)
            writer.close()
            await writer.wait_closed()
        finally:
            writer.transport.abort()

    return accepting(serve_and_close, port=port, receive_buffer=receive_buffer)


@asynccontextmanager
async def accepting(
    take: Callable[[socket.socket], Awaitable[None]], *, port: int = 0, receive_buffer: int | None = None
) -> AsyncIterator[str]:
    """Have ``take`` do what it likes with each connection, in a task; where that is, as ``host:port``.

    At the end its tasks are cancelled, and its error is raised if that is none of the network, or noted in the error of
    the test. A transport that it leaves open is aborted by the caller before.
    """
    loop = asyncio.get_running_loop()
    listener = socket.create_server(("127.0.0.1", port))
    listener.setblocking(False)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # connections have it from here
    if receive_buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connections: list[socket.socket] = []
    tasks: list[asyncio.Task[None]] = []

    def accept() -> None:
        with suppress(BlockingIOError, ConnectionAbortedError):
            connection, _ = listener.accept()
            connections.append(connection)
            tasks.append(asyncio.create_task(run(connection)))

    async def run(connection: socket.socket) -> None:
        try:
            await take(connection)
        except TimeoutError:  # of a deadline that it has set itself
            raise
        except OSError:
            pass

    loop.add_reader(listener, accept)
    host, own_port = listener.getsockname()
    failed: BaseException | None = None
    try:
        yield f"{host}:{own_port}"
    except BaseException as error:
        failed = error
        raise
    finally:
        loop.remove_reader(listener)
        listener.close()
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # a transport closes in the turn after it is told to
        for connection in connections:
            connection.close()  # also if its task had not begun
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                if failed is None:
                    raise outcome
                failed.add_note(f"The server of the test has failed too: {outcome!r}")
