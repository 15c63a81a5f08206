"""What most tests use: a clock to move, waiting, comparing what JSON gives back; much is in chuk_sessions.testing."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable

from chuk_sessions.testing.clock import PATIENCE, Clock, eventually, time_passes
from chuk_sessions.testing.samples import as_json, same

__all__ = ["PATIENCE", "Clock", "as_json", "eventually", "is_gone", "same", "time_passes", "wait_until"]


def wait_until(condition: Callable[[], bool], patience: float = PATIENCE) -> None:
    """As `eventually`, for tests that have no event loop."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"not within {patience} s"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    """Whether no process has that id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


assert same([math.nan, {"a": -0.0}], [math.nan, {"a": -0.0}])
