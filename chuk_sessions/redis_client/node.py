"""One server, as seen from one event loop: connects when there is something to send, and again when that was lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress

from chuk_sessions.exceptions import NotSent, ProviderError
from chuk_sessions.redis_client.connection import Argument, Command, Connection, Reply, pack
from chuk_sessions.redis_client.url import RedisConfig

__all__ = ["Node"]


class Node:
    """Sends commands to one server over at most one connection, which is made by at most one attempt at a time.

    Must be made and used inside ``loop``. When the loop shuts its asynchronous generators down, as ``asyncio.run``
    does at its end, the node closes itself and calls ``on_close``.
    """

    def __init__(self, config: RedisConfig, loop: asyncio.AbstractEventLoop, on_close: Callable[[Node], None]) -> None:
        self._config = config
        self._loop = loop
        self._on_close = on_close
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._waiting: list[Command] = []
        self._closed = False
        self._guard = self._close_at_shutdown()
        with suppress(StopIteration):  # it now stands at its yield, known to the loop
            self._guard.__anext__().send(None)

    def __repr__(self) -> str:
        state = "closed" if self._closed else "connecting" if self._connecting else "up" if self._connection else "new"
        return f"<Node {self._config.address} {state} waiting={len(self._waiting)}>"

    def call(self, args: tuple[Argument, ...]) -> asyncio.Future[Reply]:
        """Send one command; a future with its reply, or one of the errors of ``Client.call``."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        command = (future, pack(args))
        if self._connection is not None:
            self._connection.send(command)
        else:
            self._waiting.append(command)
            self._connect_if_needed()
        return future

    async def close(self) -> None:
        """End the connection and settle every command."""
        if self._closed:
            return
        self._closed = True
        self._on_close(self)
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        if self._connection is not None:
            self._connection.abort("the event loop is shutting down")
            await asyncio.wait([self._connection.lost])
        self._fail_waiting("the event loop is shutting down")

    async def _close_at_shutdown(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await self.close()

    def _connect_if_needed(self) -> None:
        if self._connecting is None and not self._closed:
            self._connecting = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            connection = await open_connection(self._config, self._loop, self._lost)
        except ProviderError as exc:
            self._fail_waiting(str(exc))
        except BaseException:
            self._fail_waiting(f"connecting to Redis at {self._config.address} was given up")
            raise
        else:
            self._connection = connection
            waiting, self._waiting = self._waiting, []
            for command in waiting:
                connection.send(command)
        finally:
            self._connecting = None

    def _lost(self, connection: Connection, unsent: list[Command]) -> None:
        if connection is not self._connection:  # it did not get beyond the handshake: nothing of callers is on it
            _fail(unsent, "the connection was lost during the handshake")
            return
        self._connection = None
        self._waiting += [command for command in unsent if not command[0].done()]
        if self._waiting:
            self._connect_if_needed()

    def _fail_waiting(self, reason: str) -> None:
        waiting, self._waiting = self._waiting, []
        _fail(waiting, reason)


def _fail(commands: list[Command], reason: str) -> None:
    for future, _ in commands:
        if not future.done():
            future.set_exception(NotSent(reason))


async def open_connection(
    config: RedisConfig,
    loop: asyncio.AbstractEventLoop,
    on_lost: Callable[[Connection, list[Command]], None],
) -> Connection:
    """A connection that has logged in and chosen its database.

    Raises NotSent that names the server and the reason: refused, no answer within the connect timeout, wrong password.
    """
    connection = Connection(loop, config.address, on_lost)
    try:
        async with asyncio.timeout(config.connect_timeout):
            await loop.create_connection(lambda: connection, config.host, config.port)
            await _log_in(connection, config)
        if connection.lost.done():
            raise NotSent("the server closed the connection at once")
    except TimeoutError:
        reason = f"no answer within {config.connect_timeout:g} s"
    except OSError as exc:
        reason = exc.strerror or str(exc)
    except ProviderError as exc:
        reason = str(exc)
    except BaseException:
        connection.abort("connecting was given up")
        raise
    else:
        return connection
    connection.abort(reason)
    raise NotSent(f"cannot connect to Redis at {config.address}: {reason}")


async def _log_in(connection: Connection, config: RedisConfig) -> None:
    requests = []
    if config.password is not None:
        user = () if config.username is None else (config.username,)
        requests.append(connection.request(b"AUTH", *user, config.password))
    if config.db:
        requests.append(connection.request(b"SELECT", config.db))
    replies = await asyncio.gather(*requests, return_exceptions=True)
    for reply in replies:
        if isinstance(reply, BaseException):
            raise reply
