"""A rate limit that holds for all processes of a gateway: so many requests for a client and hour.

    SESSION_PROVIDER=redis python examples/rate_limit.py

A session per client and hour holds the count. Its id names both, so that all processes find the same one. Counting is
one atomic step: of requests that arrive together exactly as many pass as the limit says. The session ends by itself.
Without ``SESSION_PROVIDER`` the counts are in the memory of the process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from chuk_sessions import SessionManager

HOUR = 3600


class RateLimit:
    """At most ``limit`` requests of a client in an hour; ``now`` gives the time in seconds."""

    def __init__(self, sessions: SessionManager, limit: int, now: Callable[[], float] = time.time) -> None:
        self._sessions = sessions
        self._limit = limit
        self._now = now

    async def allow(self, client: str) -> bool:
        """Count a request; whether it may pass. Names of clients must have no ``/``."""
        window = f"{client}-{int(self._now() // HOUR)}"
        await self._sessions.allocate_session(session_id=window, user_id=client, ttl_hours=1)
        used = await self._sessions.increment_session_metadata(window, "used")
        return used is not None and used <= self._limit


async def main() -> None:
    """Send requests of two clients at the same time, and print how many of each pass."""
    async with SessionManager(sandbox_id="gateway", strict=True) as sessions:
        limit = RateLimit(sessions, limit=3)
        for client, requests in (("alice", 5), ("bob", 2)):
            answers = await asyncio.gather(*[limit.allow(client) for _ in range(requests)])
            print(f"{client}: {answers.count(True)} of {requests} requests pass")


if __name__ == "__main__":
    asyncio.run(main())
