"""Whether a connection that has been quiet still leads anywhere: a middlebox may have forgotten it without a word.

Rules this file keeps:

* A connection is in doubt from the first command after ``QUIET`` seconds without a byte, until a byte comes. That the
  time is over is seen when a command is sent; there is no timer while nobody wants anything, and none while commands
  flow.
* What may be sent again is sent at once, as the question and its answer are that command and its reply. What may not be
  (a write) waits for proof: for the answer to a PING, one round trip. So it is not sent to nowhere: it succeeds, or it
  is NotSent. A ``heartbeat`` shorter than ``QUIET`` is proof enough, and saves the round trip.
* If nothing comes within ``LATE`` seconds, the connection is compared with a second one, which the ``Link`` makes. If
  that answers while this one is silent still, it takes its place: what may be sent again is sent over that, as is what
  waited. If a server is merely slow, or lets writes wait, the second connection gets no answer either, and the first
  is kept; the next time it has twice as long.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable

from chuk_sessions.redis_client.commands import Reply
from chuk_sessions.redis_client.connection import Connection
from chuk_sessions.redis_client.watchdog import clock

__all__ = ["LATE", "QUIET", "Doubt"]

QUIET = 1.0  # seconds without a byte: what forgets flows does so after more, and a round trip is nothing beside it
LATE = 0.3  # seconds, or a quarter of a shorter timeout: far more than a round trip, and reads still end within one


class Doubt:
    """Of one connection. ``on_proven`` is called when a byte ended it, ``on_late`` when none came within ``LATE``."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: Connection,
        timeout: float,
        on_proven: Callable[[], None],
        on_late: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._connection = connection
        self._patience, self._most = min(LATE, timeout / 4), timeout / 2
        self._on_proven = on_proven
        self._on_late = on_late
        self._context = contextvars.Context()  # empty: a timer must not keep the first caller's variables alive
        self._proven = clock()  # a time at which bytes came, or before it
        self._timer: asyncio.TimerHandle | None = None
        self._held_up = False
        self._asked = False
        self.is_open = False

    def arises(self) -> bool:
        """Whether what is sent now may go nowhere. Called before a command is sent over what may have been quiet."""
        if self.is_open and self._connection.heard:
            self.prove(clock())
        elif not self.is_open and self.is_quiet:
            self.begin()
        return self.is_open

    @property
    def is_quiet(self) -> bool:
        """Whether it is so long that a byte came that what is sent now must be doubted."""
        return clock() - self._proven >= QUIET

    @property
    def persists(self) -> bool:
        """Whether the connection is in doubt still."""
        return self.is_open and not self._connection.heard

    def begin(self) -> None:
        """Doubt the connection; bytes that came before do not count."""
        if self.is_open:
            return
        self._connection.heard = False
        self._held_up = self._asked = False
        self._wait()
        self.is_open = True

    def ask(self) -> None:
        """Have the server answer, for commands that wait for proof."""
        if not self._asked:
            self._connection.request(b"PING").add_done_callback(self.answered)
            self._asked = True

    def be_patient(self) -> None:
        """A second connection was made and not needed: the server, or the way to it, is slow. Wait longer next time."""
        self._patience = min(2 * self._patience, self._most)

    def prove(self, since: float) -> None:
        """Bytes have come, at ``since`` or later."""
        self._proven = max(self._proven, since)
        self.end()

    def answered(self, question: asyncio.Future[Reply]) -> None:
        """``question`` has ended. Any answer shows that the server lives, a refusal too."""
        if not question.cancelled():
            question.exception()  # if the connection has ended, its owner was told
        if self._connection.lost.done():
            return
        if self.is_open:
            self._proved()
        else:
            self.prove(clock())

    def end(self) -> None:
        """Doubt no more, for now; or for good, as the connection has ended."""
        self.is_open = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        due = self._loop.time() + self._patience
        self._timer = self._loop.call_at(due, self._look, due, context=self._context)

    def _look(self, due: float) -> None:
        self._timer = None
        connection = self._connection
        if connection.heard:
            self._proved()
        elif not connection.in_flight and not connection.queued:  # who asked gave up before it was written
            self.end()
        elif self._loop.time() - due > self._patience / 2 and not self._held_up:
            self._held_up = True  # by the application: the answer may be there to be read
            self._wait()
        else:
            self._on_late()

    def _proved(self) -> None:
        self.prove(clock())
        self._on_proven()
