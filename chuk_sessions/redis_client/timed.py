"""A connection that measures its round trips: two looks at the clock for each write, none for a command.

``dial`` makes such a connection in the place of a plain one if ``RedisConfig.timings`` is set.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter

from chuk_sessions.histogram import Histogram
from chuk_sessions.redis_client.commands import Command
from chuk_sessions.redis_client.config import MAX_IN_FLIGHT
from chuk_sessions.redis_client.connection import Connection

__all__ = ["TimedConnection"]


class TimedConnection(Connection):
    """Measures the time from each write to the reply of the last command in it.

    ``round_trips`` gets the times. The node puts its own histogram there when it takes the connection, so that the
    handshake is not in it.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_lost: Callable[[Connection, list[Command], list[Command]], None],
        max_in_flight: int = MAX_IN_FLIGHT,
    ) -> None:
        super().__init__(loop, on_lost, max_in_flight)
        self.round_trips = Histogram()
        self._begun: deque[tuple[int, float]] = deque()  # for each write: commands written up to its end; its time

    def buffer_updated(self, nbytes: int) -> None:
        """See ``Connection``."""
        super().buffer_updated(nbytes)
        begun, answered = self._begun, self.commands_written - len(self._sent)
        if begun and begun[0][0] <= answered:
            now = perf_counter()
            while begun and begun[0][0] <= answered:
                self.round_trips.add(now - begun.popleft()[1])

    def _write(self, transport: asyncio.Transport) -> bool:
        before, now = self.commands_written, perf_counter()
        more = super()._write(transport)
        if self.commands_written > before:
            self._begun.append((self.commands_written, now))
        return more
