"""The map of a cluster, from slots to masters: asks for it, keeps it, and corrects it.

Rules this file keeps:

* There is one ``Node`` per master, connected when first needed. Replicas are never read. They are asked for the slots
  when no known master answers: they may be the masters by now.
* One task at a time asks for the slots: at the start, after a MOVED, and for as long as a master cannot be reached or a
  needed slot has no master. It asks with growing pauses, whatever the number of callers. Only ``masters`` asks by
  itself, and no request of an application calls it.
* A command whose master was lost waits at the master's node as for a lone server, and moves to the new master when one
  is known. If no server of the cluster has ever answered, calls fail at once, as for a lone server that is down.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable
from typing import Protocol

from chuk_sessions.exceptions import NotSent, ProviderError, ServerError
from chuk_sessions.redis_client.commands import NO_SLOT, Command, Replay, Reply, pack
from chuk_sessions.redis_client.config import Address, RedisConfig, shown
from chuk_sessions.redis_client.dial import answer_within
from chuk_sessions.redis_client.link import FIRST_PAUSE, MAX_PAUSE
from chuk_sessions.redis_client.node import Node
from chuk_sessions.redis_client.server_stats import ServerStats, total
from chuk_sessions.redis_client.slots import SLOTS, SlotRange, parse_replicas, parse_slots
from chuk_sessions.redis_client.states import State
from chuk_sessions.redis_client.watchdog import Watchdog

__all__ = ["SlotMap", "Traffic"]

logger = logging.getLogger(f"{__package__}.cluster")  # a name that applications know

ASK_TIMEOUT = 1.0  # seconds for a server to tell the slots, before another is asked
SO_FAR = ("reconnects", "timeouts", "login_renewals", "written", "writes")
TROUBLE = (State.RECONNECTING, State.DOWN)
PRUNE_PAUSE = 1.0  # seconds until the next look at servers that have no slots any more


class Traffic(Protocol):
    """The cluster that sends commands by the map."""

    def is_waiting(self) -> bool:
        """Tell whether commands wait for the map to become right."""

    def dispatch(self, nodes: list[Node]) -> None:
        """Send the commands that wait for the new map, and for these masters, which cannot be reached."""

    def fail_waiting(self, reason: str) -> None:
        """Settle the commands that wait for the map: it will not become right soon."""

    def on_error(self, asked: Address, command: Command, error: ServerError) -> None:
        """Handle an error that the server at ``asked`` replied to the command."""


class SlotMap:
    """The masters of a cluster and their slots. Belongs to ``loop``."""

    def __init__(
        self,
        config: RedisConfig,
        loop: asyncio.AbstractEventLoop,
        watchdog: Watchdog,
        traffic: Traffic,
        jitter: Callable[[], float],
    ) -> None:
        self._config = config
        self._loop = loop
        self._watchdog = watchdog
        self._traffic = traffic
        self._jitter = jitter
        self._known = False  # whether the slots have ever been told
        self._refreshing: asyncio.Task[None] | None = None
        self._refresh_wanted = False
        self._pause = 0.0
        self._suspect: Address | None = None  # the server that last said CLUSTERDOWN
        self._replicas: set[Address] = set()  # by the last reply: may be the masters when all known masters are gone
        self._leaving: set[Node] = set()  # nodes that are closing, because they have no slots any more
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._context = contextvars.Context()
        self._past = dict.fromkeys(SO_FAR, 0)  # of servers that are gone
        self._gone: dict[str, ServerStats] = {}
        self.nodes: dict[Address, Node] = {}
        self.owners: list[Node | None] = [None] * SLOTS  # by slot; the list object stays the same
        self.closed = False
        self.reason = ""  # why calls fail at once; empty if they do not
        self.refreshes = 0

    def sum(self, name: str) -> int:
        """Add up a number of the current nodes."""
        return sum(getattr(node, name) for node in list(self.nodes.values()))  # another thread may ask

    def total(self, name: str) -> int:
        """Add up a number of the current nodes and of those that are gone."""
        return self._past[name] + self.sum(name)

    def servers(self) -> dict[str, ServerStats]:
        """Return the numbers of each server, also of those that are gone."""
        return total(self._gone, *(node.servers() for node in list(self.nodes.values())))

    def node_at(self, address: Address) -> Node:
        """Return the node for the server at ``address``; make it if it is new."""
        node = self.nodes.get(address)
        if node is None:
            config = self._config.at(address)

            def on_error(node: Node, command: Command, error: ServerError) -> None:
                self._traffic.on_error(address, command, error)

            node = Node(config, self._loop, self._watchdog, None, on_error, self.refresh, self._jitter)
            self.nodes[address] = node
        return node

    def correct(self, slot: int, owner: Node) -> None:
        """Take over a MOVED: ``owner`` has that slot. Refresh, because other slots may have moved too."""
        self.owners[slot] = owner
        self.refresh()

    def suspect(self, address: Address) -> None:
        """Ask the server last that said CLUSTERDOWN, because its map may be the reason."""
        self._suspect = address
        self.refresh()

    async def masters(self) -> list[Node]:
        """Ask for the servers that have slots now, by address. Raises NotSent if none answers within the timeout."""
        if self.closed:
            raise NotSent(self.reason)
        try:
            async with asyncio.timeout(self._config.timeout):
                ranges = await self._ask()
        except TimeoutError as exc:
            raise NotSent(f"no server of {self._config.address} told where the slots are in time") from exc
        self._install(ranges)
        return [self.node_at(address) for address in sorted({address for _, _, address in ranges})]

    async def close(self, reason: str) -> None:
        """Stop asking, and end all connections."""
        self.closed, self.reason = True, reason
        for timer in self._timers.values():
            timer.cancel()
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait([self._refreshing])
        await asyncio.gather(*(node.close(reason) for node in (*self.nodes.values(), *self._leaving)))

    # Refreshing

    def refresh(self) -> None:
        """Ask for the slots now, or once more if a task is asking already."""
        self._refresh_wanted = True
        if not self.closed and not self.is_refreshing():
            self._refreshing = self._context.copy().run(self._loop.create_task, self._keep_refreshing())
            self._refreshing.add_done_callback(self._refresh_ended)

    def is_refreshing(self) -> bool:
        """Tell whether a task is asking for the slots."""
        return self._refreshing is not None and not self._refreshing.done()

    def _refresh_ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():  # by a framework that cancels all tasks: the next command begins anew
            self._traffic.fail_waiting(f"asking {self._config.address} for its slots was given up")
        elif task.exception() is not None:
            logger.error("asking %s for its slots failed", self._config.address, exc_info=task.exception())
            self._traffic.fail_waiting(f"asking {self._config.address} for its slots failed")

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
        if not self.is_refreshing():
            self._pause = 0.0

    def _is_troubled(self) -> bool:
        """Tell whether to ask again: the slots may be about to change, or are not known."""
        return (
            self._traffic.is_waiting()
            or not self._known
            or any(node.state in TROUBLE or node.is_in_doubt for node in self.nodes.values())
        )

    def _set_timer(self, name: str, delay: float, callback: Callable[[], None]) -> None:
        def run() -> None:
            del self._timers[name]
            callback()

        if name not in self._timers and not self.closed:
            self._timers[name] = self._loop.call_later(delay, run, context=self._context)

    # Asking

    async def _ask(self) -> list[SlotRange]:
        """Return the map of the first server that answers. The order (see ``_rank``) is computed anew after each."""
        self.refreshes += 1
        reasons: dict[Address, str] = {}
        no_cluster = False
        addresses = {*self.nodes, *self._config.hosts, *self._replicas}
        for seconds in (min(ASK_TIMEOUT, self._config.timeout), self._config.connect_timeout):
            asked: set[Address] = set()
            while left := addresses - asked:
                address = min(left, key=self._rank)
                asked.add(address)
                try:
                    return await self._ask_one(address, seconds)
                except TimeoutError:
                    reasons[address] = "no answer"
                except ProviderError as exc:
                    reasons[address] = str(exc)
                    no_cluster = no_cluster or (isinstance(exc, ServerError) and exc.code == "ERR")
            addresses = {address for address in addresses if reasons[address] == "no answer"}  # they may be slow
        details = "; ".join(f"{shown(address)}: {reason}" for address, reason in reasons.items())
        if no_cluster:
            details += "); several hosts without a name mean a cluster (Sentinels: end the URL with /name-of-the-master"
        raise NotSent(f"no server of {self._config.address} told where the slots are ({details})")

    async def _ask_one(self, address: Address, seconds: float) -> list[SlotRange]:
        question: asyncio.Future[Reply] = self._loop.create_future()
        self.node_at(address).send(question, pack((b"CLUSTER", b"SLOTS")), Replay.NEVER, NO_SLOT)
        reply = await answer_within(seconds, question)
        ranges = parse_slots(reply, address)
        if not ranges:
            raise NotSent("it has no slots")
        self._replicas = parse_replicas(reply, address)
        return ranges

    def _rank(self, address: Address) -> tuple[bool, int, float]:
        """Return the rank of a server in the order of asking.

        First come servers that are up, then those that may be up, then replicas, then servers that cannot be reached.
        The server that said CLUSTERDOWN comes last. Servers of one rank come at random.
        """
        node = self.nodes.get(address)
        if node is None:
            place = 1 if address in self._config.hosts else 2
        else:
            place = 0 if node.is_well else 3 if node.state in TROUBLE or node.is_in_doubt else 1
        return address == self._suspect, place, self._jitter()

    def _not_told(self, reason: str) -> None:
        if self._known:
            return  # the state of each server decides what its callers get
        if not self.reason:
            logger.error("%s; calls fail at once until one does", reason)
        self.reason = reason
        self._traffic.fail_waiting(reason)

    def _install(self, ranges: list[SlotRange]) -> None:
        if self.reason:
            logger.warning("%s answers", self._config.address)
        self._known, self.reason = True, ""
        by_slot: list[Node | None] = [None] * SLOTS
        for first, last, address in ranges:
            by_slot[first : last + 1] = [self.node_at(address)] * (last + 1 - first)
        self.owners[:] = by_slot
        troubled = [node for node in self.nodes.values() if not node.is_well]
        self._traffic.dispatch(troubled)
        owners = set(self.owners)
        for node in troubled:
            if node.is_in_doubt and node not in owners:
                node.desert("it was quiet, does not answer, and has no slots any more")
        self._prune()

    def _prune(self) -> None:
        """Close the connections to servers that have no slots, once no command is in flight there."""
        owners = set(self.owners)
        for address, node in list(self.nodes.items()):
            if node not in owners and not node.is_waiting():
                node.end("it has no slots any more")  # at once: a task could be cancelled before it begins
                self._leaving.add(node)
                self._gone = total(self._gone, {name: each.past() for name, each in node.servers().items()})
                self._past = {name: number + getattr(node, name) for name, number in self._past.items()}
                del self.nodes[address]
                closing = self._loop.create_task(node.close())
                closing.add_done_callback(lambda _, node=node: self._leaving.discard(node))  # type: ignore[misc]
        if any(node not in owners for node in self.nodes.values()):
            self._set_timer("prune", PRUNE_PAUSE, self._prune)
