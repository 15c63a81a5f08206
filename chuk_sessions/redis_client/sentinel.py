"""Which server is the master now: Sentinels know, and the server itself must agree.

https://redis.io/docs/latest/develop/reference/sentinel-clients/ is the source of the steps: ask the Sentinels in turn,
connect to what the first says, and believe it only if ROLE there says ``master``.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

from chuk_sessions.exceptions import NotSent, ProviderError, ReadOnlyError, ServerError
from chuk_sessions.redis_client.config import Address, RedisConfig
from chuk_sessions.redis_client.connection import Command, Connection, settle_with_error
from chuk_sessions.redis_client.node import Node
from chuk_sessions.redis_client.transport import OnLost, open_connection

__all__ = ["Sentinels", "leave_a_replica"]

PATIENCE = 1.0  # seconds for a Sentinel to answer, and between two questions while a master does not answer


class Sentinels:
    """Makes connections to the master of ``config``. Asks first the Sentinel that was of use last time."""

    def __init__(self, config: RedisConfig, loop: asyncio.AbstractEventLoop) -> None:
        self._config = config
        self._loop = loop
        self._order = list(config.hosts)

    async def connect(self, on_lost: OnLost) -> Connection:
        """A connection to the master, as the Sentinels name it; if they name another meanwhile, to that.

        Raises NotSent that says what each Sentinel answered, or why the master cannot be used.
        """
        address = await self._ask()
        attempt = self._loop.create_task(self._open(address, on_lost))
        try:
            while not (await asyncio.wait([attempt], timeout=PATIENCE))[0]:
                newer = address
                with suppress(ProviderError):  # nobody to ask: this attempt may still succeed
                    newer = await self._ask()
                if newer != address:
                    await _give_up(attempt)
                    address, attempt = newer, self._loop.create_task(self._open(newer, on_lost))
        except BaseException:
            await _give_up(attempt)
            raise
        try:
            return attempt.result()
        except ProviderError:
            self._order.append(self._order.pop(0))  # that Sentinel may lag behind the others
            raise

    async def _ask(self) -> Address:
        reasons = []
        for sentinel in list(self._order):
            try:
                address = await self._ask_one(sentinel)
            except ProviderError as exc:
                reasons.append(str(exc))
            else:
                self._order.remove(sentinel)
                self._order.insert(0, sentinel)
                return address
        raise NotSent(f"no Sentinel could name the master {self._config.master!r}: {'; '.join(reasons)}")

    async def _ask_one(self, sentinel: Address) -> Address:
        config = self._config.of_sentinel(sentinel)
        config = replace(config, connect_timeout=min(PATIENCE, config.connect_timeout))
        connection = await open_connection(config, self._loop, _drop)
        try:
            question = connection.request(b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", self._config.master or "")
            async with asyncio.timeout(config.connect_timeout):
                reply = await question
        except TimeoutError:
            raise NotSent(f"no answer from the Sentinel at {config.address}") from None
        except ServerError as exc:
            raise NotSent(f"the Sentinel at {config.address} says {exc}") from exc
        finally:
            connection.abort("the question was answered")
        if not reply:
            raise NotSent(f"the Sentinel at {config.address} knows no master of that name")
        return reply[0].decode(), int(reply[1])

    async def _open(self, address: Address, on_lost: OnLost) -> Connection:
        config = self._config.at(address)
        connection = await open_connection(config, self._loop, on_lost)
        try:
            async with asyncio.timeout(config.connect_timeout):
                role = await connection.request(b"ROLE")
            if role[0] != b"master":
                raise NotSent("it is a replica, though the Sentinels name it")
        except BaseException as exc:
            connection.abort("it is not used")
            if isinstance(exc, (ProviderError, TimeoutError)):
                reason = str(exc) or "no answer"
                raise NotSent(f"cannot use {config.address} as {self._config.address}: {reason}") from exc
            raise
        return connection


async def _give_up(attempt: asyncio.Task[Connection]) -> None:
    """End an attempt; also one that has just succeeded, with a connection that nobody will use."""
    attempt.cancel()
    await asyncio.wait([attempt])
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().abort("it is not used")


def _drop(_: Connection, sent: list[Command], unsent: list[Command]) -> None:
    for command in sent + unsent:
        if not command[0].done():
            command[0].set_exception(NotSent("the Sentinel closed the connection"))


def leave_a_replica(node: Node, command: Command, error: ServerError) -> None:
    """On an error reply: a master that became a replica is left, and the Sentinels are asked again."""
    if isinstance(error, ReadOnlyError):
        node.leave(command, "it is a replica now")
    else:
        settle_with_error(command, error)
