"""Tells the time on a server, by the last reply that had it: without a question, and never too early."""

from __future__ import annotations

import time

from chuk_sessions.elapsed import elapsed

__all__ = ["ServerClock", "moment"]


class ServerClock:
    """The clock of one server, in seconds since the epoch. The time is unknown until ``learn`` is called.

    Two clocks of this machine count the time since then, and the larger count holds: one clock may stand still while a
    virtual machine is paused, and the other may be set back.
    """

    __slots__ = ("_ahead", "_wall_ahead")

    def __init__(self) -> None:
        self._ahead: float | None = None
        self._wall_ahead = 0.0

    def learn(self, told: float, asked: tuple[float, float]) -> None:
        """Take over the time ``told`` of the server. ``asked`` is the result of ``moment`` before the question."""
        self._ahead, self._wall_ahead = told - asked[0], told - asked[1]

    def forget(self) -> None:
        """Forget the time: from now on this may be another server."""
        self._ahead = None

    def now(self) -> float | None:
        """Return the server's time, or a later one by at most the time of the last answer; None if it is unknown."""
        if self._ahead is None:
            return None
        return max(elapsed() + self._ahead, time.time() + self._wall_ahead)


def moment() -> tuple[float, float]:
    """Return the time now, by the two clocks."""
    return elapsed(), time.time()
