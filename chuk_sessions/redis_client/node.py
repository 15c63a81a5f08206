"""One server, as seen from one event loop: its connection, its outages, and the deadline of every command.

Rules this file keeps:

* At most one connection, made by at most one attempt at a time.
* UP -> RECONNECTING when the connection is lost and for ``reconnect_grace``: commands wait within their deadline.
  -> DOWN: commands fail at once, while attempts go on with full jitter, capped at ``MAX_PAUSE``. -> UP. One log line
  per transition, unless they come in floods: see ``states``. A server that was never reached is DOWN at the first
  failure.
* A command is given up ``socket_timeout`` after it was made, wherever it is then, by the ticks of the ``Watchdog``.
* A connection is dead after a full timeout of ticks without a byte while commands wait for it.
* A command whose reply was lost with its connection is sent again only if ``Replay`` allows it, once; it
  keeps its age.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from chuk_sessions.exceptions import NotSent, OutcomeUnknown, ProviderError, ReadOnlyError, ServerError
from chuk_sessions.redis_client.commands import (
    MANY,
    NO_SLOT,
    Argument,
    Command,
    Packed,
    Replay,
    Reply,
    Waiter,
    clear_given_up,
    pack,
)
from chuk_sessions.redis_client.config import RedisConfig
from chuk_sessions.redis_client.connection import Connection
from chuk_sessions.redis_client.limited_log import LimitedLog
from chuk_sessions.redis_client.outcomes import SecondTry, settle
from chuk_sessions.redis_client.states import FAILING, TRANSITIONS, Hook, State
from chuk_sessions.redis_client.transport import OnLost, open_connection
from chuk_sessions.redis_client.watchdog import TICKS, Watchdog

__all__ = ["Node"]

logger = logging.getLogger(__name__)

FIRST_PAUSE = 0.05  # seconds between attempts at the most, doubled each time
MAX_PAUSE = 1.0
MAX_PAUSE_IN_GRACE = 0.25  # callers wait then: a server that is back before they are told must be found before that
RENEW_PAUSE = 10.0  # seconds that a connection is kept at least, though its server is a replica


Connect = Callable[[OnLost], Awaitable[Connection]]
OnError = Callable[["Node", Command, ServerError], None]


class Node:
    """Sends commands to one server. Must be made and used inside ``loop``.

    ``connect`` makes a connection; the default is to the host of ``config``. ``on_error`` gets this node, a command
    that its server answered with an error, and the error; the default is ``tell``. ``on_trouble`` is called when the
    connection is lost and when an attempt to make one failed. ``hooks`` are told of each change of ``state``.
    """

    def __init__(
        self,
        config: RedisConfig,
        loop: asyncio.AbstractEventLoop,
        watchdog: Watchdog,
        connect: Connect | None = None,
        on_error: OnError | None = None,
        on_trouble: Callable[[], None] = lambda: None,
        jitter: Callable[[], float] = random.random,
        hooks: Sequence[Hook] = (),
    ) -> None:
        self._config = config
        self._loop = loop
        self._watchdog = watchdog
        self._open = connect or (lambda on_lost: open_connection(config, loop, on_lost))
        self._on_error = on_error or tell
        self._on_trouble = on_trouble
        self._jitter = jitter
        self._hooks = hooks
        self._reason = ""
        self._refusal: ServerError | None = None  # what the server said to the last attempt to connect
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._waiting: deque[Command] = deque()
        self._many = MANY  # waiting commands: more are looked through for those that were given up
        self._grace: asyncio.TimerHandle | None = None
        self._up_since = 0.0
        self._pause = 0.0  # seconds at the most before the next attempt to connect
        self._context = contextvars.Context()  # empty: what runs on must not keep the first caller's variables alive
        self._silent_ticks = 0
        self._written = self._writes = 0  # to be added to what the connection counts
        self._log = LimitedLog(logger, loop.time)
        self.state = State.NEW
        self.open_batch: object = None  # of scripts: the one that calls may join
        self.reconnects = 0
        self.timeouts = 0
        self.redirects = 0
        self.guard: object = None  # closes this at the end of the loop; must live as long as the connection
        watchdog.watched.append(self)

    def __repr__(self) -> str:
        return f"<Node {self._config.address} {self.state.value} waiting={len(self._waiting)} {self._connection}>"

    @property
    def tick(self) -> int:
        """Of the watchdog, now."""
        return self._watchdog.tick

    @property
    def in_flight(self) -> int:
        """Commands written and not answered yet."""
        return 0 if self._connection is None else self._connection.in_flight

    @property
    def waiting(self) -> int:
        """Commands not written yet."""
        return len(self._waiting) + (0 if self._connection is None else self._connection.queued)

    @property
    def bytes_in_flight(self) -> int:
        """Of commands written and not answered yet, to the end of the write they are part of."""
        return 0 if self._connection is None else self._connection.bytes_in_flight

    @property
    def written(self) -> int:
        """Commands written so far."""
        return self._written + (0 if self._connection is None else self._connection.commands_written)

    @property
    def writes(self) -> int:
        """Writes to the socket so far."""
        return self._writes + (0 if self._connection is None else self._connection.writes)

    @property
    def address(self) -> str:
        """Where it is, as messages name it."""
        return self._config.address

    def slot_of(self, key: Argument) -> int:
        """What keys must have in common to be in one command: here they are all on one server."""
        return 0

    is_cluster = False

    async def masters(self) -> list[Node]:
        """Itself: all keys are here."""
        return [self]

    def node_of(self, key: Argument) -> Node:
        """Itself."""
        return self

    def is_up(self, slot: int) -> bool:
        """Whether commands go to a connection now."""
        return self._connection is not None

    def call(
        self, args: tuple[Argument, ...], replay: Replay = Replay.NEVER, born: int | None = None
    ) -> asyncio.Future[Reply]:
        """Send one command; a future with its reply, or one of the errors of ``Client.call``."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        self.send(future, pack(args), replay, 0, born)
        return future

    def send(self, waiter: Waiter, packed: Packed, replay: Replay, slot: int, born: int | None = None) -> None:
        """Send one command, packed now or when it is written, for anybody who waits for its reply.

        ``born`` is the tick that its deadline counts from, if that is not now.
        """
        watchdog = self._watchdog
        if watchdog.asleep:
            watchdog.wake()
        command = (waiter, packed, watchdog.tick if born is None else born, replay, slot)
        if self._connection is not None:  # as in submit, without the call: this is every command's way
            self._connection.send(command)
        else:
            self.submit(command)

    def submit(self, command: Command) -> None:
        """Send a command that may have waited elsewhere."""
        if self._connection is not None:
            self._connection.send(command)
            return
        self._connect_if_needed()
        if self.state in FAILING:
            settle(command, self._not_sent(self._reason))
        else:
            self._waiting.append(command)
            if len(self._waiting) > self._many:
                self._many = clear_given_up(self._waiting)

    def take_waiting(self) -> list[Command]:
        """Hand over the commands that wait for a connection; those that are for this server alone stay."""
        taken = [command for command in self._waiting if not command[0].done() and command[4] != NO_SLOT]
        kept = [command for command in self._waiting if command[4] == NO_SLOT]
        self._waiting.clear()
        self._waiting.extend(kept)
        return taken

    def leave(self, command: Command, reason: str) -> None:
        """The server answered that ``command`` is not for it: end the connection, and send it on the next one."""
        connection = self._connection
        if connection is None:
            self.submit(command)
        else:
            connection.send(command)
            connection.finish(reason)

    def renew(self, reason: str) -> None:
        """End the connection once what was written has its replies, unless it is quite new: a name may lead elsewhere.

        So does the name of a hosted server after a failover, while the old one goes on answering as a replica.
        """
        if self._connection is not None and self._loop.time() - self._up_since > RENEW_PAUSE:
            self._connection.finish(reason)

    def end(self, reason: str) -> None:
        """Begin to close: nothing is sent any more."""
        if self.state is State.CLOSED:
            return
        self._enter(State.CLOSED)
        self._reason = reason
        if self in self._watchdog.watched:
            self._watchdog.watched.remove(self)
        if self._grace is not None:
            self._grace.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.abort(reason)

    async def close(self, reason: str = "the event loop is shutting down") -> None:
        """End the connection and settle every command."""
        self.end(reason)
        if self._connecting is not None:
            await asyncio.wait([self._connecting])
        if self._connection is not None:
            await asyncio.wait([self._connection.lost])
        self._fail_waiting(self._reason)

    # Connecting

    def _connect_if_needed(self) -> None:
        if self.state is State.CLOSED or (self._connecting is not None and not self._connecting.done()):
            return
        if self.state is State.RECONNECTING:
            self._start_grace()
        self._connecting = self._context.copy().run(self._loop.create_task, self._connect())
        self._connecting.add_done_callback(self._connect_ended)  # a task may be cancelled before it has begun

    async def _connect(self) -> None:
        while not self._is_closed():  # credentials of the application need not heed that this is cancelled
            await asyncio.sleep(self._jitter() * self._pause)
            most = MAX_PAUSE if self.state is State.DOWN else MAX_PAUSE_IN_GRACE
            self._pause = min(max(FIRST_PAUSE, 2 * self._pause), most)
            try:
                connection = await self._open(self._lost)
                if self._is_closed():
                    connection.abort(self._reason)
                    await asyncio.wait([connection.lost])
                else:
                    self._use(connection)
            except Exception as exc:  # whatever it is, the next attempt may succeed
                if self._is_closed():
                    return
                unexpected = f"cannot connect to Redis at {self._config.address}: {type(exc).__name__}"
                self._reason = str(exc) if isinstance(exc, ProviderError) else unexpected
                self._refusal = _refusal_in(exc)
                if self.state is not State.RECONNECTING:
                    self._go_down()
                self._on_trouble()
            else:
                return

    def _is_closed(self) -> bool:
        return self.state is State.CLOSED

    def _connect_ended(self, task: asyncio.Task[None]) -> None:
        if task is self._connecting and self._connection is None:
            self._fail_waiting(f"connecting to Redis at {self._config.address} was given up")

    def _use(self, connection: Connection) -> None:
        if self._grace is not None:
            self._grace.cancel()
        self._up_since = self._loop.time()
        self.reconnects += self.state is not State.NEW
        self._refusal = None
        self._silent_ticks = 0
        self._connection = connection
        self._written -= connection.commands_written  # the handshake is not counted
        self._writes -= connection.writes
        on_error = self._on_error
        connection.on_error = lambda command, error: on_error(self, command, error)
        while self._waiting:
            connection.send(self._waiting.popleft())
        self._enter(State.UP, "" if self._config.master is None else f", at {connection.peer}")

    def _start_grace(self) -> None:
        due = self._loop.time() + self._config.reconnect_grace
        self._grace = self._loop.call_at(due, self._end_grace, due, context=self._context)

    def _end_grace(self, due: float) -> None:
        if self.state is not State.RECONNECTING:
            return
        if self._config.reconnect_grace and self._loop.time() > due + self._config.reconnect_grace / 2:
            self._start_grace()  # the application held up the loop: the attempt to connect had no chance
        else:
            self._go_down()

    def _go_down(self) -> None:
        self._fail_waiting(self._reason)
        if self.state is not State.DOWN:
            self._enter(State.DOWN)

    def _lost(self, connection: Connection, sent: list[Command], unsent: list[Command]) -> None:
        reason = f"the connection to Redis at {self._config.address} was lost: {connection.reason}"
        if connection is not self._connection:  # it did not get beyond the handshake: nothing of callers is on it
            for command in sent + unsent:
                settle(command, NotSent(connection.reason))
            return
        self._connection = None
        self._written += connection.commands_written
        self._writes += connection.writes
        self._reason = reason
        if self._loop.time() - self._up_since > MAX_PAUSE:
            self._pause = 0.0  # it was of use: no reason to hesitate
        for command in sent:
            if command[3] is Replay.NEVER:
                settle(command, OutcomeUnknown(f"{reason}, before the reply came"))
            elif not command[0].done():
                waiter, packed, born, replay, slot = command
                self._waiting.append((SecondTry(waiter, replay, reason), packed, born, Replay.NEVER, slot))
        self._waiting.extend(command for command in unsent if not command[0].done())
        if self.state is State.CLOSED:
            self._fail_waiting(reason)
        else:
            self._enter(State.RECONNECTING)
            self._connect_if_needed()
            self._on_trouble()

    def _enter(self, state: State, at: str = "") -> None:
        """Change the state: by a transition of the table, which goes to the log, and to the hooks."""
        before = self.state
        assert (before, state) in TRANSITIONS, f"no transition leads from {before.value} to {state.value}"
        self.state = state
        address, line = self._config.address, TRANSITIONS[before, state]
        if line is not None:
            level, words = line
            self._log.line(level, words.format(address=address, at=at, reason=self._reason))
        for hook in self._hooks:
            try:
                hook(address, before, state)
            except Exception:
                logger.exception("a hook for the state of Redis at %s raised", address)

    def _fail_waiting(self, reason: str) -> None:
        while self._waiting:
            settle(self._waiting.popleft(), self._not_sent(reason))

    def _not_sent(self, reason: str) -> NotSent:
        error = NotSent(reason)
        error.__cause__ = self._refusal
        return error

    # Deadlines

    def is_waiting(self) -> bool:
        """Whether commands wait: for the watchdog."""
        connection = self._connection
        waiting = bool(self._waiting or (connection is not None and (connection.in_flight or connection.queued)))
        if not waiting:
            self._silent_ticks = 0
        return waiting

    def on_tick(self, tick: int) -> None:
        """Give up commands that are too old, and a connection that is silent: for the watchdog."""
        self._give_up_overdue(tick - TICKS - 1)
        if self._connection is not None:
            self._check_alive(self._connection)

    def _give_up_overdue(self, born: int) -> None:
        seconds = f"{self._config.timeout:g} s"
        unsent = [command for command in self._waiting if command[2] <= born and not command[0].done()]
        if self._connection is not None:
            sent, queued = self._connection.overdue(born)
            unsent += queued
            for command in sent:
                self.timeouts += 1
                settle(command, OutcomeUnknown(f"no reply from Redis at {self._config.address} within {seconds}"))
        for command in unsent:
            self.timeouts += 1
            settle(command, NotSent(f"could not send to Redis at {self._config.address} within {seconds}"))
        if self._waiting:
            self._many = clear_given_up(self._waiting)

    def _check_alive(self, connection: Connection) -> None:
        if connection.heard or not (connection.in_flight or connection.queued):
            connection.heard = False
            self._silent_ticks = 0
            return
        self._silent_ticks += 1
        if self._silent_ticks > TICKS:
            connection.abort(f"not a byte within {self._config.timeout:g} s")


def _refusal_in(exc: BaseException | None) -> ServerError | None:
    while exc is not None and not isinstance(exc, ServerError):
        exc = exc.__cause__
    return exc


def tell(node: Node, command: Command, error: ServerError) -> None:
    """On an error reply: the caller gets it; a server that became a replica is connected to anew."""
    if error.code == "MOVED":
        error = ServerError(f"{error}; this server is one of a cluster: add cluster=true to the Redis URL")
    settle(command, error)
    if isinstance(error, ReadOnlyError):
        node.renew("it is a replica now")
