"""What time it is on a server, by the last reply that told: without asking, and never earlier than it is there."""

from __future__ import annotations

import time

from chuk_sessions.elapsed import elapsed

__all__ = ["ServerClock", "moment"]


class ServerClock:
    """The clock of one server, in seconds since the epoch. It knows nothing before ``learn`` is called.

    Two clocks of this machine count what has passed since, and the one that counts more is believed: the one may stand
    still while a virtual machine is paused, the other may be set back.
    """

    __slots__ = ("_ahead", "_wall_ahead")

    def __init__(self) -> None:
        self._ahead: float | None = None
        self._wall_ahead = 0.0

    def learn(self, told: float, asked: tuple[float, float]) -> None:
        """The server said ``told`` at some moment after ``asked``, which ``moment`` gave before the question."""
        self._ahead, self._wall_ahead = told - asked[0], told - asked[1]

    def forget(self) -> None:
        """Know nothing: it may be another server from now on."""
        self._ahead = None

    def now(self) -> float | None:
        """The time there, or somewhat later: by at most what the last answer took. None if nothing is known."""
        if self._ahead is None:
            return None
        return max(elapsed() + self._ahead, time.time() + self._wall_ahead)


def moment() -> tuple[float, float]:
    """This moment, by the two clocks."""
    return elapsed(), time.time()
