"""A monotonic clock that runs on while the machine is suspended: for time that passes on other machines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial

__all__ = ["elapsed"]


def choose_clock() -> Callable[[], float]:
    """Return the clock of this system; ``time.monotonic`` if no clock counts the time of a suspension."""
    clock: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    if clock is None and sys.platform == "darwin":
        clock = time.CLOCK_MONOTONIC  # counts a suspension on macOS; time.monotonic() is another clock there
    if clock is None:
        return time.monotonic
    try:
        time.clock_gettime(clock)
    except OSError:  # Python was built with this clock, but this kernel lacks it
        return time.monotonic
    return partial(time.clock_gettime, clock)


elapsed = choose_clock()  # seconds since an arbitrary moment
