"""Finds out whether a quiet connection still leads to its server: a middlebox may have silently forgotten it.

Rules this file keeps:

* A connection is in doubt from the first command after ``QUIET`` seconds without a byte, until a byte comes. The time
  is checked when a command is sent. There is no timer while there are no commands, and none while commands flow.
* A command that may be sent again is sent at once: it is the question, and its reply is the answer. A command that may
  not be sent again (a write) waits for proof, the answer to a PING, which takes one round trip. So it is not sent to
  nowhere: it succeeds, or it is NotSent. A ``heartbeat`` shorter than ``QUIET`` is proof enough, and saves the round
  trip.
* If nothing comes within ``LATE`` seconds, the connection is compared with a second one, which the ``Link`` makes. If
  the second one answers while the first is still silent, it takes the place of the first. Commands that may be sent
  again, and those that waited, are sent over it. If the server is only slow, or lets writes wait, the second
  connection gets no answer either, and the first is kept. The next time it has twice as long.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable

from chuk_sessions.redis_client.commands import Reply
from chuk_sessions.redis_client.connection import Connection
from chuk_sessions.redis_client.watchdog import clock

__all__ = ["LATE", "QUIET", "Doubt"]

QUIET = 1.0  # seconds without a byte: middleboxes keep flows for longer, and a round trip is far shorter
LATE = 0.3  # seconds, or a quarter of a shorter timeout: far more than a round trip, and reads still end within one


class Doubt:
    """Doubts one connection. Calls ``on_proven`` when a byte ends the doubt, ``on_late`` if none came in ``LATE``."""

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
        self._proven = clock()  # the time of the last byte, or an earlier one
        self._timer: asyncio.TimerHandle | None = None
        self._held_up = False
        self._asked = False
        self.is_open = False

    def arises(self) -> bool:
        """Tell whether a command sent now may go nowhere. Called before a command if the connection may be quiet."""
        if self.is_open and self._connection.heard:
            self.prove(clock())
        elif not self.is_open and self.is_quiet:
            self.begin()
        return self.is_open

    @property
    def is_quiet(self) -> bool:
        """Whether no byte came for so long that a command sent now must doubt the connection."""
        return clock() - self._proven >= QUIET

    @property
    def persists(self) -> bool:
        """Whether the connection is still in doubt."""
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
        """Ask the server for an answer, for commands that wait for proof."""
        if not self._asked:
            self._connection.request(b"PING").add_done_callback(self.answered)
            self._asked = True

    def be_patient(self) -> None:
        """Wait longer next time: a second connection was not needed, so the server or the network is slow."""
        self._patience = min(2 * self._patience, self._most)

    def prove(self, since: float) -> None:
        """End the doubt: bytes have come, at ``since`` or later."""
        self._proven = max(self._proven, since)
        self.end()

    def answered(self, question: asyncio.Future[Reply]) -> None:
        """Handle the end of ``question``. Any answer shows that the server lives, a refusal too."""
        if not question.cancelled():
            question.exception()  # if the connection has ended, its owner knows
        if self._connection.lost.done():
            return
        if self.is_open:
            self._proved()
        else:
            self.prove(clock())

    def end(self) -> None:
        """End the doubt for now, or for good if the connection has ended."""
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
        elif not connection.in_flight and not connection.queued:  # the callers gave up before the write
            self.end()
        elif self._loop.time() - due > self._patience / 2 and not self._held_up:
            self._held_up = True  # the application held up the loop: the answer may be there to be read
            self._wait()
        else:
            self._on_late()

    def _proved(self) -> None:
        self.prove(clock())
        self._on_proven()
