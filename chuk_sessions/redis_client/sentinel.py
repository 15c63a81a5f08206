"""Finds the server that is the master now: Sentinels name it, and the server itself must agree.

The steps follow https://redis.io/docs/latest/develop/reference/sentinel-clients/: ask the Sentinels in turn, connect to
the server that one names, and accept it only if its ROLE is ``master``. A Sentinel that lags behind does not stop this.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

from chuk_sessions.exceptions import NotSent, ProviderError, ServerError
from chuk_sessions.redis_client.commands import Command
from chuk_sessions.redis_client.config import Address, RedisConfig, shown
from chuk_sessions.redis_client.connection import Connection
from chuk_sessions.redis_client.dial import OnLost, answer_within, open_connection
from chuk_sessions.redis_client.node import Node
from chuk_sessions.redis_client.outcomes import settle_with_error
from chuk_sessions.redis_client.race import give_up
from chuk_sessions.redis_client.replies import REPLICA_CODES, SHAPES, UnknownCommandError

__all__ = ["Sentinels", "leave_a_replica"]

PATIENCE = 1.0  # seconds for a Sentinel to answer, and between two questions while a master does not answer


class Sentinels:
    """Makes connections to the master of ``config``. It first asks the Sentinel whose answer was used last."""

    def __init__(self, config: RedisConfig, loop: asyncio.AbstractEventLoop) -> None:
        self._config = config
        self._loop = loop
        self._order = list(config.hosts)

    async def connect(self, on_lost: OnLost) -> Connection:
        """Connect to the master: try each server that a Sentinel names, until one can be used.

        Raises NotSent with the reasons why the named servers cannot be used, and the answers of the other Sentinels.
        """
        unusable: dict[Address, str] = {}
        while True:
            address = await self._ask(unusable)
            try:
                return await self._try(address, unusable, on_lost)
            except ProviderError as exc:
                unusable[address] = str(exc)

    async def _try(self, address: Address, unusable: dict[Address, str], on_lost: OnLost) -> Connection:
        """Connect to ``address``, as long as no Sentinel names another master."""
        attempt = self._loop.create_task(self._open(address, on_lost))
        try:
            while not (await asyncio.wait([attempt], timeout=PATIENCE))[0]:
                named = address
                with suppress(ProviderError):  # no Sentinel answers: this attempt may still succeed
                    named = await self._ask(unusable)
                if named != address:
                    raise NotSent(f"{shown(address)} did not answer before another was named")
        except BaseException:
            await give_up([attempt])
            raise
        connection = attempt.result()
        if connection.lost.done():  # lost since it was made: no callback would report it
            raise NotSent(f"cannot connect to Redis at {shown(address)}: {connection.reason}")
        return connection

    async def _ask(self, unusable: dict[Address, str]) -> Address:
        """Return the first server that a Sentinel names and that is not known to be unusable."""
        reasons = list(unusable.values())
        for sentinel in list(self._order):
            try:
                address = await self._ask_one(sentinel)
            except ProviderError as exc:
                reasons.append(str(exc))
                continue
            if address not in unusable:
                self._order.remove(sentinel)
                self._order.insert(0, sentinel)
                return address
        raise NotSent(f"no Sentinel names a master {self._config.master!r} that can be used: {'; '.join(reasons)}")

    async def _ask_one(self, sentinel: Address) -> Address:
        config = self._config.of_sentinel(sentinel)
        config = replace(config, connect_timeout=min(PATIENCE, config.connect_timeout))
        connection = await open_connection(config, self._loop, _drop)
        try:
            question = connection.request(b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", self._config.master or "")
            reply = await answer_within(config.connect_timeout, question)
            if not reply:
                raise NotSent(f"the Sentinel at {config.address} knows no master of that name")
            return reply[0].decode(), int(reply[1])
        except TimeoutError:
            raise NotSent(f"no answer from the Sentinel at {config.address}") from None
        except ServerError as exc:
            is_other = isinstance(exc, UnknownCommandError)
            hint = "; a name in the path of the Redis URL means Sentinel" if is_other else ""
            raise NotSent(f"the Sentinel at {config.address} says {exc}{hint}") from exc
        except SHAPES:
            raise NotSent(f"the Sentinel at {config.address} gave an answer of an unknown shape") from None
        finally:
            connection.abort("the question was answered")

    async def _open(self, address: Address, on_lost: OnLost) -> Connection:
        config = self._config.at(address)
        connection = await open_connection(config, self._loop, on_lost)
        try:
            role = await answer_within(config.connect_timeout, connection.request(b"ROLE"))
            if not isinstance(role, list) or role[:1] != [b"master"]:
                raise NotSent("it is a replica, though a Sentinel names it")
        except BaseException as exc:
            connection.abort("it is not used")
            if isinstance(exc, (ProviderError, TimeoutError)):
                reason = str(exc) or "no answer"
                raise NotSent(f"cannot use {config.address} as {self._config.address}: {reason}") from exc
            raise
        return connection


def _drop(_: Connection, sent: list[Command], unsent: list[Command]) -> None:
    for command in sent + unsent:
        if not command[0].done():
            command[0].set_exception(NotSent("the Sentinel closed the connection"))


def leave_a_replica(node: Node, command: Command, error: ServerError) -> None:
    """Handle an error reply: leave a master that became a replica or is cut off, and ask the Sentinels again.

    After any of the three errors nothing was done, also by a script: its first write gets the error. A rightful master
    whose replicas are away also answers ``NOREPLICAS``. So if the connection is quite new, and the Sentinels have just
    named that server, the caller gets the error.
    """
    if error.code in REPLICA_CODES:
        node.leave(command, "it is a replica now")
    elif error.code == "NOREPLICAS" and node.may_renew():
        node.leave(command, "it has lost its replicas: another may be the master now")
    else:
        settle_with_error(command, error)
