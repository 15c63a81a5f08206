"""Checks an idle connection, so that a flow that a middlebox has forgotten is found before a call pays for it.

Each connection has one timer, which comes once per ``heartbeat`` seconds, whatever the number of commands: nothing is
done when a command is sent. If nothing was written since the timer came last, and nothing is in flight, the connection
sends a PING. If no answer comes within the timeout of a command, the connection is ended, and its owner makes another
one. (A shorter time would end connections to busy servers, and with them calls that only had to wait.)
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable

from chuk_sessions.redis_client.commands import Reply
from chuk_sessions.redis_client.connection import Connection

__all__ = ["Heartbeat"]


class Heartbeat:
    """Checks ``connection`` when it was idle for ``period`` seconds, and waits ``timeout`` seconds for the answer.

    ``on_answer`` gets each question when it has ended.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: Connection,
        period: float,
        timeout: float,
        on_answer: Callable[[asyncio.Future[Reply]], None],
    ) -> None:
        self._loop = loop
        self._connection = connection
        self._period = period
        self._timeout = timeout
        self._on_answer = on_answer
        self._context = contextvars.Context()  # empty: a timer must not keep the first caller's variables alive
        self._writes = connection.writes  # when the timer came last
        self._question: asyncio.Future[Reply] | None = None
        self._overdue = 0.0  # when the answer to the question must be there
        self._timer = self._after(period)

    def stop(self) -> None:
        """Stop asking. Called when the connection has ended."""
        self._timer.cancel()

    def _after(self, seconds: float) -> asyncio.TimerHandle:
        due = self._loop.time() + seconds
        return self._loop.call_at(due, self._beat, due, context=self._context)

    def _beat(self, due: float) -> None:
        try:
            self._look(due)
        except BaseException:  # the timer must come again all the same
            self._timer = self._after(self._period)
            raise

    def _look(self, due: float) -> None:
        connection = self._connection
        if self._question is not None and not self._question.done():
            self._wait_on(due)
            return
        idle = connection.writes == self._writes and not connection.in_flight and not connection.queued
        self._writes = connection.writes
        if idle:
            self._question = connection.request(b"PING")
            self._question.add_done_callback(self._on_answer)
            self._overdue = self._loop.time() + self._timeout
            self._writes += 1  # the write of the PING
        self._timer = self._after(self._period)

    def _wait_on(self, due: float) -> None:
        """Give the answer more time, or end the connection."""
        now = self._loop.time()
        if now - due > self._timeout / 2:  # the application held up the loop: the answer may be there to be read
            self._overdue = now + self._timeout
        elif now >= self._overdue:
            self._connection.abort(f"it was idle, and a PING had no answer within {self._timeout:g} s")
            return
        self._timer = self._after(min(self._period, max(self._overdue - now, 0.0)))
