"""The clock of deadlines, in a loop whose time is moved by hand: how old commands are when they are given up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from chuk_sessions.redis_client.watchdog import EARLY, HELD_UP, TICKS, Watchdog

TIMEOUT = 1.0
PERIOD = TIMEOUT / TICKS
STEPS = 40  # of a tick


class Hands:
    """The part of an event loop that a watchdog uses: a clock, and one timer."""

    def __init__(self) -> None:
        self.now = 100.0
        self._timer: tuple[float, Callable[..., None], tuple[Any, ...]] | None = None

    def time(self) -> float:
        return self.now

    def call_at(self, due: float, callback: Callable[..., None], *args: Any, context: object) -> Hands:
        self._timer = due, callback, args
        return self

    def cancel(self) -> None:
        self._timer = None

    def move(self, to: float) -> None:
        """Let the time pass, with each timer when it is due."""
        while self._timer is not None and self._timer[0] <= to:
            self.now = max(self.now, self._timer[0])
            self.fire()
        self.now = to

    def fire(self) -> None:
        assert self._timer is not None
        _, callback, args = self._timer
        self._timer = None
        callback(*args)

    @property
    def due(self) -> float:
        assert self._timer is not None
        return self._timer[0]


class Commands:
    """Remembers the ticks up to which commands are given up."""

    born = -1

    def is_waiting(self) -> bool:
        return True

    def on_tick(self, tick: int) -> None:
        self.born = tick - TICKS - 1


@pytest.mark.parametrize("held_up", [step / STEPS for step in range(0, 3 * STEPS + 1, 3)])
def test_a_command_after_a_hold_up_has_its_whole_time(held_up: float) -> None:
    """Whoever held up the loop for so many ticks makes it at the end, before the late timer runs."""
    hands, commands = Hands(), Commands()
    watchdog = Watchdog(cast(asyncio.AbstractEventLoop, hands), TIMEOUT)
    watchdog.watched.append(commands)
    watchdog.wake()
    hands.move(hands.now + 3.5 * PERIOD)
    hands.now = hands.due + held_up * PERIOD
    born, begun = watchdog.tick, hands.now
    hands.fire()
    while commands.born < born:
        hands.move(hands.due)
    assert 1 - EARLY / TICKS <= (hands.now - begun) / TIMEOUT <= 1 + (2 + HELD_UP) / TICKS
