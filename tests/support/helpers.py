"""Small tools of the tests: a clock to move, waiting for a condition, comparing what JSON gives back."""

from __future__ import annotations

import asyncio
import inspect
import json
import math
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 10.0  # seconds; only a test that fails waits so long


class Clock:
    """Time that moves only when told to."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += seconds


async def eventually(condition: Callable[[], Any], patience: float = PATIENCE) -> None:
    """Return once `condition()`, awaited if need be, is true; fail if that takes longer than `patience`."""
    deadline = time.monotonic() + patience
    while True:
        result = condition()
        if await result if inspect.isawaitable(result) else result:
            return
        assert time.monotonic() < deadline, f"not within {patience} s"
        await asyncio.sleep(0.005)


async def time_passes(seconds: float) -> None:
    """Wait until both clocks of this process have moved on by `seconds`."""
    wall, monotonic = time.time() + seconds, time.monotonic() + seconds
    await eventually(lambda: time.time() > wall and time.monotonic() > monotonic, seconds + PATIENCE)


def as_json(value: Any) -> Any:
    """What the standard library makes of `value`: the measure of what a session gives back."""
    return json.loads(json.dumps(value))


def same(left: Any, right: Any) -> bool:
    """Equal, types included (1 is not 1.0 or True), NaN equal to NaN, 0.0 unequal to -0.0, key order left out."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float):
        return repr(left) == repr(right)
    return bool(left == right)


assert same([math.nan, {"a": -0.0}], [math.nan, {"a": -0.0}])
