"""The lock of ``migrate``: only one run at a time may move sessions out of a source database."""

from __future__ import annotations

import math
from os import urandom
from typing import TYPE_CHECKING

from chuk_sessions.exceptions import ProviderError
from chuk_sessions.providers.redis.keys import MIGRATE_LOCK
from chuk_sessions.providers.redis.lua import load
from chuk_sessions.redis_client.commands import Replay
from chuk_sessions.redis_client.scripts import Script

if TYPE_CHECKING:
    from chuk_sessions.redis_client.client import Client

__all__ = ["Lock"]

LOCK_MILLISECONDS = 60_000  # longer than any batch takes; a killed run blocks the next run for this long

RENEW = Script(load("migrate_renew_lock"))
UNLOCK = Script(load("migrate_unlock"))


class Lock:
    """The lock of one source database, held by one run."""

    def __init__(self, client: Client, token: bytes) -> None:
        self._client = client
        self._token = token

    @classmethod
    async def take(cls, client: Client) -> Lock:
        """Take the lock. Raises ProviderError if another run has it, or was killed while it had it."""
        token = urandom(16).hex().encode()
        if await client.call(b"SET", MIGRATE_LOCK, token, b"NX", b"PX", LOCK_MILLISECONDS) is None:
            left: int = await client.call(b"PTTL", MIGRATE_LOCK, replay=Replay.READ)
            raise ProviderError(
                "another migration from this database is running, or was killed. The lock of a killed migration expires"
                f" in {max(1, math.ceil(left / 1000))} s: wait that long and run it again. If you know that no"
                f" migration is running, you may delete the key {MIGRATE_LOCK.decode()} instead"
            )
        return cls(client, token)

    async def renew(self) -> None:
        """Keep the lock for another minute. Raises ProviderError if it has expired meanwhile."""
        if not await RENEW.run(self._client, (MIGRATE_LOCK,), (self._token, LOCK_MILLISECONDS)):
            raise ProviderError("this migration stood still for a minute: its lock expired, and it ended; run it again")

    async def release(self) -> None:
        """Release the lock, if this run still has it."""
        await UNLOCK.run(self._client, (MIGRATE_LOCK,), (self._token,))
