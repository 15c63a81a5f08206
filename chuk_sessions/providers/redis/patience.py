"""Trying a change again that others came before: with pauses, and for as long as the call that makes it may take."""

from __future__ import annotations

import asyncio
import random

from chuk_sessions.exceptions import NotSent, ProviderError
from chuk_sessions.redis_client.client import Call, Client
from chuk_sessions.redis_client.watchdog import TICKS

__all__ = ["Patience"]

PAUSE, MAX_PAUSE = 0.001, 0.02  # seconds at the most before a change is tried again that others came before
BUSY = 10  # tries within the timeout of a call: fewer are the fault of the server, which took its time over each


class Patience:
    """At once, then after growing pauses, until the deadline of ``call``.

    The watchdog, which tells its age, may sleep during the pauses: what it did not count then is counted here.
    """

    def __init__(self, client: Client, call: Call) -> None:
        self._deployment, self._born = call
        self._timeout = client.timeout
        self._uncounted = 0.0  # ticks of the pauses
        self._pause = 0.0
        self._tries = 0

    async def pause(self) -> Call:
        """Wait a little, not at all the first time; the call, with the age that it has then.

        Raises NotSent if its deadline has passed as the server was slow, ProviderError if it was for others.
        """
        self._tries += 1
        if self._pause:
            await self._wait(random.random() * self._pause)
        self._pause = min(self._pause * 2 or PAUSE, MAX_PAUSE)
        born = self._born - max(0, int(self._uncounted))
        if self._deployment.tick - born > TICKS:
            raise self._given_up()
        return self._deployment, born

    async def _wait(self, seconds: float) -> None:
        clock = asyncio.get_running_loop().time
        begun, tick = clock(), self._deployment.tick
        await asyncio.sleep(seconds)
        waited = min(clock() - begun, MAX_PAUSE)  # what is longer was not this pause but a loop that was held up
        self._uncounted += waited / self._timeout * TICKS - (self._deployment.tick - tick)

    def _given_up(self) -> ProviderError:
        if self._tries < BUSY:
            return NotSent(
                f"Redis took {self._timeout:g} s for the first steps of this call, which has more of them;"
                " its change was not made"
            )
        return ProviderError(
            f"gave up after {self._timeout:g} s and {self._tries} tries: other clients kept changing these sessions;"
            " the change was not made, try again"
        )
