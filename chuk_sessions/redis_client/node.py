"""One server, as seen from one event loop: sends each command or settles it, and keeps its deadline.

Rules this file keeps:

* While the server is UP, a command goes to the connection. While RECONNECTING, it waits within its deadline. While
  DOWN, it fails at once. The ``Link`` manages the connection and its outages.
* A command is given up ``socket_timeout`` after it was made, wherever it is then, by the ticks of the ``Watchdog``.
* A connection that has been quiet is in ``Doubt`` with the next command. A command that may be sent again is sent over
  it. A command that may not be sent again waits until the connection has answered. No command overtakes a waiting one.
  A connection in use does not pay for this.
* A connection is in doubt after half a timeout of ticks without a byte while commands wait for it. It is dead after a
  full timeout, which is a tick before these commands are given up, so that they are sent again. Silence is counted like
  the age of commands. A connection to a server that lets writes wait is not dead: younger calls may still be answered.
* A command whose reply was lost with its connection is sent again only if ``Replay`` allows it, and once. It keeps its
  age. So does a command that the server refused with NOAUTH, as the connection has lost its login: it was not run, and
  is sent once more over a new connection.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from chuk_sessions.exceptions import NotSent, OutcomeUnknown, ServerError
from chuk_sessions.histogram import Histogram
from chuk_sessions.redis_client.commands import (
    BESIDE_A_VALUE,
    LARGE,
    MANY,
    NO_SLOT,
    Argument,
    Command,
    Packed,
    Packing,
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
from chuk_sessions.redis_client.open_batches import OpenBatches, Tally
from chuk_sessions.redis_client.outcomes import INTERRUPTED, LoggedInAgain, SecondTry, hand_on, not_counted, settle
from chuk_sessions.redis_client.replies import REPLICA_CODES
from chuk_sessions.redis_client.server_clock import ServerClock
from chuk_sessions.redis_client.server_stats import ServerStats, of_node
from chuk_sessions.redis_client.states import FAILING, Hook, State
from chuk_sessions.redis_client.timed import TimedConnection
from chuk_sessions.redis_client.watchdog import TICKS, Watchdog

__all__ = ["Node"]

RENEW_PAUSE = 1.0  # seconds that a new connection to a replica is kept; each time twice as long
MAX_RENEW_PAUSE = 10.0

OnError = Callable[["Node", Command, ServerError], None]


class Node(Numbers):
    """Sends commands to one server. Must be made and used inside ``loop``.

    ``connect`` makes a connection, by default to the host of ``config``. ``on_error`` gets this node, a command that
    its server answered with an error, and the error; the default is ``tell``. ``on_trouble`` is called when the
    connection is lost and when an attempt to make one failed. ``hooks`` are called at each change of ``state``. A node
    that is not ``for_all`` is in the ``Lane`` of another node: large commands go over its connection.
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
        self.watchdog = watchdog
        self._on_error = on_error or tell
        self._connection: Connection | None = None  # the connection in use, made by the link
        self.trusted: Connection | None = None  # the same connection; None if it may have been quiet
        self._link = Link(config, loop, self, connect, jitter, hooks, for_all)
        self._for_all = for_all
        self.on_trouble = on_trouble

        def make_lane() -> Node:
            apart = replace(config, heartbeat=0.0, max_in_flight=1, timings=False)
            return Node(apart, loop, watchdog, connect, on_error, self.on_trouble, jitter, for_all=False)

        self._lane = Lane(make_lane)
        self._waiting: deque[Command] = deque()
        self._many = MANY  # waiting commands: more are looked through for those that were given up
        self._heard = 0  # the tick of the watchdog at which the connection was last not silent
        self._renew_pause = 0.0
        self._login_lost = float("-inf")  # when the server last asked for a login again
        self._refused = False  # whether the server refused a command over this connection that another might do
        self._written = self._writes = 0  # over connections that are gone
        self.clock = ServerClock()
        self.open_batches = OpenBatches()
        self.tally = Tally()
        self._timeouts = 0
        self.redirects = 0
        self.round_trips = Histogram() if config.timings else None
        self.guard: object = None  # closes the node at the end of the loop; must live as long as the connection
        watchdog.watched.append(self)

    def __repr__(self) -> str:
        return f"<Node {self._config.address} {self.state.value} waiting={len(self._waiting)} {self._connection}>"

    @property
    def state(self) -> State:
        """The state of the server, as seen from this event loop."""
        return self._link.state

    @property
    def is_in_doubt(self) -> bool:
        """Whether there is a connection that was quiet and has not answered yet."""
        doubt = self._link.doubt
        return doubt is not None and doubt.persists

    @property
    def is_well(self) -> bool:
        """Whether there is a connection that is not in doubt."""
        return self._connection is not None and not self.is_in_doubt

    @property
    def address(self) -> str:
        """The address of the server, as messages name it."""
        return self._config.address

    @property
    def endpoint(self) -> tuple[str, int | None]:
        """Host and port of the server, or the path of its socket. With Sentinels those of the master of the moment."""
        config, connection = self._config, self._connection
        if config.path is not None:
            return config.path, None
        if config.master is not None:
            return (config.master, None) if connection is None else connection.endpoint
        return config.host, config.port

    def slot_of(self, key: Argument) -> int:
        """Return the slot of a key. Keys of one slot may share a command; here all keys are in slot 0."""
        return 0

    is_cluster = False

    def servers(self) -> dict[str, ServerStats]:
        """Return the numbers of the server, by its name."""
        return {self._config.server: of_node(self)}

    async def masters(self) -> list[Node]:
        """Return this node: all keys are on its server."""
        return [self]

    def node_of(self, key: Argument) -> Node:
        """Return this node."""
        return self

    def clock_of(self, key: Argument) -> ServerClock:
        """Return the clock of the server. Its time is known after a reply had it, until there is a new connection."""
        return self.clock

    def call(
        self,
        args: tuple[Argument, ...],
        replay: Replay = Replay.NEVER,
        born: int | None = None,
        bounded: bool = True,
    ) -> asyncio.Future[Reply]:
        """Send one command. Return a future of its reply, or of one of the errors of ``Client.call``.

        With ``bounded=False`` the command may be larger than ``max_value_bytes``.
        """
        packed = pack(args)
        future: asyncio.Future[Reply] = self._loop.create_future()
        if len(packed) <= self._large:
            self.send(future, packed, replay, 0, born)
        else:
            self.send(future, large(packed, self._config.max_value_bytes, bounded), replay, 0, born)
        return future

    def send(self, waiter: Waiter, packed: Packed, replay: Replay, slot: int, born: int | None = None) -> None:
        """Send one command, packed now or when it is written. ``waiter`` gets its reply.

        ``born`` is the tick from which the deadline counts; the default is now.
        """
        watchdog = self.watchdog
        if watchdog.asleep:
            watchdog.wake()
        command = (waiter, packed, watchdog.tick if born is None else born, replay, slot)
        if self.trusted is not None:  # as in submit, without the call: every command comes this way
            self.trusted.send(command)
        else:
            self.submit(command)

    def send_open(self, batch: Packing, replay: Replay, slot: int, born: int) -> None:
        """Send a batch. Later calls may join it while there is a connection for it."""
        self.send(batch, batch.pack, replay, slot, born)
        if self._connection is not None:
            self.open_batches[0] = batch
        else:
            self.open_batches.pop(0, None)

    def submit(self, command: Command) -> bool:
        """Send a command that may have waited elsewhere. Return whether there is a connection for it."""
        if self.trusted is not None:
            self.trusted.send(command)
        elif self._connection is not None:
            self._send_with_care(self._connection, command)
        else:
            self._link.begin()
            if self._link.state in FAILING:
                settle(command, self._not_sent(self._link.reason))
            else:
                self._wait(command)
            return False
        return True

    def _send_with_care(self, connection: Connection, command: Command) -> None:
        """Send a command over a connection that may have been quiet, or let it wait for proof."""
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
        """Trust the connection: it leads to the server. Send the commands that wait for that."""
        if self._waiting:
            hand_on(self._waiting, connection.send)
        if not self.watchdog.asleep:  # its ticks notice when the connection is quiet
            self.trusted = connection

    def _wait(self, command: Command) -> None:
        self._waiting.append(command)
        if len(self._waiting) > self._many:
            self._many = clear_given_up(self._waiting)

    def move_waiting(self, to: deque[Command]) -> None:
        """Move the commands that wait for a connection to another queue. Commands for this server alone stay."""
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
        """End the connection, whose server did not run ``command``, and send the command over the next one."""
        connection = self._connection
        if connection is None:
            self.submit(command)
        else:
            connection.send(command)
            connection.finish(reason)

    def desert(self, reason: str) -> None:
        """End the connection, which does not answer. Another server has the keys, and gets what may be sent again."""
        if self._connection is not None:
            self._connection.abort(reason)

    def renew(self, reason: str) -> None:
        """End the connection once all written commands have replies, if ``may_renew`` allows it.

        The name of the server may lead to another one by now. After a failover the name of a hosted server does so,
        while the old server goes on answering as a replica.
        """
        if self._connection is not None and self.may_renew():
            self._connection.finish(reason)

    def may_renew(self) -> bool:
        """Tell whether to end the connection, whose server refused a command: its name may lead to another one by now.

        A connection that was of use for a while is ended at once. If the server refused a command from the
        beginning of the connection, the connection is kept for a pause, which is longer each time: a server that stays
        a replica must not cost a connection for each command.
        """
        age = self._loop.time() - self._link.up_since
        if not self._refused:
            self._refused = True
            longer = min(max(RENEW_PAUSE, 2 * self._renew_pause), MAX_RENEW_PAUSE)
            self._renew_pause = 0.0 if age > RENEW_PAUSE else longer
        return age > self._renew_pause

    def end(self, reason: str) -> None:
        """Begin to close: from now on nothing is sent."""
        self._link.end(reason)
        self._lane.end(reason)
        if self in self.watchdog.watched:
            self.watchdog.watched.remove(self)

    async def close(self, reason: str = "the event loop is shutting down") -> None:
        """End the connection and settle every command."""
        await self._lane.close(reason)
        self.end(reason)
        await self._link.ended()
        self.fail_waiting(self._link.reason)

    # Called by the link

    def on_up(self, connection: Connection) -> None:
        """Use a new connection: send the commands that wait."""
        self._heard = self.watchdog.tick
        self.clock.forget()
        self._refused = False
        self._connection = connection
        self._written -= connection.commands_written  # the handshake is not counted
        self._writes -= connection.writes
        connection.on_error = self._on_reply
        connection.divert = self._lane.submit if self._for_all else None
        if isinstance(connection, TimedConnection) and self.round_trips is not None:
            connection.round_trips = self.round_trips
        self._trust(connection)

    def on_proven(self) -> None:
        """Trust the connection again: it was in doubt, and has answered."""
        if self._connection is not None:
            self._trust(self._connection)

    def on_question(self) -> None:
        """Watch whether an answer comes: without one the connection is silent, as with commands of callers."""
        if self.watchdog.asleep:
            self.watchdog.wake()

    def on_lost(self, connection: Connection, reason: str, sent: list[Command], unsent: list[Command]) -> None:
        """Settle the commands of an ended connection that must not be sent again. Keep the rest for the next one."""
        if connection is not self._connection:
            return
        again: deque[Command] = deque()
        for command in sent:
            if command[3] is Replay.NEVER:
                settle(command, OutcomeUnknown(f"{reason}, before the reply came"))
            elif not command[0].done():
                waiter, packed, born, replay, slot = command
                second = SecondTry(waiter, replay, reason, is_counted=connection.was_silent)
                again.append((second, packed, born, Replay.NEVER, slot))
        again.extend(command for command in unsent if not command[0].done())
        again.extend(self._waiting)  # these commands are younger
        # No call from here on: an exception leaves the state either all as it was or all as it must be.
        self._written += connection.commands_written
        self._writes += connection.writes
        self._connection = self.trusted = None
        self._waiting = again

    def _on_reply(self, command: Command, error: ServerError) -> None:
        # The server did not run the command, because the connection has lost its login.
        again = error.code == "NOAUTH" and not isinstance(command[0], LoggedInAgain) and self._may_log_in_again()
        if again:
            waiter, packed, born, replay, slot = command
            self.leave((LoggedInAgain(waiter), packed, born, replay, slot), "the server asks for a login again")
        else:
            self._on_error(self, command, error)

    def _may_log_in_again(self) -> bool:
        """Tell whether a new connection may help: not if the last one was ended for the same reason just now."""
        now = self._loop.time()
        if self._link.up_since > self._login_lost:  # the first such reply over this connection
            if now - self._login_lost <= RENEW_PAUSE:
                return False
            self._login_lost = now
        return True

    def fail_waiting(self, reason: str) -> None:
        """Settle the commands that wait for a connection: there will be none soon."""
        while self._waiting:
            settle(self._waiting[0], self._not_sent(reason))
            self._waiting.popleft()

    def _not_sent(self, reason: str) -> NotSent:
        error = NotSent(reason)
        error.__cause__ = self._link.refusal
        return error

    # Deadlines

    def is_waiting(self) -> bool:
        """Tell whether commands wait; the watchdog asks."""
        connection = self._connection
        waiting = bool(self._waiting or (connection is not None and (connection.in_flight or connection.queued)))
        if not waiting and connection is not None:
            self._look_at(connection)
        return waiting or self._lane.is_waiting()

    def on_tick(self, tick: int) -> None:
        """Give up commands that are too old, and a connection that is silent; the watchdog calls this."""
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
            if not self._connection.was_silent:  # else it is about to give them back
                self._timeouts += not_counted(sent)
            for command in sent:
                settle(command, OutcomeUnknown(f"no reply from Redis at {self._config.address} within {seconds}"))
        self._timeouts += not_counted(unsent)
        for command in unsent:
            settle(command, NotSent(f"could not send to Redis at {self._config.address} within {seconds}"))
        if self._waiting:
            self._many = clear_given_up(self._waiting)

    def _look_at(self, connection: Connection) -> None:
        """See whether the connection is used, quiet or silent."""
        doubt, heard = self._link.doubt, connection.heard
        idle = not connection.in_flight and not connection.queued
        if heard and doubt is not None:
            connection.heard = False
            doubt.prove(self.watchdog.begun)
            self._trust(connection)
        if idle and not self._waiting:
            self.trusted = None
        if idle or connection.moves() or heard:
            self._heard = self.watchdog.tick
            return
        silent = self.watchdog.age(self._heard)
        if silent >= TICKS and not self._link.is_comparing:
            if not connection.was_silent:
                sent, _ = connection.overdue(self.watchdog.tick)  # settled or sent again when the connection has ended
                self._timeouts += not_counted(sent)
                connection.was_silent = True
            connection.abort(f"not a byte within {self._config.timeout:g} s")
        elif silent >= TICKS // 2 and doubt is not None:
            doubt.begin()
            self.trusted = None


def tell(node: Node, command: Command, error: ServerError) -> None:
    """Give the caller the error reply. If the server became a replica, connect anew."""
    if error.code == "MOVED":
        error = ServerError(f"{error}; this server is one of a cluster: add cluster=true to the Redis URL")
    settle(command, error)
    if error.code in REPLICA_CODES:
        node.renew("it is a replica now")
