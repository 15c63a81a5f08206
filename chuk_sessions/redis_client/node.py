"""One server, as seen from one event loop: its connection, its outages, and the deadline of every command.

Rules this file keeps:

* At most one connection, made by at most one attempt at a time.
* UP -> RECONNECTING when the connection is lost and for ``reconnect_grace``: commands wait within their deadline.
  -> DOWN: commands fail at once, while attempts go on with full jitter, capped at ``MAX_PAUSE``. -> UP. One log line
  per transition. A server that was never reached is DOWN at the first failure.
* A command is given up ``socket_timeout`` after it was made, wherever it is then. There is no timer per command: one
  watchdog ticks ``TICKS`` times per timeout while commands are outstanding, and age is counted in its ticks.
* A connection is dead after a full timeout of ticks without a byte while commands wait for it. A tick that came late
  counts for nothing: it was the application that held up the loop, and the replies may be waiting to be read. Of
  several late ones in a row only the first is left out, so that a loop that is always busy has deadlines too.
* A command whose reply was lost with its connection is sent again only if ``Replay`` allows it, once; it
  keeps its age.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from enum import Enum

from chuk_sessions.exceptions import NotSent, OutcomeUnknown, ProviderError
from chuk_sessions.redis_client.connection import Argument, Command, Connection, Replay, Reply, Waiter, pack
from chuk_sessions.redis_client.transport import open_connection
from chuk_sessions.redis_client.url import RedisConfig

__all__ = ["Node", "State"]

logger = logging.getLogger(__name__)

TICKS = 10  # per timeout: a command is given up between 1.0 and 1.1 times its timeout
FIRST_PAUSE = 0.05  # seconds between attempts at the most, doubled each time
MAX_PAUSE = 1.0


class State(Enum):
    """Of a server, as seen from here."""

    NEW = "new"
    UP = "up"
    RECONNECTING = "reconnecting"
    DOWN = "down"
    CLOSED = "closed"


FAILING = (State.DOWN, State.CLOSED)


class Node:
    """Sends commands to one server.

    Must be made and used inside ``loop``. When the loop shuts its asynchronous generators down, as ``asyncio.run``
    does at its end, the node closes itself; later calls fail as not sent.
    """

    def __init__(
        self,
        config: RedisConfig,
        loop: asyncio.AbstractEventLoop,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._config = config
        self._loop = loop
        self._jitter = jitter
        self._period = config.timeout / TICKS
        self._state = State.NEW
        self._reason = ""
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._waiting: deque[Command] = deque()
        self._grace: asyncio.TimerHandle | None = None
        self._up_since = 0.0
        self._pause = 0.0  # seconds at the most before the next attempt to connect
        self._context = contextvars.Context()  # empty: what runs on must not keep the first caller's variables alive
        self.tick = 0
        self._silent_ticks = 0
        self._was_late = False
        self._timer: asyncio.TimerHandle | None = None
        self.open_batch: object = None  # of scripts: the one that calls may join
        self.reconnects = 0
        self.timeouts = 0
        self._guard = self._close_at_shutdown()
        with suppress(StopIteration):  # it now stands at its yield, known to the loop
            self._guard.__anext__().send(None)

    def __repr__(self) -> str:
        return f"<Node {self._config.address} {self._state.value} waiting={len(self._waiting)} {self._connection}>"

    @property
    def is_up(self) -> bool:
        """Whether commands go to a connection now."""
        return self._connection is not None

    @property
    def in_flight(self) -> int:
        """Commands written and not answered yet."""
        return 0 if self._connection is None else self._connection.in_flight

    @property
    def queued(self) -> int:
        """Commands not written yet."""
        return len(self._waiting) + (0 if self._connection is None else self._connection.queued)

    def call(self, args: tuple[Argument, ...], replay: Replay = Replay.NEVER) -> asyncio.Future[Reply]:
        """Send one command; a future with its reply, or one of the errors of ``Client.call``."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        self.send(future, pack(args), replay)
        return future

    def send(self, waiter: Waiter, packed: bytes | Callable[[], bytes], replay: Replay) -> None:
        """Send one command, packed now or when it is written, for anybody who waits for its reply."""
        command = (waiter, packed, self.tick, replay)
        if self._timer is None:
            self._arm()
        if self._connection is not None:
            self._connection.send(command)
        else:
            self._connect_if_needed()
            if self._state in FAILING:
                waiter.set_exception(NotSent(self._reason))
            else:
                self._waiting.append(command)

    async def close(self) -> None:
        """End the connection and settle every command."""
        if self._state is State.CLOSED:
            return
        self._state = State.CLOSED
        self._reason = "the event loop is shutting down"
        if self._timer is not None:
            self._timer.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        if self._connection is not None:
            self._connection.abort(self._reason)
            await asyncio.wait([self._connection.lost])
        self._fail_waiting(self._reason)

    async def _close_at_shutdown(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await self.close()

    # Connecting

    def _connect_if_needed(self) -> None:
        if self._state is State.CLOSED or (self._connecting is not None and not self._connecting.done()):
            return
        if self._state is State.RECONNECTING:
            self._start_grace()
        self._connecting = self._context.copy().run(self._loop.create_task, self._connect())
        self._connecting.add_done_callback(self._connect_ended)  # a task may be cancelled before it has begun

    async def _connect(self) -> None:
        while True:
            await asyncio.sleep(self._jitter() * self._pause)
            self._pause = min(max(FIRST_PAUSE, 2 * self._pause), MAX_PAUSE)
            try:
                self._use(await open_connection(self._config, self._loop, self._lost))
            except Exception as exc:  # whatever it is, the next attempt may succeed
                unexpected = f"cannot connect to Redis at {self._config.address}: {type(exc).__name__}"
                self._reason = str(exc) if isinstance(exc, ProviderError) else unexpected
                if self._state is not State.RECONNECTING:
                    self._go_down()
            else:
                return

    def _connect_ended(self, task: asyncio.Task[None]) -> None:
        if task is self._connecting and self._connection is None:
            self._fail_waiting(f"connecting to Redis at {self._config.address} was given up")

    def _use(self, connection: Connection) -> None:
        if self._grace is not None:
            self._grace.cancel()
        self._up_since = self._loop.time()
        if self._state is not State.NEW:
            self.reconnects += 1
            logger.warning("Redis at %s is back", self._config.address)
        self._state = State.UP
        self._silent_ticks = 0
        self._connection = connection
        while self._waiting:
            connection.send(self._waiting.popleft())

    def _start_grace(self) -> None:
        due = self._loop.time() + self._config.reconnect_grace
        self._grace = self._loop.call_at(due, self._end_grace, due, context=self._context)

    def _end_grace(self, due: float) -> None:
        if self._state is not State.RECONNECTING:
            return
        if self._config.reconnect_grace and self._loop.time() > due + self._config.reconnect_grace / 2:
            self._start_grace()  # the application held up the loop: the attempt to connect had no chance
        else:
            self._go_down()

    def _go_down(self) -> None:
        if self._state is not State.DOWN:
            logger.error("%s; calls fail at once until it is back", self._reason)
        self._state = State.DOWN
        self._fail_waiting(self._reason)

    def _lost(self, connection: Connection, sent: list[Command], unsent: list[Command]) -> None:
        reason = f"the connection to Redis at {self._config.address} was lost: {connection.reason}"
        if connection is not self._connection:  # it did not get beyond the handshake: nothing of callers is on it
            for command in sent + unsent:
                _settle(command, NotSent(reason))
            return
        self._connection = None
        self._reason = reason
        if self._loop.time() - self._up_since > MAX_PAUSE:
            self._pause = 0.0  # it was of use: no reason to hesitate
        if self._state is State.UP:
            self._state = State.RECONNECTING
            logger.warning("%s; reconnecting", reason)
        for command in sent:
            if command[3] is Replay.NEVER:
                _settle(command, OutcomeUnknown(f"{reason}, before the reply came"))
            elif not command[0].done():
                waiter, packed, born, replay = command
                self._waiting.append((SecondTry(waiter, replay, reason), packed, born, Replay.NEVER))
        self._waiting.extend(command for command in unsent if not command[0].done())
        self._connect_if_needed()

    def _fail_waiting(self, reason: str) -> None:
        while self._waiting:
            _settle(self._waiting.popleft(), NotSent(reason))

    # Deadlines

    def _arm(self) -> None:
        due = self._loop.time() + self._period
        self._timer = self._loop.call_at(due, self._watch, due, context=self._context)

    def _watch(self, due: float) -> None:
        late = self._loop.time() - due > self._period / 2
        skip, self._was_late = late and not self._was_late, late
        connection = self._connection
        if not skip:
            self.tick += 1
            self._give_up_overdue()
            if connection is not None:
                self._check_alive(connection)
        if self._waiting or (connection is not None and (connection.in_flight or connection.queued)):
            self._arm()
        else:
            self._timer = None
            self._silent_ticks = 0

    def _give_up_overdue(self) -> None:
        born = self.tick - TICKS - 1
        seconds = f"{self._config.timeout:g} s"
        unsent = [command for command in self._waiting if command[2] <= born and not command[0].done()]
        if self._connection is not None:
            sent, queued = self._connection.overdue(born)
            unsent += queued
            for command in sent:
                self.timeouts += 1
                _settle(command, OutcomeUnknown(f"no reply from Redis at {self._config.address} within {seconds}"))
        for command in unsent:
            self.timeouts += 1
            _settle(command, NotSent(f"could not send to Redis at {self._config.address} within {seconds}"))
        if self._waiting:
            self._waiting = deque(command for command in self._waiting if not command[0].done())

    def _check_alive(self, connection: Connection) -> None:
        if connection.heard or not (connection.in_flight or connection.queued):
            connection.heard = False
            self._silent_ticks = 0
            return
        self._silent_ticks += 1
        if self._silent_ticks > TICKS:
            connection.abort(f"not a byte within {self._config.timeout:g} s")


def _settle(command: Command, error: ProviderError) -> None:
    if not command[0].done():
        command[0].set_exception(error)


class SecondTry:
    """Waits in the place of a caller whose command was sent, and is to be sent once more."""

    __slots__ = ("_reason", "_replay", "_waiter")

    def __init__(self, waiter: Waiter, replay: Replay, reason: str) -> None:
        self._waiter = waiter
        self._replay = replay
        self._reason = reason

    def done(self) -> bool:
        """Whether the caller has given up."""
        return self._waiter.done()

    def set_result(self, result: Reply) -> None:
        """Hand on the reply; if the key to delete was gone this time, one of the two removed it."""
        self._waiter.set_result(result or 1 if self._replay is Replay.DELETE else result)

    def set_exception(self, exception: Exception) -> None:
        """Hand on the error; that the second try was not sent says nothing of the first."""
        if isinstance(exception, NotSent):
            exception = OutcomeUnknown(
                f"{self._reason}, before the reply came, and the server could not be asked again"
            )
        self._waiter.set_exception(exception)
