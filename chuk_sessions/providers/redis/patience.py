"""Pauses before a change is tried again because another client's change came first, until the deadline of its call."""

from __future__ import annotations

import asyncio
import random

from chuk_sessions.exceptions import NotSent, ProviderError
from chuk_sessions.redis_client.client import Call, Client
from chuk_sessions.redis_client.watchdog import TICKS

__all__ = ["Patience"]

PAUSE, MAX_PAUSE = 0.001, 0.02  # seconds: the first pause and the longest one, each times a random number under 1
BUSY = 10  # tries within the timeout of a call: if there were fewer, the server was slow


class Patience:
    """Paces the tries of one call: the first at once, the next after growing pauses, until the deadline of ``call``.

    The watchdog counts the age of the call in ticks. It may sleep during the pauses: the ticks that it did not count
    then are counted here.
    """

    def __init__(self, client: Client, call: Call) -> None:
        self._deployment, self._born = call
        self._timeout = client.timeout
        self._uncounted = 0.0  # ticks of the pauses that the watchdog did not count
        self._pause = 0.0
        self._tries = 0

    async def pause(self) -> Call:
        """Wait a little, the first time not at all. Return the call with its age after the pause.

        If the deadline of the call has passed: raises NotSent if the server was slow, ProviderError if other clients
        kept making changes.
        """
        self._tries += 1
        if self._pause:
            await self._wait(random.random() * self._pause)
        self._pause = min(self._pause * 2 or PAUSE, MAX_PAUSE)
        born = self._born - max(0, int(self._uncounted))
        if self._deployment.watchdog.tick - born > TICKS:
            raise self._given_up()
        return self._deployment, born

    async def _wait(self, seconds: float) -> None:
        clock = asyncio.get_running_loop().time
        begun, tick = clock(), self._deployment.watchdog.tick
        await asyncio.sleep(seconds)
        waited = min(clock() - begun, MAX_PAUSE)  # the rest is the time of a loop that was held up
        self._uncounted += waited / self._timeout * TICKS - (self._deployment.watchdog.tick - tick)

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
