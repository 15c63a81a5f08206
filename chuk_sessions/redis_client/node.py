"""One server, as seen from one event loop: what becomes of each command, and its deadline.

Rules this file keeps:

* While the server is UP, a command goes to the connection; RECONNECTING, it waits within its deadline; DOWN, it fails
  at once. The connection and its outages are the ``Link``'s.
* A command is given up ``socket_timeout`` after it was made, wherever it is then, by the ticks of the ``Watchdog``.
* A connection that has been quiet is in ``Doubt`` with the next command: what may be sent again is sent over it, what
  may not be waits until it has answered. Nothing overtakes what waits. One that is used does not pay for this.
* A connection is in doubt after half a timeout of ticks without a byte while commands wait for it, and dead after a
  full one: a tick before those are given up, so that they are sent again. Silence is counted as their age is. One to
  a server that lets writes wait is not dead: calls that are younger may still be answered.
* A command whose reply was lost with its connection is sent again only if ``Replay`` allows it, once; it
  keeps its age.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from chuk_sessions.exceptions import NotSent, OutcomeUnknown, ServerError
from chuk_sessions.redis_client.commands import (
    BESIDE_A_VALUE,
    LARGE,
    MANY,
    NO_SLOT,
    Argument,
    Command,
    Packed,
    Replay,
    Reply,
    Waiter,
    clear_given_up,
    large,
    pack,
)
from chuk_sessions.redis_client.config import RedisConfig
from chuk_sessions.redis_client.connection import Connection
from chuk_sessions.redis_client.lane import Lane
from chuk_sessions.redis_client.link import Connect, Link
from chuk_sessions.redis_client.numbers import Numbers
from chuk_sessions.redis_client.open_batches import OneBatch, Tally
from chuk_sessions.redis_client.outcomes import INTERRUPTED, SecondTry, hand_on, settle
from chuk_sessions.redis_client.replies import REPLICA_CODES
from chuk_sessions.redis_client.server_clock import ServerClock
from chuk_sessions.redis_client.states import FAILING, Hook, State
from chuk_sessions.redis_client.watchdog import TICKS, Watchdog

__all__ = ["Node"]

RENEW_PAUSE = 1.0  # seconds that a new connection is kept though its server is a replica; each time twice as long
MAX_RENEW_PAUSE = 10.0

OnError = Callable[["Node", Command, ServerError], None]


class Node(Numbers):
    """Sends commands to one server. Must be made and used inside ``loop``.

    ``connect`` makes a connection; the default is to the host of ``config``. ``on_error`` gets this node, a command
    that its server answered with an error, and the error; the default is ``tell``. ``on_trouble`` is called when the
    connection is lost and when an attempt to make one failed. ``hooks`` are told of each change of ``state``. One that
    is not ``for_all`` is the ``Lane`` of another: large commands go over its connection.
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
        for_all: bool = True,
    ) -> None:
        self._config = config
        self._loop = loop
        self._large = min(config.max_value_bytes + BESIDE_A_VALUE, LARGE)
        self._watchdog = watchdog
        self._on_error = on_error or tell
        self._connection: Connection | None = None  # in use: the link's
        self._trusted: Connection | None = None  # the same, unless it may have been quiet
        self._link = Link(config, loop, self, connect, jitter, hooks, for_all)
        self._for_all = for_all
        self.on_trouble = on_trouble

        def make_lane() -> Node:
            apart = replace(config, heartbeat=0.0, max_in_flight=1)
            return Node(apart, loop, watchdog, connect, on_error, self.on_trouble, jitter, for_all=False)

        self._lane = Lane(make_lane)
        self._waiting: deque[Command] = deque()
        self._many = MANY  # waiting commands: more are looked through for those that were given up
        self._heard = 0  # the tick of the watchdog at which there last was no silence
        self._renew_pause = 0.0
        self._login_lost = float("-inf")  # when the server last asked for a login again
        self._refused = False  # over the present connection, what another server might do
        self._written = self._writes = 0  # with connections that are gone
        self.clock = ServerClock()
        self.open_batches: OneBatch = [None]
        self.tally = Tally()
        self._timeouts = 0
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
    def state(self) -> State:
        """What the server is, as seen from here."""
        return self._link.state

    @property
    def is_in_doubt(self) -> bool:
        """Whether there is a connection that was quiet and has not answered yet."""
        doubt = self._link.doubt
        return doubt is not None and doubt.persists

    @property
    def is_well(self) -> bool:
        """Whether there is a connection and no doubt of it."""
        return self._connection is not None and not self.is_in_doubt

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

    def clock_of(self, key: Argument) -> ServerClock:
        """The clock of the server that has ``key``: known once something told it, until there is another connection."""
        return self.clock

    def is_up(self, slot: int) -> bool:
        """Whether commands go to a connection now."""
        return self._connection is not None

    def call(
        self,
        args: tuple[Argument, ...],
        replay: Replay = Replay.NEVER,
        born: int | None = None,
        bounded: bool = True,
    ) -> asyncio.Future[Reply]:
        """Send one command; a future with its reply, or one of the errors of ``Client.call``.

        ``bounded=False`` leaves ``max_value_bytes`` out of account.
        """
        packed = pack(args)
        future: asyncio.Future[Reply] = self._loop.create_future()
        if len(packed) <= self._large:
            self.send(future, packed, replay, 0, born)
        else:
            self.send(future, large(packed, self._config.max_value_bytes, bounded), replay, 0, born)
        return future

    def send(self, waiter: Waiter, packed: Packed, replay: Replay, slot: int, born: int | None = None) -> None:
        """Send one command, packed now or when it is written, for anybody who waits for its reply.

        ``born`` is the tick that its deadline counts from, if that is not now.
        """
        watchdog = self._watchdog
        if watchdog.asleep:
            watchdog.wake()
        command = (waiter, packed, watchdog.tick if born is None else born, replay, slot)
        if self._trusted is not None:  # as in submit, without the call: this is every command's way
            self._trusted.send(command)
        else:
            self.submit(command)

    def submit(self, command: Command) -> None:
        """Send a command that may have waited elsewhere."""
        if self._trusted is not None:
            self._trusted.send(command)
        elif self._connection is not None:
            self._send_with_care(self._connection, command)
        else:
            self._link.begin()
            if self._link.state in FAILING:
                settle(command, self._not_sent(self._link.reason))
            else:
                self._wait(command)

    def _send_with_care(self, connection: Connection, command: Command) -> None:
        """Over a connection that may have been quiet."""
        doubt = self._link.doubt
        if doubt is None or not doubt.arises():
            self._trust(connection)
            connection.send(command)
        elif command[3] is not Replay.NEVER and not self._waiting:
            connection.send(command)
        else:
            doubt.ask()
            self._wait(command)

    def _trust(self, connection: Connection) -> None:
        """The connection leads somewhere: send what waits for that."""
        if self._waiting:
            hand_on(self._waiting, connection.send)
        if not self._watchdog.asleep:  # whose ticks see that it is quiet
            self._trusted = connection

    def _wait(self, command: Command) -> None:
        self._waiting.append(command)
        if len(self._waiting) > self._many:
            self._many = clear_given_up(self._waiting)

    def move_waiting(self, to: deque[Command]) -> None:
        """Move the commands that wait for a connection to another queue; those that are for this server alone stay."""
        taken = [command for command in self._waiting if not command[0].done() and command[4] != NO_SLOT]
        kept = deque(command for command in self._waiting if command[4] == NO_SLOT)
        try:
            to.extend(taken)
            self._waiting = kept
        except BaseException:  # they may be in both queues, and must not be sent twice
            for command in taken:
                settle(command, NotSent(INTERRUPTED))
            raise
        self._lane.move_waiting(to)

    def leave(self, command: Command, reason: str) -> None:
        """The server answered that it did not run ``command``: end the connection, and send it on the next one."""
        connection = self._connection
        if connection is None:
            self.submit(command)
        else:
            connection.send(command)
            connection.finish(reason)

    def desert(self, reason: str) -> None:
        """End the connection, which does not answer: another server has the keys, and gets what may be sent again."""
        if self._connection is not None:
            self._connection.abort(reason)

    def renew(self, reason: str) -> None:
        """End the connection once what was written has its replies, if it may be: a name may lead elsewhere by now.

        So does the name of a hosted server after a failover, while the old one goes on answering as a replica.
        """
        if self._connection is not None and self.may_renew():
            self._connection.finish(reason)

    def may_renew(self) -> bool:
        """Whether to end the connection, whose server refused a command: another server may be there by now.

        A connection that was of use for a while is ended at once. One that was refused something from its beginning is
        kept, each longer than the one before it: a server that is a replica for good must not cost a connection each.
        """
        age = self._loop.time() - self._link.up_since
        if not self._refused:
            self._refused = True
            longer = min(max(RENEW_PAUSE, 2 * self._renew_pause), MAX_RENEW_PAUSE)
            self._renew_pause = 0.0 if age > RENEW_PAUSE else longer
        return age > self._renew_pause

    def end(self, reason: str) -> None:
        """Begin to close: nothing is sent any more."""
        self._link.end(reason)
        self._lane.end(reason)
        if self in self._watchdog.watched:
            self._watchdog.watched.remove(self)

    async def close(self, reason: str = "the event loop is shutting down") -> None:
        """End the connection and settle every command."""
        await self._lane.close(reason)
        self.end(reason)
        await self._link.ended()
        self.fail_waiting(self._link.reason)

    # The link says

    def on_up(self, connection: Connection) -> None:
        """There is a connection: send what waits."""
        self._heard = self._watchdog.tick
        self.clock.forget()
        self._refused = False
        self._connection = connection
        self._written -= connection.commands_written  # the handshake is not counted
        self._writes -= connection.writes
        connection.on_error = self._on_reply
        connection.divert = self._lane.submit if self._for_all else None
        self._trust(connection)

    def on_proven(self) -> None:
        """The connection was in doubt, and has answered."""
        if self._connection is not None:
            self._trust(self._connection)

    def on_lost(self, connection: Connection, reason: str, sent: list[Command], unsent: list[Command]) -> None:
        """The connection has ended: what must not be sent again is settled, the rest waits for the next one."""
        if connection is not self._connection:
            return
        again: deque[Command] = deque()
        for command in sent:
            if command[3] is Replay.NEVER:
                settle(command, OutcomeUnknown(f"{reason}, before the reply came"))
            elif not command[0].done():
                waiter, packed, born, replay, slot = command
                again.append((SecondTry(waiter, replay, reason), packed, born, Replay.NEVER, slot))
        again.extend(command for command in unsent if not command[0].done())
        again.extend(self._waiting)  # which were made after them
        # No call from here on: an exception leaves either all as it was or all as it is to be.
        self._written += connection.commands_written
        self._writes += connection.writes
        self._connection = self._trusted = None
        self._waiting = again

    def _on_reply(self, command: Command, error: ServerError) -> None:
        # It ran nothing: not a command, but the connection, has lost its login.
        if error.code == "NOAUTH" and self._may_log_in_again():
            self.leave(command, "the server asks for a login again")
        else:
            self._on_error(self, command, error)

    def _may_log_in_again(self) -> bool:
        """Whether a new connection may help; not if the one before this was ended for that a moment ago."""
        now = self._loop.time()
        if self._link.up_since > self._login_lost:  # the first such reply over this connection
            if now - self._login_lost <= RENEW_PAUSE:
                return False
            self._login_lost = now
        return True

    def fail_waiting(self, reason: str) -> None:
        """There is no connection and will be none soon: settle what waits for one."""
        while self._waiting:
            settle(self._waiting[0], self._not_sent(reason))
            self._waiting.popleft()

    def _not_sent(self, reason: str) -> NotSent:
        error = NotSent(reason)
        error.__cause__ = self._link.refusal
        return error

    # Deadlines

    def is_waiting(self) -> bool:
        """Whether commands wait: for the watchdog."""
        connection = self._connection
        waiting = bool(self._waiting or (connection is not None and (connection.in_flight or connection.queued)))
        if not waiting and connection is not None:
            self._look_at(connection)
        return waiting or self._lane.is_waiting()

    def on_tick(self, tick: int) -> None:
        """Give up commands that are too old, and a connection that is silent: for the watchdog."""
        self._give_up_overdue(tick - TICKS - 1)
        if not self._lane.is_waiting():
            self._lane.end("there are no large commands any more")
        if self._connection is not None:
            self._look_at(self._connection)

    def _give_up_overdue(self, born: int) -> None:
        seconds = f"{self._config.timeout:g} s"
        unsent = [command for command in self._waiting if command[2] <= born and not command[0].done()]
        if self._connection is not None:
            sent, queued = self._connection.overdue(born)
            unsent += queued
            for command in sent:
                self._timeouts += 1
                settle(command, OutcomeUnknown(f"no reply from Redis at {self._config.address} within {seconds}"))
        for command in unsent:
            self._timeouts += 1
            settle(command, NotSent(f"could not send to Redis at {self._config.address} within {seconds}"))
        if self._waiting:
            self._many = clear_given_up(self._waiting)

    def _look_at(self, connection: Connection) -> None:
        """See whether it is used, quiet or silent."""
        doubt, heard = self._link.doubt, connection.heard
        idle = not connection.in_flight and not connection.queued
        if heard and doubt is not None:
            connection.heard = False
            doubt.prove(self._watchdog.begun)
            self._trust(connection)
        if idle and not self._waiting:
            self._trusted = None
        if idle or connection.moves() or heard:
            self._heard = self._watchdog.tick
            return
        silent = self._watchdog.age(self._heard)
        if silent >= TICKS and not self._link.is_comparing:
            connection.abort(f"not a byte within {self._config.timeout:g} s")
        elif silent >= TICKS // 2 and doubt is not None:
            doubt.begin()
            self._trusted = None


def tell(node: Node, command: Command, error: ServerError) -> None:
    """On an error reply: the caller gets it; a server that became a replica is connected to anew."""
    if error.code == "MOVED":
        error = ServerError(f"{error}; this server is one of a cluster: add cluster=true to the Redis URL")
    settle(command, error)
    if error.code in REPLICA_CODES:
        node.renew("it is a replica now")
