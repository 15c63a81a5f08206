"""A monotonic clock that goes on while the machine is suspended: for what goes on outside of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial

__all__ = ["elapsed"]


def choose_clock() -> Callable[[], float]:
    """The clock of this system; ``time.monotonic`` where there is none that counts the time of a suspension."""
    clock: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    if clock is None and sys.platform == "darwin":
        clock = time.CLOCK_MONOTONIC  # counts it there; time.monotonic() is another clock
    if clock is None:
        return time.monotonic
    try:
        time.clock_gettime(clock)
    except OSError:  # known when Python was built, and not to this kernel
        return time.monotonic
    return partial(time.clock_gettime, clock)


elapsed = choose_clock()  # seconds since some moment
