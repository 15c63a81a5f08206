"""The front of the data path: from a URL to replies, in any event loop and process."""

from __future__ import annotations

import asyncio
import contextvars
import os
import weakref
from asyncio import get_running_loop
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, cast

from chuk_sessions.redis_client.cluster import Cluster
from chuk_sessions.redis_client.commands import Argument, Packed, Packing, Replay, Reply, Waiter, pack
from chuk_sessions.redis_client.config import Credentials, RedisConfig
from chuk_sessions.redis_client.master import Master
from chuk_sessions.redis_client.node import Node
from chuk_sessions.redis_client.open_batches import OpenBatches, Tally
from chuk_sessions.redis_client.replies import SHAPES, unknown_shape
from chuk_sessions.redis_client.sentinel import Sentinels, leave_a_replica
from chuk_sessions.redis_client.server_clock import ServerClock
from chuk_sessions.redis_client.server_stats import ServerStats, total
from chuk_sessions.redis_client.tls import insecure_from_env
from chuk_sessions.redis_client.url import Url, parse_url, url_text
from chuk_sessions.redis_client.watchdog import Watchdog

if TYPE_CHECKING:
    from chuk_sessions.redis_client.tracking import Tracking

__all__ = ["Call", "Client", "Deployment", "Ticking", "step"]

NOW = ("in_flight", "bytes_in_flight", "waiting")
SO_FAR = ("reconnects", "timeouts", "redirects", "login_renewals", "written", "writes", "scripts", "script_keys")
UNDER_WAY = ("in_flight", "waiting")
NEAR_NOW = ("entries", "bytes")  # of a near cache
NEAR_SO_FAR = ("hits", "misses", "lapsed", "invalidations", "poisoned", "evictions", "flushes", "fences")


class Ticking(Protocol):
    """Counts the ticks from which deadlines count: a ``Watchdog``."""

    @property
    def tick(self) -> int:
        """The current tick."""


class Deployment(Protocol):
    """One server (``Node``; with Sentinels whichever is the master) or a ``Cluster``, as seen from one event loop."""

    open_batches: OpenBatches  # those of scripts that calls may join
    tally: Tally
    guard: object

    @property
    def watchdog(self) -> Ticking:
        """What counts the ticks: an attribute, as every call begins with it, and a property would take longer."""

    def slot_of(self, key: Argument) -> int:
        """Return the slot of a key: all keys of a command must have one slot."""

    @property
    def is_cluster(self) -> bool:
        """Whether slots can move between several masters."""

    def servers(self) -> dict[str, ServerStats]:
        """Return the numbers of each server, by its name."""

    async def masters(self) -> list[Node]:
        """Return the servers that have keys now; a cluster is asked anew. Raises NotSent if no server answers."""

    def node_of(self, key: Argument) -> Node | None:
        """Return the server that commands for ``key`` go to now; None if that is not known."""

    def clock_of(self, key: Argument) -> ServerClock:
        """Return the clock of the server that has ``key``; those of a cluster may differ."""

    def call(
        self, args: tuple[Argument, ...], replay: Replay, born: int | None = None, bounded: bool = True
    ) -> asyncio.Future[Reply]:
        """See ``Node.call``."""

    def send(self, waiter: Waiter, packed: Packed, replay: Replay, slot: int, born: int | None = None) -> None:
        """See ``Node.send``."""

    def send_open(self, batch: Packing, replay: Replay, slot: int, born: int) -> None:
        """See ``Node.send_open``."""

    async def close(self) -> None:
        """End the connections and settle every command."""


# The deployment that the commands of one call go to, and the tick when the call began: their deadlines count from it.
Call = tuple[Deployment, int]


def step(call: Call, *args: Argument, replay: Replay = Replay.NEVER) -> asyncio.Future[Reply]:
    """Send one of the commands of a call; see ``Client.call``."""
    deployment, born = call
    return deployment.call(args, replay, born)


class Client:
    """Sends commands to the servers of ``url``. Each event loop, and each forked process, has its own connections.

    Nothing is parsed or connected before the first call. A client is meant to be shared and to live as long as the
    process. Connections close when their event loop shuts down, or some time after the last reference to the client is
    gone. ``credentials`` and ``insecure`` are as in ``parse_url``; the environment is read when the client is made.
    With ``timings`` round trips are measured.
    """

    def __init__(
        self,
        url: str | Url,
        credentials: Credentials | None = None,
        insecure: bool | None = None,
        timings: bool = False,
    ) -> None:
        self._opened: dict[asyncio.AbstractEventLoop, Deployment] = {}
        self._url = url_text(url)
        self._credentials = credentials
        self._insecure = insecure_from_env() if insecure is None else insecure
        self._timings = timings
        self._config: RedisConfig | None = None
        self._past = dict.fromkeys(SO_FAR, 0)  # the numbers of loops that are gone
        self._near_past: dict[str, int] | None = None  # the same of their near caches, once there is one
        self._gone: dict[str, ServerStats] = {}  # the same for each server
        _clients.add(self)

    def __repr__(self) -> str:
        return f"<Client {self._config.address if self._config else 'unused'} {list(self._opened.values())}>"

    def __del__(self) -> None:
        """Make each loop close its connections, which nothing else would close; see ``_close_unused``."""
        for loop, deployment in self._opened.items():
            try:
                loop.call_soon_threadsafe(_close_unused, loop, deployment, self.timeout, context=contextvars.Context())
            except RuntimeError:  # the loop is closed, and so are its connections
                continue

    def call(self, *args: Argument, replay: Replay = Replay.NEVER) -> asyncio.Future[Reply]:
        """Send one command. Return a future of its reply as hiredis gives it (bytes, int, None, list).

        In a cluster the command goes to the master of its key: the fourth argument of a script, the second of any other
        command. The future raises ServerError with the server's message; NotSent if the command could not be sent
        within the timeout, or the server is down; OutcomeUnknown if it was sent and its reply was lost or late.
        ``replay`` says whether it may be sent again then. Cancelling the future is safe at any time.

        Raises ValueError if the command is larger than ``max_value_bytes``, ProviderError if the URL cannot be used,
        RuntimeError outside an event loop.
        """
        return self.deployment().call(args, replay)

    def begin(self) -> Call:
        """Begin a call of several commands and scripts with the timeout of one command. Raises as ``call``."""
        try:  # as in ``deployment``, without the call
            deployment = self._opened[get_running_loop()]
        except KeyError:
            deployment = self.deployment()
        return deployment, deployment.watchdog.tick

    async def masters(self) -> list[Master]:
        """Return the servers that have keys now, to send commands to each: one server, or the masters of a cluster.

        A cluster is asked for its masters each time, as they change. Raises as ``call`` does.
        """
        deployment = self.deployment()
        in_cluster = deployment.is_cluster
        return [Master(node, deployment.node_of, in_cluster, self) for node in await deployment.masters()]

    async def time_at(self, key: Argument, call: Call | None = None) -> float:
        """Return the time of the server that has ``key``, in seconds since the epoch; servers of a cluster may differ.

        With ``call`` this is a step of that call. Raises as the method ``call`` does.
        """
        deployment, born = call or self.begin()
        future: asyncio.Future[Reply] = get_running_loop().create_future()
        deployment.send(future, pack((b"TIME",)), Replay.READ, deployment.slot_of(key), born)
        reply = await future
        try:
            seconds, microseconds = reply
            return int(seconds) + int(microseconds) / 1_000_000
        except SHAPES as exc:
            raise unknown_shape("TIME") from exc

    def is_together(self, *keys: Argument) -> bool:
        """Tell whether one command or script may have all these keys: in a cluster, whether they share a slot.

        Raises as ``call`` does.
        """
        slot_of = self.deployment().slot_of
        return len({slot_of(key) for key in keys}) <= 1

    def deployment(self) -> Deployment:
        """Return the server or cluster as seen from the running loop. Raises as ``call`` does."""
        loop = get_running_loop()
        try:
            return self._opened[loop]
        except KeyError:
            return self._open(loop)

    def opened(self, loop: Any) -> Deployment | None:
        """Return the server or cluster as seen from that loop; None if it was not used there."""
        return self._opened.get(loop)

    def open_as(self, loop: object, deployment: Deployment) -> None:
        """Use that deployment in that loop."""
        self._opened[cast(asyncio.AbstractEventLoop, loop)] = deployment

    def forget(self, loop: object, deployment: Deployment) -> None:
        """Use that deployment no more in that loop, and keep its numbers."""
        if self.opened(loop) is deployment:
            self._forget(cast(asyncio.AbstractEventLoop, loop))

    @property
    def config(self) -> RedisConfig:
        """What the URL says. Raises ProviderError if the URL cannot be used."""
        return self._parsed()

    @property
    def is_cluster(self) -> bool:
        """Whether the URL leads to a cluster. Raises ProviderError if the URL cannot be used."""
        return self._parsed().cluster

    @property
    def timeout(self) -> float:
        """Seconds that a command may take. Raises ProviderError if the URL cannot be used."""
        return self._parsed().timeout

    @property
    def db(self) -> int:
        """The number of the database. Raises ProviderError if the URL cannot be used."""
        return self._parsed().db

    def stats(self) -> dict[str, float]:
        """Return numbers of this process, over all its event loops.

        Current numbers: commands ``in_flight`` (written and not answered), their ``bytes_in_flight``, commands
        ``waiting`` to be written. Numbers since the start: ``mean_batch`` (commands per write), ``keys_per_script``
        (validations, and sessions opened, per script), ``reconnects``, ``timeouts``, ``redirects`` and
        ``login_renewals`` (on connections that went on). With a near cache also its numbers, see
        docs/operate/near-cache.md.
        """
        numbers: dict[str, float] = {name: self._past.get(name, 0) for name in (*NOW, *SO_FAR)}
        for loop, deployment in list(self._opened.items()):
            for name in SO_FAR if loop.is_closed() else (*NOW, *SO_FAR):
                numbers[name] += getattr(deployment, name)
        written, writes = numbers.pop("written"), numbers.pop("writes")
        scripts, keys = numbers.pop("scripts"), numbers.pop("script_keys")
        means = {"mean_batch": (written, writes), "keys_per_script": (keys, scripts)}
        numbers |= {name: round(sum_ / of, 2) if of else 0.0 for name, (sum_, of) in means.items()}
        return numbers if self._near_past is None else numbers | self._near_numbers(self._near_past)

    def count_near(self) -> None:
        """Count near caches from now on: ``stats`` has their numbers."""
        if self._near_past is None:
            self._near_past = dict.fromkeys(NEAR_SO_FAR, 0)

    def trackings(self) -> list[Tracking]:
        """Return the near caches, one of each open event loop that has one."""
        opened = [deployment for loop, deployment in list(self._opened.items()) if not loop.is_closed()]
        return [each for each in map(_tracking_of, opened) if each is not None]

    def _near_numbers(self, past: dict[str, int]) -> dict[str, float]:
        trackings = self.trackings()
        numbers: dict[str, float] = {"near_state": min((each.rank for each in trackings), default=1)}
        for name in NEAR_NOW:
            numbers[f"near_{name}"] = sum(each.number(name) for each in trackings)
        closed = [_tracking_of(deployment) for loop, deployment in list(self._opened.items()) if loop.is_closed()]
        for name in NEAR_SO_FAR:
            counted = sum(each.number(name) for each in (*trackings, *closed) if each is not None)
            numbers[f"near_{name}"] = past[name] + counted
        return numbers

    def server_stats(self) -> dict[str, ServerStats]:
        """Return the numbers of each server in this process, by its name, over all event loops."""
        found = self._gone
        for loop, deployment in list(self._opened.items()):
            servers = deployment.servers()
            found = total(found, _past(servers) if loop.is_closed() else servers)
        return dict(found)

    def _open(self, loop: asyncio.AbstractEventLoop) -> Deployment:
        config = self._parsed()
        for other in list(self._opened):
            if other.is_closed():
                self._forget(other)
        watchdog = Watchdog(loop, config.timeout)
        deployment = _make(config, loop, watchdog)
        deployment.guard = guard = _close_with_the_loop(deployment, watchdog)
        with suppress(StopIteration):  # the generator now stands at its yield, and the loop knows it
            guard.__anext__().send(None)
        self._opened[loop] = deployment
        return deployment

    def _parsed(self) -> RedisConfig:
        if self._config is None:
            config = parse_url(self._url, self._credentials, self._insecure)
            self._config = replace(config, timings=True) if self._timings else config
        return self._config

    def _forget(self, loop: asyncio.AbstractEventLoop) -> None:
        deployment = self._opened.pop(loop, None)
        if deployment is None:
            return
        self._gone = total(self._gone, _past(deployment.servers()))
        for name in SO_FAR:
            self._past[name] += getattr(deployment, name)
        tracking = _tracking_of(deployment)
        if tracking is not None and self._near_past is not None:
            for name in NEAR_SO_FAR:
                self._near_past[name] += tracking.number(name)


def _past(servers: dict[str, ServerStats]) -> dict[str, ServerStats]:
    return {name: numbers.past() for name, numbers in servers.items()}


def _tracking_of(deployment: Deployment) -> Tracking | None:
    """Return the near cache of a server; None if it has none."""
    return getattr(deployment, "tracking", None)


def _make(config: RedisConfig, loop: asyncio.AbstractEventLoop, watchdog: Watchdog) -> Deployment:
    if config.cluster:
        return Cluster(config, loop, watchdog)
    if config.master is not None:
        return Node(config, loop, watchdog, Sentinels(config, loop).connect, leave_a_replica)
    return Node(config, loop, watchdog)


async def _close_with_the_loop(deployment: Deployment, watchdog: Watchdog) -> AsyncGenerator[None]:
    """Close the deployment when the loop shuts down its asynchronous generators, as ``asyncio.run`` does at its end.

    Until then this generator stands at its yield.
    """
    try:
        yield
    finally:
        watchdog.stop()
        await deployment.close()


def _close_unused(loop: asyncio.AbstractEventLoop, deployment: Deployment, timeout: float) -> None:
    """Close the connections of a client that is gone, once every command on them has ended."""
    loop.call_later(2 * timeout, _begin_to_close, loop, deployment, timeout)


def _begin_to_close(loop: asyncio.AbstractEventLoop, deployment: Deployment, timeout: float) -> None:
    if any(getattr(deployment, name) for name in UNDER_WAY):  # the application has held up the loop
        _close_unused(loop, deployment, timeout)
        return
    guard = cast(AsyncGenerator[None], deployment.guard)
    task = loop.create_task(_end(guard))
    _closing.add(task)
    task.add_done_callback(_closing.discard)


async def _end(guard: AsyncGenerator[None]) -> None:
    await guard.aclose()


_closing: set[asyncio.Task[None]] = set()
_clients: weakref.WeakSet[Client] = weakref.WeakSet()
_inherited: list[object] = []


def _after_fork_in_child() -> None:
    """Leave the parent's connections alone: even closing one would change the epoll set that both processes share."""
    for client in list(_clients):
        _inherited.append(client._opened)
        client._opened = {}


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
