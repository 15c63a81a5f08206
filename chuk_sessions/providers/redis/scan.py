"""All sessions of a sandbox on Redis, a page at a time: SCAN on every master.

SCAN promises what is there from its beginning to its end, for one server with one key space. Where that does not hold
(a slot moved between masters, a replica took over, the server was restarted), the round is done again: a session may
come more than once, and none is left out that was there all the time under one id.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from chuk_sessions.exceptions import ProviderError
from chuk_sessions.providers.redis.keys import id_in_key, sessions_of
from chuk_sessions.redis_client.commands import NO_SLOT, Argument, Replay, Reply, pack
from chuk_sessions.redis_client.master import must_have_all

if TYPE_CHECKING:
    from chuk_sessions.redis_client.client import Client
    from chuk_sessions.redis_client.node import Node

__all__ = ["Scan"]

ROUNDS = 10  # after so many that something came between, it is said that it cannot be done now


class Scan:
    """One walk over the keys of a sandbox. Errors are those of ``Client.call``."""

    def __init__(self, client: Client, quoted_sandbox: str, batch: int) -> None:
        self._client = client
        self._sandbox = quoted_sandbox
        self._batch = batch

    async def pages(self) -> AsyncIterator[list[str]]:
        """The ids in all rounds, page by page."""
        async for _, page in self.rounds():
            yield page

    async def rounds(self) -> AsyncIterator[tuple[int, list[str]]]:
        """Each page with the number of its round: only the last round is one whole walk."""
        for number in range(ROUNDS):
            deployment = self._client.deployment()
            masters = await deployment.masters()
            if not deployment.is_cluster:
                await must_have_all(masters[0])
            before = await _layout(masters, deployment.is_cluster)
            for node in masters:
                async for page in self._pages_of(node):
                    yield number, page
            after = await deployment.masters()
            if before is not None and after == masters and await _layout(after, deployment.is_cluster) == before:
                return
        raise ProviderError(f"the servers changed during each of {ROUNDS} walks over their keys; try again")

    async def _pages_of(self, node: Node) -> AsyncIterator[list[str]]:
        pattern = sessions_of(self._sandbox)
        cursor = b"0"
        while True:
            cursor, keys = await _ask(node, b"SCAN", cursor, b"MATCH", pattern, b"COUNT", self._batch)
            ids = [id_in_key(self._sandbox, key) for key in dict.fromkeys(keys)]
            yield [session_id for session_id in ids if session_id is not None]
            if cursor == b"0":
                return


async def _layout(masters: list[Node], in_cluster: bool) -> list[tuple[int, bytes]] | None:
    """What is the same again if nothing came between; None while a slot is on its way."""
    lines = await asyncio.gather(*map(_claim, masters)) if in_cluster else [b""]
    if any(b"[" in line for line in lines):
        return None
    return [(node.reconnects, line) for node, line in zip(masters, lines, strict=True)]


async def _claim(node: Node) -> bytes:
    """What a master says of itself: its epoch, its slots, and those that move."""
    text: bytes = await _ask(node, b"CLUSTER", b"NODES")
    mine = next((line.split() for line in text.splitlines() if b"myself" in line), [])
    return b" ".join(part for number, part in enumerate(mine) if number not in CHANGING)


CHANGING = (4, 5)  # when it was last heard of, in the output of CLUSTER NODES


def _ask(node: Node, *args: Argument) -> asyncio.Future[Reply]:
    future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    node.send(future, pack(args), Replay.READ, NO_SLOT)
    return future
