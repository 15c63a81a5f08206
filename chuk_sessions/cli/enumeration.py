"""All keys of a deployment that may be sessions, by SCAN on each of its servers. Memory stays bounded by the batch.

In a cluster slots may move meanwhile, and keys with them. So that each key that is there all the time is found:

* A server whose slots, or whose epoch, are not the same after its SCAN as before is looked through again.
* Of a slot that is on its way, keys go from one server to the other only. Who gives is looked through before who
  takes: those who take come last, and twice, as they may give too.

A key may come more than once then. That a slot leaves its server and is back before it has been looked through shows in
the epoch, as long as it moved the way that redis-cli moves it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from chuk_sessions.exceptions import NotSent, OutcomeUnknown, ProviderError
from chuk_sessions.providers.redis.keys import ALL_SESSIONS
from chuk_sessions.redis_client.commands import Replay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from chuk_sessions.redis_client.client import Client
    from chuk_sessions.redis_client.master import Master

__all__ = ["count_keys", "session_keys"]

ROUNDS = 100  # of looking at servers whose slots moved, before it is given up
TAKES = "-<-"  # in what a server says of itself: a slot on its way to it

Keys = list[tuple[bytes, bytes]]


async def count_keys(client: Client) -> int:
    """How many keys there are, of whatever kind. Raises as ``Client.call``."""
    masters = await client.masters()
    return sum(await asyncio.gather(*(master.call(b"DBSIZE", replay=Replay.READ) for master in masters)))


async def session_keys(client: Client, batch: int) -> AsyncIterator[Keys]:
    """All keys that may be sessions, with their types, about ``batch`` at a time; some may come twice.

    Keys that are there all the time come for certain, others may. Raises ProviderError as ``Client.call``, and if the
    slots of a cluster move without end.
    """
    seen: dict[str, str] = {}  # address to what the server owned when it was looked through
    for _ in range(ROUNDS):
        owned = {master: await master.ownership() for master in await client.masters()}
        changed = [master for master, slots in owned.items() if seen.get(master.address) != slots]
        if not changed:
            return
        takers = [master for master in changed if TAKES in owned[master]]
        givers = [master for master in changed if TAKES not in owned[master]]
        for master in (*givers, *takers, *takers):
            async for keys in _keys_of(client, master, batch):
                yield keys
            seen[master.address] = owned[master]
    raise ProviderError("the slots of the cluster went on moving, so that sessions may have been missed; run it again")


async def _keys_of(client: Client, master: Master, batch: int) -> AsyncIterator[Keys]:
    """Those of one server; it ends early if the server is none any more: its slots are elsewhere then."""
    cursor = b"0"
    while True:
        try:
            cursor, keys = await master.call(
                b"SCAN", cursor, b"MATCH", ALL_SESSIONS, b"COUNT", batch, replay=Replay.READ
            )
        except (NotSent, OutcomeUnknown):
            if master.address in [other.address for other in await client.masters()]:
                raise
            return
        types = await asyncio.gather(*(client.call(b"TYPE", key, replay=Replay.READ) for key in keys))
        if keys:
            yield list(zip(keys, types, strict=True))
        if cursor == b"0":
            return
