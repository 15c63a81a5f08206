"""A node with a near cache. A plain node becomes one when the first cached read of its event loop comes.

The connection, its commands and their callers stay as they are; only the class of the node changes, so that a node
without a near cache has no branch for it. From then on each command drops the keys that it names; see ``Tracking``.
"""

from __future__ import annotations

import asyncio
from typing import Any

from chuk_sessions.redis_client.client import Deployment, Ticking
from chuk_sessions.redis_client.commands import (
    Argument,
    Command,
    Packed,
    Packing,
    Replay,
    Reply,
    Waiter,
    is_large,
    large,
    pack,
)
from chuk_sessions.redis_client.connection import Connection
from chuk_sessions.redis_client.node import Node
from chuk_sessions.redis_client.open_batches import Tally
from chuk_sessions.redis_client.server_clock import ServerClock
from chuk_sessions.redis_client.tracking import HGETALL, State, Tracking, Untracked
from chuk_sessions.redis_client.watchdog import TICKS

__all__ = ["CachingReads", "TrackingNode", "track"]

SCRIPTS = (b"EVALSHA", b"EVAL")
OF_KEYS = (b"DEL", b"UNLINK")  # all their arguments are keys


class TrackingNode(Node):
    """Sends commands to one server, and keeps what ``reads`` has read."""

    tracking: Tracking
    reads: CachingReads
    _ready: bool
    _begun: int  # the tick of the watchdog when the tracking began

    def slot_of(self, key: Argument) -> int:
        """Return the slot, and forget the key. Only a script of many callers, and its second try, asks for a slot."""
        if not isinstance(key, int):
            self.tracking.evict((key,))
        return 0

    def call(
        self,
        args: tuple[Argument, ...],
        replay: Replay = Replay.NEVER,
        born: int | None = None,
        bounded: bool = True,
    ) -> asyncio.Future[Reply]:
        """See ``Node.call``. Forget the keys that the command may change, now and when it has ended."""
        plain = pack(args)
        packed = plain if len(plain) <= self._large else large(plain, self._config.max_value_bytes, bounded)
        if packed is plain and self.tracking.state is State.ON and may_be_tracked(args, replay):
            packed = Untracked(plain)
        future: asyncio.Future[Reply] = self._loop.create_future()
        keys = changed_keys(args, replay)
        self.tracking.evict(keys)
        self.send(Change(self.tracking, keys, future) if keys else future, packed, replay, 0, born)
        return future

    def send_open(self, batch: Packing, replay: Replay, slot: int, born: int) -> None:
        """See ``Node.send_open``. A batch is a script."""
        packed = Untracked(batch.pack) if self.tracking.state is State.ON else batch.pack
        self.send(batch, packed, replay, slot, born)
        if self._connection is not None:
            self.open_batches[0] = batch
        else:
            self.open_batches.pop(0, None)

    def learn(self, told: float, asked: tuple[float, float]) -> None:
        """Take over the time of the server."""
        self.clock.learn(told, asked)

    def is_ready(self) -> bool:
        """Tell whether no large command from before the tracking is under way, whose end would drop no key.

        It uses another connection. So what is read meanwhile may be older, and its push may come after its reply.
        """
        if not self._ready:
            connection = self._connection
            large = self._lane.is_waiting() or (connection is not None and connection.holds_large)
            waits = large or any(is_large(command[1]) for command in self._waiting)
            self._ready = not waits or self.watchdog.age(self._begun) > TICKS + 1  # older commands have been given up
        return self._ready

    def on_up(self, connection: Connection) -> None:
        """See ``Node.on_up``."""
        self.tracking.begin(connection)
        super().on_up(connection)

    def on_lost(self, connection: Connection, reason: str, sent: list[Command], unsent: list[Command]) -> None:
        """Forget everything before a command is sent again; see ``Node.on_lost``."""
        if connection is self._connection:
            self.tracking.end()
        super().on_lost(connection, reason, sent, unsent)

    def begin_to_track(self) -> None:
        """Make the near cache; called once, when the node has got this class."""
        self.tracking = Tracking(self, self._loop)
        self.reads = CachingReads(self)
        self._ready, self._begun = False, self.watchdog.tick
        if self._connection is not None:
            self.tracking.begin(self._connection)


class Change:
    """Waits for the reply to a command that may change keys. Forgets them before the caller learns that it has ended.

    They were forgotten at the call too. But a command with a large value uses another connection: what is read
    meanwhile may be older than the change, and its push may come later than its reply.
    """

    __slots__ = ("_future", "_keys", "_tracking")

    def __init__(self, tracking: Tracking, keys: tuple[str | bytes, ...], future: asyncio.Future[Reply]) -> None:
        self._tracking = tracking
        self._keys = keys
        self._future = future

    def done(self) -> bool:
        """See ``Waiter``."""
        return self._future.done()

    def set_result(self, reply: Reply) -> None:
        """Pass the reply on."""
        self._tracking.evict(self._keys)
        self._future.set_result(reply)

    def set_exception(self, exception: Exception) -> None:
        """Pass the error on."""
        self._tracking.evict(self._keys)
        self._future.set_exception(exception)


class CachingReads:
    """The deployment of calls that read: their HGETALLs are kept. All else goes to the node as it is."""

    is_cluster = False

    def __init__(self, node: TrackingNode) -> None:
        self._node = node
        self._ask = node.tracking.ask
        self.slot_of, self.node_of, self.clock_of = node.slot_of, node.node_of, node.clock_of
        self.send_open, self.servers = node.send_open, node.servers
        self.open_batches = node.open_batches
        self.tally: Tally = node.tally
        self.watchdog: Ticking = node.watchdog
        self.guard: object = None
        self.clock: ServerClock = node.clock

    async def masters(self) -> list[Node]:
        """Return the node."""
        return [self._node]

    def call(
        self,
        args: tuple[Argument, ...],
        replay: Replay,
        born: int | None = None,
        bounded: bool = True,
    ) -> asyncio.Future[Reply]:
        """Send one command; see ``Node.call``. The reply to HGETALL is kept if that is possible."""
        if args[0] == HGETALL and isinstance(args[1], str):
            return self._ask(args[1], self._node.watchdog.tick if born is None else born)
        return self._node.call(args, replay, born, bounded)

    def send(self, waiter: Waiter, packed: Packed, replay: Replay, slot: int, born: int | None = None) -> None:
        """See ``Node.send``."""
        self._node.send(waiter, packed, replay, slot, born)

    async def close(self) -> None:
        """Do nothing: the node closes."""


def changed_keys(args: tuple[Argument, ...], replay: Replay) -> tuple[str | bytes, ...]:
    """Return the keys that a command may change: those of a script, and those of any other command but a read."""
    if args[0] in SCRIPTS:
        keys = args[3 : 3 + int(args[2])]
    elif replay is Replay.READ:
        return ()
    else:
        keys = args[1:] if args[0] in OF_KEYS else args[1:2]
    return tuple(key for key in keys if isinstance(key, str | bytes))


def may_be_tracked(args: tuple[Argument, ...], replay: Replay) -> bool:
    """Tell whether a command may read keys: a script, and any other read with arguments, which no CLIENT command is."""
    return args[0] in SCRIPTS or (replay is Replay.READ and len(args) > 1 and args[0] != b"CLIENT")


def track(deployment: Deployment) -> TrackingNode:
    """Turn a plain node into one with a near cache. Raises TypeError for a cluster."""
    if type(deployment) is not Node:
        raise TypeError("only a single server, or one behind Sentinels, can have a near cache")
    deployment.__class__ = TrackingNode
    node: Any = deployment
    node.begin_to_track()
    return node  # type: ignore[no-any-return]
