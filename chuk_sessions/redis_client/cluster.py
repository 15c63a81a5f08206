"""A Redis Cluster, as seen from one event loop: each command goes to the master of its slot.

Rules this file keeps:

* One ``Node`` per master, connected when first needed. Replicas are never read.
* Redirections are per command: MOVED corrects the one slot and sends the command on; ASK sends it on once, right
  after ASKING; TRYAGAIN splits a batch into its keys; else it and CLUSTERDOWN have the command wait ``RETRY_PAUSE`` and
  begin anew. It keeps its deadline.
* The slots are asked for by one task at a time: at the start, after a MOVED, and for as long as a master cannot be
  reached or a slot that is needed has none; with growing pauses, whatever the number of callers. Only ``masters``,
  which no request of an application calls, asks by itself.
* A command whose master was lost waits there as it would for a lone server, and moves to the new master when one is
  known. If no server of the cluster has ever answered, calls fail at once, as for a lone server that is down.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from chuk_sessions.exceptions import NotSent, ProviderError, ServerError
from chuk_sessions.redis_client.commands import NO_SLOT, Argument, Asking, Command, Packed, Replay, Reply, Waiter, pack
from chuk_sessions.redis_client.config import Address, RedisConfig, shown
from chuk_sessions.redis_client.link import FIRST_PAUSE, MAX_PAUSE
from chuk_sessions.redis_client.node import Node
from chuk_sessions.redis_client.outcomes import settle, settle_with_error
from chuk_sessions.redis_client.replies import redirected_to
from chuk_sessions.redis_client.slots import SLOTS, SlotRange, key_of, parse_slots, slot_of
from chuk_sessions.redis_client.states import State
from chuk_sessions.redis_client.transport import answer_within
from chuk_sessions.redis_client.watchdog import TICKS, Watchdog

__all__ = ["Cluster"]

logger = logging.getLogger(__name__)

MAX_HOPS = 5  # redirections without a pause; more mean that servers contradict each other for the moment
RETRY_PAUSE = 0.03  # seconds between two attempts while a slot moves or has no master
ASK_TIMEOUT = 1.0  # seconds for a server to tell the slots, before another is asked
PRUNE_PAUSE = 1.0  # seconds until servers that have no slots any more are looked at again


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
        self._watchdog = watchdog
        self._jitter = jitter
        self._nodes: dict[Address, Node] = {}
        self._owners: list[Node | None] = [None] * SLOTS
        self._known = False  # whether the slots have ever been told
        self._closed = False
        self._reason = ""  # why calls fail at once; empty if they do not
        self._waiting: deque[Command] = deque()
        self._refreshing: asyncio.Task[None] | None = None
        self._refresh_wanted = False
        self._pause = 0.0
        self._suspect: Address | None = None  # said CLUSTERDOWN last
        self._leaving: set[Node] = set()  # closing, as they have no slots any more
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._context = contextvars.Context()
        self._past = dict.fromkeys(("reconnects", "timeouts", "written", "writes"), 0)  # of servers that are gone
        self._timeouts = 0
        self.refreshes = 0
        self.redirects = 0
        self.open_batch: object = None
        self.guard: object = None  # closes this at the end of the loop; must live as long as the connection
        watchdog.watched.append(self)

    def __repr__(self) -> str:
        return f"<Cluster waiting={len(self._waiting)} {list(self._nodes.values())}>"

    @property
    def tick(self) -> int:
        """Of the watchdog, now."""
        return self._watchdog.tick

    in_flight = property(lambda self: self._sum("in_flight"), doc="Commands written and not answered yet.")
    bytes_in_flight = property(lambda self: self._sum("bytes_in_flight"), doc="Of these.")
    waiting = property(lambda self: len(self._waiting) + self._sum("waiting"), doc="Commands not written yet.")
    reconnects = property(lambda self: self._total("reconnects"), doc="To any server, so far.")
    timeouts = property(lambda self: self._timeouts + self._total("timeouts"), doc="Of commands, so far.")
    written = property(lambda self: self._total("written"), doc="Commands written so far.")
    writes = property(lambda self: self._total("writes"), doc="Writes to sockets so far.")

    def slot_of(self, key: Argument) -> int:
        """What keys must have in common to be in one command."""
        return slot_of(key)

    is_cluster = True

    async def masters(self) -> list[Node]:
        """The servers that have slots, by address; asked for now. Raises NotSent if none tells within the timeout."""
        if self._closed:
            raise NotSent(self._reason)
        try:
            async with asyncio.timeout(self._config.timeout):
                ranges = await self._ask()
        except TimeoutError as exc:
            raise NotSent(f"no server of {self._config.address} told where the slots are in time") from exc
        self._install(ranges)
        return [self._node_at(address) for address in sorted({address for _, _, address in ranges})]

    def node_of(self, key: Argument) -> Node | None:
        """The master that commands for ``key`` go to now; None if that is not known."""
        return self._owners[slot_of(key)]

    def is_up(self, slot: int) -> bool:
        """Whether commands for ``slot`` go to a connection now."""
        owner = self._owners[slot]
        return owner is not None and owner.is_up(slot)

    def call(
        self, args: tuple[Argument, ...], replay: Replay = Replay.NEVER, born: int | None = None
    ) -> asyncio.Future[Reply]:
        """Send one command; a future with its reply, or one of the errors of ``Client.call``."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        self.send(future, pack(args), replay, slot_of(key_of(args)), born)
        return future

    def send(self, waiter: Waiter, packed: Packed, replay: Replay, slot: int, born: int | None = None) -> None:
        """Send one command to the master of ``slot``; see ``Node.send``."""
        if self._watchdog.asleep:
            self._watchdog.wake()
        self._dispatch((waiter, packed, self._watchdog.tick if born is None else born, replay, slot))

    async def close(self, reason: str = "the event loop is shutting down") -> None:
        """End all connections and settle every command."""
        self._closed, self._reason = True, reason
        for timer in self._timers.values():
            timer.cancel()
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait([self._refreshing])
        await asyncio.gather(*(node.close(reason) for node in (*self._nodes.values(), *self._leaving)))
        self._fail_waiting(reason)

    def _sum(self, name: str) -> int:
        return sum(getattr(node, name) for node in list(self._nodes.values()))  # another thread may ask

    def _total(self, name: str) -> int:
        return self._past[name] + self._sum(name)

    # Where commands go

    def _dispatch(self, command: Command) -> None:
        owner = self._owners[command[4]]
        if owner is not None:
            owner.submit(command)
            return
        if self._reason:
            settle(command, NotSent(self._reason))
        else:
            self._waiting.append(command)
        if not self._is_refreshing():
            self._refresh()

    def _node_at(self, address: Address) -> Node:
        node = self._nodes.get(address)
        if node is None:
            config = self._config.at(address)

            def refused(node: Node, command: Command, error: ServerError) -> None:
                self._refused(address, command, error)

            node = Node(config, self._loop, self._watchdog, None, refused, self._refresh, self._jitter)
            self._nodes[address] = node
        return node

    def _refused(self, asked: Address, command: Command, error: ServerError) -> None:
        """A server answered a command with an error: follow a redirection, else tell the caller."""
        code, address = error.code, redirected_to(error, asked)
        if self._closed or command[4] == NO_SLOT or (address is None and code not in ("TRYAGAIN", "CLUSTERDOWN")):
            settle_with_error(command, error)
            return
        target = None if address is None else self._node_at(address)
        self.redirects += 1
        waiter, packed, born, replay, slot = command
        hops, waiter = (waiter.hops + 1, waiter.waiter) if isinstance(waiter, Redirected) else (1, waiter)
        packed = packed.packed if isinstance(packed, Asking) else packed
        if code == "MOVED":
            self._owners[slot] = target
        if code == "CLUSTERDOWN":
            self._suspect = asked
        if code in ("MOVED", "CLUSTERDOWN"):
            self._refresh()
        parts = waiter.split() if code == "TRYAGAIN" and isinstance(waiter, Divisible) else ()
        if parts:  # some keys are here and some there: each goes its own way
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
        self._set_timer("retry", RETRY_PAUSE, self._dispatch_waiting)

    def _dispatch_waiting(self) -> None:
        commands, self._waiting = self._waiting, deque()
        for command in commands:
            if not command[0].done():
                self._dispatch(command)

    def _set_timer(self, name: str, delay: float, callback: Callable[[], None]) -> None:
        def run() -> None:
            del self._timers[name]
            callback()

        if name not in self._timers and not self._closed:
            self._timers[name] = self._loop.call_later(delay, run, context=self._context)

    def _fail_waiting(self, reason: str) -> None:
        while self._waiting:
            settle(self._waiting.popleft(), NotSent(reason))

    # Which server has which slots

    def _refresh(self) -> None:
        self._refresh_wanted = True
        if not self._closed and not self._is_refreshing():
            self._refreshing = self._context.copy().run(self._loop.create_task, self._keep_refreshing())
            self._refreshing.add_done_callback(self._refresh_ended)

    def _is_refreshing(self) -> bool:
        return self._refreshing is not None and not self._refreshing.done()

    def _refresh_ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():  # by a framework that cancels all tasks: the next command begins anew
            self._fail_waiting(f"asking {self._config.address} for its slots was given up")
        elif task.exception() is not None:
            logger.error("asking %s for its slots failed", self._config.address, exc_info=task.exception())
            self._fail_waiting(f"asking {self._config.address} for its slots failed")

    async def _keep_refreshing(self) -> None:
        while self._refresh_wanted or self._is_troubled():
            await asyncio.sleep(self._jitter() * self._pause)
            self._pause = min(max(FIRST_PAUSE, 2 * self._pause), MAX_PAUSE)
            self._refresh_wanted = False
            try:
                ranges = await self._ask()
            except ProviderError as exc:
                self._not_told(str(exc))
            else:
                self._install(ranges)
        self._set_timer("calm", MAX_PAUSE, self._calm_down)

    def _calm_down(self) -> None:
        if not self._is_refreshing():
            self._pause = 0.0

    def _is_troubled(self) -> bool:
        """Whether the slots may be about to change, or are not known: then it is asked again."""
        return (
            bool(self._waiting)
            or not self._known
            or any(node.state in (State.RECONNECTING, State.DOWN) for node in self._nodes.values())
        )

    async def _ask(self) -> list[SlotRange]:
        """What the first server that answers says; those that are up come first, in random order."""
        self.refreshes += 1
        reasons: dict[Address, str] = {}
        no_cluster = False
        addresses = sorted({*self._nodes, *self._config.hosts}, key=self._rank)
        for seconds in (min(ASK_TIMEOUT, self._config.timeout), self._config.connect_timeout):
            for address in addresses:
                try:
                    return await self._ask_one(address, seconds)
                except TimeoutError:
                    reasons[address] = "no answer"
                except ProviderError as exc:
                    reasons[address] = str(exc)
                    no_cluster = no_cluster or (isinstance(exc, ServerError) and exc.code == "ERR")
            addresses = [address for address in addresses if reasons[address] == "no answer"]  # these may be slow
        details = "; ".join(f"{shown(address)}: {reason}" for address, reason in reasons.items())
        if no_cluster:
            details += "); several hosts without a name mean a cluster (Sentinels: end the URL with /name-of-the-master"
        raise NotSent(f"no server of {self._config.address} told where the slots are ({details})")

    async def _ask_one(self, address: Address, seconds: float) -> list[SlotRange]:
        question: asyncio.Future[Reply] = self._loop.create_future()
        self._node_at(address).send(question, pack((b"CLUSTER", b"SLOTS")), Replay.NEVER, NO_SLOT)
        ranges = parse_slots(await answer_within(seconds, question), address)
        if not ranges:
            raise NotSent("it has no slots")
        return ranges

    def _rank(self, address: Address) -> tuple[bool, bool, float]:
        """Who is asked first: those that are up, and last who said CLUSTERDOWN: its map may be the reason."""
        node = self._nodes.get(address)
        return address == self._suspect, node is None or node.state is not State.UP, self._jitter()

    def _not_told(self, reason: str) -> None:
        if self._known:
            return  # each server's own state says what callers get
        if not self._reason:
            logger.error("%s; calls fail at once until one does", reason)
        self._reason = reason
        self._fail_waiting(reason)

    def _install(self, ranges: list[SlotRange]) -> None:
        if self._reason:
            logger.warning("%s answers", self._config.address)
        self._known, self._reason = True, ""
        self._owners = [None] * SLOTS
        for first, last, address in ranges:
            self._owners[first : last + 1] = [self._node_at(address)] * (last + 1 - first)
        for node in self._nodes.values():
            if node.state is not State.UP:
                self._waiting.extend(node.take_waiting())
        self._dispatch_waiting()
        self._prune()

    def _prune(self) -> None:
        """Close the connections to servers that have no slots, once nothing is under way there."""
        owners = set(self._owners)
        for address, node in list(self._nodes.items()):
            if node not in owners and not node.is_waiting():
                del self._nodes[address]
                for name in self._past:
                    self._past[name] += getattr(node, name)
                node.end("it has no slots any more")  # at once: a task could be cancelled before it begins
                self._leaving.add(node)
                closing = self._loop.create_task(node.close())
                closing.add_done_callback(lambda _, node=node: self._leaving.discard(node))  # type: ignore[misc]
        if any(node not in owners for node in self._nodes.values()):
            self._set_timer("prune", PRUNE_PAUSE, self._prune)

    # Deadlines

    def is_waiting(self) -> bool:
        """Whether commands wait here: for the watchdog."""
        return bool(self._waiting)

    def on_tick(self, tick: int) -> None:
        """Give up commands that are too old: for the watchdog."""
        for command in self._waiting:
            if command[2] <= tick - TICKS - 1 and not command[0].done():
                self._timeouts += 1
                seconds = f"{self._config.timeout:g} s"
                settle(command, NotSent(f"{self._config.address} took no command within {seconds}"))
        if self._waiting:
            self._waiting = deque(command for command in self._waiting if not command[0].done())


@runtime_checkable
class Divisible(Waiter, Protocol):
    """Waits for a command with several keys that could as well be several commands."""

    def split(self) -> Sequence[Divisible]:
        """One for each key; none if there is only one key."""

    def pack(self) -> bytes:
        """The bytes of its command."""


class Redirected:
    """Waits in the place of a caller whose command is sent on to another server, or once more.

    ``words`` are those of a server that said "not now", for the caller whose time runs out, wherever it waits then.
    """

    __slots__ = ("_words", "hops", "waiter")

    def __init__(self, waiter: Waiter, hops: int, words: str = "") -> None:
        self.waiter = waiter
        self.hops = hops
        self._words = words

    def done(self) -> bool:
        """Whether the caller has given up."""
        return self.waiter.done()

    def set_result(self, result: Reply) -> None:
        """Hand on the reply."""
        self.waiter.set_result(result)

    def set_exception(self, exception: Exception) -> None:
        """Hand on the error."""
        if self._words and isinstance(exception, NotSent):
            exception = NotSent(f"{exception}; last it said: {self._words}")
        self.waiter.set_exception(exception)
