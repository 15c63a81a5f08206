"""A shop without pages: visitors come as guests, log in, look around and leave. Its calls are what a web shop's are.

Guests are in the memory of the process, users on Redis. One ``SessionMetrics`` counts the operations of both.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

from chuk_sessions import SessionManager
from chuk_sessions.exceptions import SessionError
from chuk_sessions.instrumentation import SessionMetrics

PAGES = 10  # that a visitor looks at before leaving
TOUCH_INTERVAL = 60  # seconds; a near cache needs one


class Shop:
    """The sessions of the shop, and its visitors."""

    def __init__(self, users: Any, guests: Any, near_cache: float = 0) -> None:
        self.metrics = SessionMetrics()
        self._users = SessionManager(
            "shop",
            users,
            strict=True,
            metrics=self.metrics,
            max_sessions_per_user=3,
            touch_interval=TOUCH_INTERVAL,
            near_cache=near_cache,
        )
        self._guests = SessionManager("guests", guests, strict=True, metrics=self.metrics)

    async def open(self, visitors: int, pause: float) -> None:
        """Have so many visitors at a time, without end; ``pause`` is the time between two pages, in seconds."""
        async with asyncio.TaskGroup() as group:
            for number in range(visitors):
                group.create_task(self._come_again(f"user-{number}", pause))

    async def _come_again(self, user: str, pause: float) -> None:
        await asyncio.sleep(random.uniform(0, pause))  # so that they do not all come at once
        while True:
            try:
                await self._visit(user, pause)
            except SessionError:  # the page says "try again in a moment", and the visitor does
                await asyncio.sleep(pause)

    async def _visit(self, user: str, pause: float) -> None:
        guest = await self._guests.allocate_session(custom_metadata={"cart": "tea"})
        await asyncio.sleep(pause)
        cart = await self._guests.get_session_metadata(guest)
        session = await self._users.allocate_session(user_id=user, custom_metadata=dict(cart or {}))
        await self._guests.delete_session(guest)
        for _ in range(PAGES):
            if not await self._users.validate_session(session):
                return
            await asyncio.sleep(pause)
        await self._users.delete_session(session)
