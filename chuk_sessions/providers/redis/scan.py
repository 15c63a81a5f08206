"""All keys of a deployment that fit a pattern, a page at a time: SCAN on each of its servers.

SCAN promises the keys that exist from its beginning to its end, for one server with one key space. These rules make
sure that no key which exists all the time is left out, whatever happens meanwhile:

* A server is scanned again if its slots, its epoch or the connection to it changed during its SCAN. A server that was
  restarted, and a replica that took over, do not know the cursor.
* The keys of a moving slot go in one direction: from the server that gives the slot to the server that takes it. The
  giving server is scanned before the taking one. Taking servers are scanned last, and twice, because they may give
  slots too.

So a key may come more than once. If a slot leaves its server and is back before the SCAN ends, the epoch shows it, as
long as the slot was moved in the way of redis-cli.
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
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from chuk_sessions.redis_client.client import Client
    from chuk_sessions.redis_client.master import Master, Ownership

__all__ = ["Walk"]

ROUNDS = 100  # scans of the servers that changed, before the walk is given up
ROUNDS_AT_REST = 10  # the same for a walk in which a moving slot counts as a change too

Passes = dict[str, tuple[int, "Ownership"]]  # by address: the number of the last SCAN, and the ownership before it


class Walk:
    """Walks once over the keys that fit ``pattern``, about ``batch`` at a time; empty pages are left out.

    The errors are those of ``Client.call``, and ProviderError if slots move or servers are lost without end.
    """

    def __init__(self, client: Client, pattern: bytes, batch: int) -> None:
        self._client = client
        self._pattern = pattern
        self._batch = batch

    async def pages(self) -> AsyncGenerator[list[bytes]]:
        """Yield each key that exists all the time, at least once; other keys may come too."""
        async for _, keys in self._pages({}, ROUNDS):
            yield keys

    async def total(self, of: Callable[[list[bytes]], Awaitable[int]]) -> int:
        """Add up the results of ``of`` for pages that together have each key once. ``of`` is called for more pages.

        There are no such pages while a slot is moving: the keys of that slot come from both its servers.
        """
        passes: Passes = {}
        totals = Counter[int]()
        async for number, keys in self._pages(passes, ROUNDS_AT_REST, at_rest=True):
            totals[number] += await of(keys)
        return sum(totals[number] for number, _ in passes.values())

    async def _pages(
        self, passes: Passes, rounds: int, at_rest: bool = False
    ) -> AsyncIterator[tuple[int, list[bytes]]]:
        """Yield each page with the number of its SCAN; at the end, the SCANs in ``passes`` are one whole walk."""
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
        """Yield the keys of one server. End early if it is no master any more: other servers have its slots then."""
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
    """Return the next cursor, and the keys. Raises ProviderError for a reply of another shape."""
    try:
        cursor, keys = reply
        if isinstance(cursor, bytes) and cursor.isdigit() and all(isinstance(key, bytes) for key in keys):
            return cursor, list(dict.fromkeys(keys))
    except SHAPES as exc:
        raise unknown_shape("SCAN") from exc
    raise unknown_shape("SCAN")
