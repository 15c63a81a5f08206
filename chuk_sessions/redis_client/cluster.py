"""A Redis Cluster, as seen from one event loop: routes each command, and follows redirections.

Rules this file keeps:

* A command goes to the master of its slot by the ``SlotMap``. If the slot has no known master, the command waits here.
* Redirections are per command. MOVED corrects the slot and sends the command to the new master. ASK sends it once to
  another server, right after ASKING. TRYAGAIN splits a batch into its keys. A TRYAGAIN of one key, and CLUSTERDOWN,
  make the command wait ``RETRY_PAUSE`` and begin anew. The command keeps its deadline.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from chuk_sessions.exceptions import NotSent, ServerError
from chuk_sessions.redis_client.commands import (
    BESIDE_A_VALUE,
    LARGE,
    NO_SLOT,
    Argument,
    Asking,
    Command,
    Packed,
    Packing,
    Replay,
    Reply,
    Waiter,
    large,
    pack,
)
from chuk_sessions.redis_client.config import Address, RedisConfig
from chuk_sessions.redis_client.node import Node
from chuk_sessions.redis_client.open_batches import OpenBatches, Tally
from chuk_sessions.redis_client.outcomes import LoggedInAgain, hand_on, not_counted, settle, settle_with_error
from chuk_sessions.redis_client.replies import redirected_to
from chuk_sessions.redis_client.server_clock import ServerClock
from chuk_sessions.redis_client.server_stats import CLUSTER, ServerStats, of_cluster
from chuk_sessions.redis_client.slot_map import SlotMap
from chuk_sessions.redis_client.slots import key_of, slot_of
from chuk_sessions.redis_client.watchdog import TICKS, Watchdog

__all__ = ["Cluster"]

MAX_HOPS = 5  # redirections without a pause; more of them mean that servers contradict each other at the moment
RETRY_PAUSE = 0.03  # seconds between two attempts while a slot moves or has no master


class Cluster:
    """Sends commands to the masters of a cluster. Must be made and used inside ``loop``."""

    def __init__(
        self,
        config: RedisConfig,
        loop: asyncio.AbstractEventLoop,
        watchdog: Watchdog,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._config = config
        self._loop = loop
        self._large = min(config.max_value_bytes + BESIDE_A_VALUE, LARGE)
        self.watchdog = watchdog
        self._map = SlotMap(config, loop, watchdog, self, jitter)
        self._owners = self._map.owners
        self._waiting: deque[Command] = deque()
        self._retry: asyncio.TimerHandle | None = None
        self._context = contextvars.Context()
        self._timeouts = 0
        self.redirects = 0
        self.open_batches = OpenBatches()
        self.tally = Tally()
        self.guard: object = None  # closes the cluster at the end of the loop; must live as long as the connections
        watchdog.watched.append(self)

    def __repr__(self) -> str:
        return f"<Cluster waiting={len(self._waiting)} {list(self._map.nodes.values())}>"

    in_flight = property(lambda self: self._map.sum("in_flight"), doc="Commands written and not answered yet.")
    bytes_in_flight = property(lambda self: self._map.sum("bytes_in_flight"), doc="Bytes of these commands.")
    waiting = property(lambda self: len(self._waiting) + self._map.sum("waiting"), doc="Commands not written yet.")
    reconnects = property(lambda self: self._map.total("reconnects"), doc="Connections made anew, to any server.")
    timeouts = property(lambda self: self._timeouts + self._map.total("timeouts"), doc="Commands given up so far.")
    login_renewals = property(lambda self: self._map.total("login_renewals"), doc="Logins renewed, at any server.")
    written = property(lambda self: self._map.total("written"), doc="Commands written so far.")
    writes = property(lambda self: self._map.total("writes"), doc="Writes to sockets so far.")
    scripts = property(lambda self: self.tally.scripts, doc="Batch scripts, with a key for each caller, so far.")
    script_keys = property(lambda self: self.tally.keys, doc="Keys of these scripts.")
    refreshes = property(lambda self: self._map.refreshes, doc="How often the map of slots was read.")

    slot_of = staticmethod(slot_of)
    is_cluster = True

    def servers(self) -> dict[str, ServerStats]:
        """Return the numbers of each server, and of the cluster as a whole what belongs to none of them."""
        own = of_cluster(len(self._waiting), self._timeouts, self.scripts, self.script_keys, not self._map.reason)
        return {**self._map.servers(), CLUSTER: own}

    async def masters(self) -> list[Node]:
        """Ask for the servers that have slots now. Raises NotSent if no server answers within the timeout."""
        return await self._map.masters()

    def node_of(self, key: Argument) -> Node | None:
        """Return the master that commands for ``key`` go to now; None if that is not known."""
        return self._owners[slot_of(key)]

    def clock_of(self, key: Argument) -> ServerClock:
        """Return the clock of the master that has ``key``. Without a known master its time is unknown."""
        owner = self._owners[slot_of(key)]
        return ServerClock() if owner is None else owner.clock

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
            self.send(future, packed, replay, slot_of(key_of(args)), born)
        else:
            self.send(future, large(packed, self._config.max_value_bytes, bounded), replay, slot_of(key_of(args)), born)
        return future

    def send(self, waiter: Waiter, packed: Packed, replay: Replay, slot: int, born: int | None = None) -> None:
        """Send one command to the master of ``slot``; see ``Node.send``."""
        if self.watchdog.asleep:
            self.watchdog.wake()
        self._dispatch((waiter, packed, self.watchdog.tick if born is None else born, replay, slot))

    def send_open(self, batch: Packing, replay: Replay, slot: int, born: int) -> None:
        """Send a batch that later calls for keys of ``slot`` may join; see ``Node.send_open``."""
        if self.watchdog.asleep:
            self.watchdog.wake()
        owner = self._owners[slot]
        command = (batch, batch.pack, born, replay, slot)
        open_batches = self.open_batches
        if owner is None:
            self._dispatch(command)
            return
        if owner.trusted is not None:  # as in submit, without the call
            owner.trusted.send(command)
        elif not owner.submit(command):
            open_batches.pop(slot, None)
            return
        open_batches[slot] = batch
        if len(open_batches) > open_batches.many:
            open_batches.clear_settled()

    async def close(self, reason: str = "the event loop is shutting down") -> None:
        """End all connections and settle every command."""
        if self._retry is not None:
            self._retry.cancel()
        await self._map.close(reason)
        self.fail_waiting(reason)

    # Where commands go

    def _dispatch(self, command: Command) -> None:
        owner = self._owners[command[4]]
        if owner is not None:
            owner.submit(command)
            return
        if self._map.reason:
            settle(command, NotSent(self._map.reason))
        else:
            self._waiting.append(command)
        if not self._map.is_refreshing():
            self._map.refresh()

    def on_error(self, asked: Address, command: Command, error: ServerError) -> None:
        """Handle an error reply: follow a redirection, or give the caller the error."""
        code, address = error.code, redirected_to(error, asked)
        if self._map.closed or command[4] == NO_SLOT or (address is None and code not in ("TRYAGAIN", "CLUSTERDOWN")):
            settle_with_error(command, error)
            return
        target = None if address is None else self._map.node_at(address)
        self.redirects += 1
        if (asked_node := self._map.nodes.get(asked)) is not None:
            asked_node.redirects += 1
        waiter, packed, born, replay, slot = command
        waiter = waiter.waiter if isinstance(waiter, LoggedInAgain) else waiter
        hops, waiter = (waiter.hops + 1, waiter.waiter) if isinstance(waiter, Redirected) else (1, waiter)
        packed = packed.packed if isinstance(packed, Asking) else packed
        if code == "CLUSTERDOWN":
            self._map.suspect(asked)
        elif code == "MOVED" and target is not None:
            self._map.correct(slot, target)
        parts = waiter.split() if code == "TRYAGAIN" and isinstance(waiter, Divisible) else ()
        if parts:  # the keys are on two servers: each key becomes a command of its own
            for part in parts:
                self._dispatch((part, part.pack, born, replay, slot))
        elif target is None or hops > MAX_HOPS:
            self._try_later((waiter, packed, born, replay, slot), str(error))
        else:
            packed = Asking(packed) if code == "ASK" else packed
            target.submit((Redirected(waiter, hops), packed, born, replay, slot))

    def _try_later(self, command: Command, words: str) -> None:
        waiter, packed, born, replay, slot = command
        self._waiting.append((Redirected(waiter, 0, words), packed, born, replay, slot))
        if self._retry is None and not self._map.closed:
            self._retry = self._loop.call_later(RETRY_PAUSE, self._dispatch_waiting, context=self._context)

    def _dispatch_waiting(self) -> None:
        self._retry = None
        self.dispatch([])

    def dispatch(self, nodes: list[Node]) -> None:
        """Send the commands that wait here and at these masters, by the current map."""
        for node in nodes:
            node.move_waiting(self._waiting)
        left, self._waiting = self._waiting, deque()
        try:
            hand_on(left, self._dispatch_wanted)
        finally:
            self._waiting.extend(left)  # empty, except after an exception

    def _dispatch_wanted(self, command: Command) -> None:
        if not command[0].done():
            self._dispatch(command)

    def fail_waiting(self, reason: str) -> None:
        """Settle the commands that wait here with that reason."""
        while self._waiting:
            settle(self._waiting[0], NotSent(reason))
            self._waiting.popleft()

    # Deadlines

    def is_waiting(self) -> bool:
        """Tell whether commands wait here; the watchdog and the map ask."""
        return bool(self._waiting)

    def on_tick(self, tick: int) -> None:
        """Give up commands that are too old; the watchdog calls this."""
        for command in self._waiting:
            if command[2] <= tick - TICKS - 1 and not command[0].done():
                self._timeouts += not_counted((command,))
                seconds = f"{self._config.timeout:g} s"
                settle(command, NotSent(f"{self._config.address} took no command within {seconds}"))
        if self._waiting:
            self._waiting = deque(command for command in self._waiting if not command[0].done())


@runtime_checkable
class Divisible(Waiter, Protocol):
    """The waiter of a command with several keys that can be split into several commands."""

    def split(self) -> Sequence[Divisible]:
        """Return a waiter for each key; none if there is only one key."""

    def pack(self) -> bytes:
        """Return the bytes of its command."""


class Redirected:
    """Waits in the place of a caller whose command was redirected to another server, or is sent once more.

    ``words`` is the error of the server that refused the command for now. If the command is given up later, its error
    quotes it.
    """

    __slots__ = ("_words", "hops", "waiter")

    def __init__(self, waiter: Waiter, hops: int, words: str = "") -> None:
        self.waiter = waiter
        self.hops = hops
        self._words = words

    def done(self) -> bool:
        """Tell whether the caller has given up."""
        return self.waiter.done()

    def set_result(self, result: Reply) -> None:
        """Pass the reply on."""
        self.waiter.set_result(result)

    def set_exception(self, exception: Exception) -> None:
        """Pass the error on."""
        if self._words and isinstance(exception, NotSent):
            exception = NotSent(f"{exception}; last it said: {self._words}")
        self.waiter.set_exception(exception)
