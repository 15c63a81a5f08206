"""A log for repeated events: a server that comes and goes must not fill it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

__all__ = ["MAX_LINES", "LimitedLog"]

MAX_LINES, PERIOD = 9, 60.0  # lines, seconds: enough for every line of three outages in that time


class LimitedLog:
    """Logs at most ``MAX_LINES`` in ``PERIOD`` seconds; the next line says how many were left out."""

    def __init__(self, logger: logging.Logger, clock: Callable[[], float]) -> None:
        self._logger = logger
        self._clock = clock
        self._logged: deque[float] = deque(maxlen=MAX_LINES)  # when each of the last lines was logged
        self._left_out = 0

    def line(self, level: int, text: str) -> None:
        """Log one line, or count it."""
        now = self._clock()
        if len(self._logged) == MAX_LINES and now - self._logged[0] < PERIOD:
            self._left_out += 1
            return
        left_out = f" ({self._left_out} such lines were left out)" if self._left_out else ""
        self._logger.log(level, "%s%s", text, left_out)
        self._logged.append(now)
        self._left_out = 0
