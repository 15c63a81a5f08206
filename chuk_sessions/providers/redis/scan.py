"""All keys of a deployment that fit a pattern, a page at a time: SCAN on each of its servers.

SCAN promises the keys that are there from its beginning to its end, for one server with one key space. So that no key
is left out that is there all the time, whatever else happens meanwhile:

* A server is looked through again if its slots, its epoch or the connection to it are not the same after its SCAN as
  before. A server that was restarted, and a replica that took over, know nothing of a cursor.
* Of a slot that is on its way, keys go from one server to the other only. The server that gives is looked through
  before the one that takes: those that take come last, and twice, as they may give too.

A key may come more than once then. That a slot leaves its server and is back before it has been looked through shows in
the epoch, as long as it moved the way that redis-cli moves it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import count
from typing import TYPE_CHECKING

from chuk_sessions.exceptions import NotSent, OutcomeUnknown, ProviderError
from chuk_sessions.redis_client.commands import Replay, Reply
from chuk_sessions.redis_client.replies import SHAPES, unknown_shape

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from chuk_sessions.redis_client.client import Client
    from chuk_sessions.redis_client.master import Master, Ownership

__all__ = ["Walk"]

ROUNDS = 100  # of looking at the servers that changed, before it is given up
ROUNDS_AT_REST = 10  # likewise, where a slot that is on its way counts as a change too

Passes = dict[str, tuple[int, "Ownership"]]  # by address: the number of its last SCAN, and what the server had before


class Walk:
    """One walk over the keys that fit ``pattern``, about ``batch`` at a time; pages without any are left out.

    Raises as ``Client.call``, and ProviderError if slots move, or servers are lost, without end.
    """

    def __init__(self, client: Client, pattern: bytes, batch: int) -> None:
        self._client = client
        self._pattern = pattern
        self._batch = batch

    async def pages(self) -> AsyncIterator[list[bytes]]:
        """Each key that is there all the time at least once; others may come too."""
        async for _, keys in self._pages({}, ROUNDS):
            yield keys

    async def total(self, of: Callable[[list[bytes]], Awaitable[int]]) -> int:
        """Add up what ``of`` gives for pages that together have each key once, though it is asked about others too.

        Such pages cannot be had while a slot is on its way: as the keys in it move, they come from both its servers.
        """
        passes: Passes = {}
        totals = Counter[int]()
        async for number, keys in self._pages(passes, ROUNDS_AT_REST, at_rest=True):
            totals[number] += await of(keys)
        return sum(totals[number] for number, _ in passes.values())

    async def _pages(
        self, passes: Passes, rounds: int, at_rest: bool = False
    ) -> AsyncIterator[tuple[int, list[bytes]]]:
        """Each page with the number of its SCAN; at the end, those in ``passes`` are one whole walk."""
        numbers = count()
        for _ in range(rounds):
            masters = await self._client.masters()
            owned = dict(zip(masters, await asyncio.gather(*(each.ownership() for each in masters)), strict=True))
            addresses = {master.address for master in masters}
            for address in passes.keys() - addresses:
                del passes[address]
            changed = [
                master
                for master, has in owned.items()
                if passes.get(master.address, (0, None))[1] != has or (at_rest and has.is_moving)
            ]
            if not changed:
                return
            takers = [master for master in changed if owned[master].is_taking]
            givers = [master for master in changed if not owned[master].is_taking]
            for master in (*givers, *takers, *takers):
                number = next(numbers)
                passes[master.address] = (number, owned[master])
                async for keys in self._scan(master):
                    yield number, keys
        raise ProviderError(
            f"slots went on moving, or servers were lost, {rounds} times while all keys were gone through,"
            " so that sessions may have been missed; try again"
        )

    async def _scan(self, master: Master) -> AsyncIterator[list[bytes]]:
        """Those of one server; it ends early if the server is none any more: its slots are elsewhere then."""
        cursor = b"0"
        while True:
            try:
                reply = await master.call(
                    b"SCAN", cursor, b"MATCH", self._pattern, b"COUNT", self._batch, replay=Replay.READ
                )
            except (NotSent, OutcomeUnknown):
                if master.address in [other.address for other in await self._client.masters()]:
                    raise
                return
            cursor, keys = _page(reply)
            if keys:
                yield keys
            if cursor == b"0":
                return


def _page(reply: Reply) -> tuple[bytes, list[bytes]]:
    """Where to go on, and the keys. Raises ProviderError for a reply of another shape."""
    try:
        cursor, keys = reply
        if isinstance(cursor, bytes) and cursor.isdigit() and all(isinstance(key, bytes) for key in keys):
            return cursor, list(dict.fromkeys(keys))
    except SHAPES as exc:
        raise unknown_shape("SCAN") from exc
    raise unknown_shape("SCAN")
