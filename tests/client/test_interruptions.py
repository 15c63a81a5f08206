"""An exception at each call of the way of a command in turn: other calls are answered, and deadlines work."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

import pytest

from chuk_sessions.exceptions import NotSent, OutcomeUnknown, ProviderError
from chuk_sessions.redis_client.batch import BatchScript
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.cluster import Cluster
from chuk_sessions.redis_client.commands import Command, Replay, clear_given_up
from chuk_sessions.redis_client.connection import Connection
from chuk_sessions.redis_client.link import Link
from chuk_sessions.redis_client.node import Node
from chuk_sessions.redis_client.slot_map import SlotMap
from chuk_sessions.redis_client.slots import SlotRange
from chuk_sessions.redis_client.watchdog import Watchdog
from tests.support.helpers import eventually
from tests.support.interruptions import Interruption, interruptions
from tests.support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from tests.support.servers import Server

pytestmark = [
    pytest.mark.redis,
    # Of the attempt to connect, which the next command makes anew.
    pytest.mark.filterwarnings("ignore:coroutine 'Link._connect' was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

NAMES = BatchScript("local found = {} for i, key in ipairs(KEYS) do found[i] = key end return found")
SOON = 60.0  # seconds; before what would settle a forgotten call: its deadline, or the end of the grace
PATIENT = "socket_timeout=300&reconnect_grace=300"


@pytest.fixture
async def proxy(redis_server: Server, redis_url: str) -> AsyncIterator[Proxy]:
    async with Proxy(redis_server.host, redis_server.port) as proxy:
        yield proxy


async def go_on(client: Client) -> None:
    """Whatever happened, calls are answered, those of scripts too, and with what is theirs."""
    async with asyncio.timeout(SOON):
        names = [f"k{number}" for number in range(5)]
        calls = [NAMES.run(client, name, (), Replay.READ) for name in names]
        assert await asyncio.gather(*calls) == [name.encode() for name in names]
        echoes = [client.call(b"ECHO", name, replay=Replay.READ) for name in names]
        assert await asyncio.gather(*echoes) == [name.encode() for name in names]


def goes_on(client: Client) -> Callable[[], Awaitable[bool]]:
    """Whether calls are answered; an attempt to connect may have failed."""

    async def ask() -> bool:
        try:
            await go_on(client)
        except ProviderError:
            return False
        return True

    return ask


async def meet_the_deadline(client: Client, proxy: Proxy) -> None:
    proxy.swallowing = True
    async with asyncio.timeout(SOON):
        with pytest.raises((NotSent, OutcomeUnknown)):
            await client.call(b"ECHO", "late")
    proxy.swallowing = False


@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize("awake", [True, False])
async def test_a_command_that_is_sent(proxy: Proxy, connected: bool, awake: bool) -> None:
    for interruption in interruptions():
        client = Client(f"{proxy.url}?socket_timeout=0.05&socket_connect_timeout=5")
        if connected:
            await eventually(goes_on(client))
        if not awake:
            client.deployment()
            await asyncio.sleep(0.02)
        with interruption:
            _ = client.call(b"ECHO", "lost")
        await eventually(goes_on(client))  # the connection may take longer than the timeout
        await meet_the_deadline(client, proxy)


@pytest.mark.parametrize("joins", [True, False])
async def test_a_call_in_a_batch(redis_url: str, joins: bool) -> None:
    for interruption in interruptions():
        client = Client(f"{redis_url}?{PATIENT}")
        await go_on(client)
        others = [asyncio.create_task(NAMES.run(client, "other", (), Replay.READ)) for _ in range(joins)]
        await asyncio.sleep(0)
        call = NAMES.run(client, "lost", (), Replay.READ)
        with interruption, suppress(StopIteration):
            call.send(None)
        call.close()
        await go_on(client)
        async with asyncio.timeout(SOON):
            assert await asyncio.gather(*others) == [b"other"] * joins


@pytest.mark.parametrize("name", ["_flush", "buffer_updated"])
async def test_what_the_loop_calls(redis_url: str, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Calls end, with a reply that is theirs or with an error, and the next ones are answered."""
    original = getattr(Connection, name)
    for interruption in interruptions():
        client = Client(f"{redis_url}?{PATIENT}")
        await go_on(client)
        with monkeypatch.context() as patch:

            def once(self: Connection, *args: object) -> None:
                patch.setattr(Connection, name, original)
                with interruption:  # noqa: B023
                    original(self, *args)

            patch.setattr(Connection, name, once)
            calls = [client.call(b"ECHO", str(i), replay=(Replay.READ, Replay.NEVER)[i % 2]) for i in range(10)]
            refused = [client.call(b"NOSUCH") for _ in range(2)]
            scripts = [NAMES.run(client, str(i), (), Replay.READ) for i in range(10)]
            async with asyncio.timeout(SOON):
                outcomes = await asyncio.gather(*calls, *scripts, return_exceptions=True)
                errors = await asyncio.gather(*refused, return_exceptions=True)
        assert all(isinstance(error, ProviderError) for error in errors)
        for number, outcome in enumerate(outcomes):
            assert outcome == str(number % 10).encode() or isinstance(outcome, ProviderError), outcome


class Counting:
    """Calls that count one up each, of which some may be interrupted: none is lost, none is carried out twice."""

    def __init__(self, client: Client, keys: Sequence[str] = ("n",)) -> None:
        self._client = client
        self._keys = keys
        self._calls: list[asyncio.Future[object]] = []

    def begin(self) -> None:
        for number in range(4):
            self._calls += [self._client.call(b"INCR", key) for key in self._keys]
            self._calls += [self._client.call(b"ECHO", str(number), replay=Replay.READ)]
            if number % 2:
                self._calls += [asyncio.ensure_future(NAMES.run(self._client, key, ())) for key in self._keys]

    async def end(self, control: Client) -> None:
        """Every call ends, and what the server counted is what the outcomes say."""
        async with asyncio.timeout(SOON):
            outcomes = await asyncio.gather(*self._calls, return_exceptions=True)
        assert all(isinstance(each, bytes | int | ProviderError) for each in outcomes), outcomes
        certain = sum(isinstance(each, int) for each in outcomes)
        unknown = sum(isinstance(each, OutcomeUnknown) for each in outcomes)
        counted = 0
        for key in self._keys:
            counted += int(await control.call(b"GETDEL", key) or 0)
        assert certain <= counted <= certain + unknown, outcomes


@contextmanager
def interrupted_once(
    monkeypatch: pytest.MonkeyPatch,
    kind: type,
    name: str,
    interruption: Any,
    raised: type[BaseException] | None = None,
) -> Iterator[None]:
    """The next call of that method is interrupted; it raises ``raised`` then, nothing if that is None."""
    original = getattr(kind, name)

    def once(self: object, *args: object) -> None:
        monkeypatch.setattr(kind, name, original)
        ended = False
        with interruption:
            original(self, *args)
            ended = True
        if not ended and raised is not None:
            raise raised

    monkeypatch.setattr(kind, name, once)
    yield
    monkeypatch.setattr(kind, name, original)


def cut(client: Client) -> None:
    """End the connection to a lone server: seen in the next turn of the loop."""
    connection = cast(Node, client.deployment())._connection
    assert connection is not None
    connection.abort("a test")


@pytest.mark.parametrize("written", [True, False])
async def test_a_connection_that_is_lost(
    proxy: Proxy, redis_url: str, monkeypatch: pytest.MonkeyPatch, written: bool
) -> None:
    control = Client(redis_url)
    for interruption in interruptions():
        client = Client(f"{proxy.url}?{PATIENT}")
        await go_on(client)
        counting = Counting(client)
        proxy.holding = True
        with interrupted_once(monkeypatch, Connection, "connection_lost", interruption):
            counting.begin()
            if written:
                await eventually(lambda: client.stats()["in_flight"] > 8)  # noqa: B023
                proxy.cut()
            else:
                cut(client)
            proxy.holding = False
            proxy.drop_held()
            await counting.end(control)
        await go_on(client)


async def test_a_deletion_whose_connection_is_lost(
    proxy: Proxy, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was carried out is not said to be not sent."""
    control = Client(redis_url)

    async def is_gone() -> bool:
        return not await control.call(b"EXISTS", "k")

    for interruption in interruptions():
        client = Client(f"{proxy.url}?{PATIENT}")
        await go_on(client)
        await control.call(b"SET", "k", "v")
        proxy.holding = True
        with interrupted_once(monkeypatch, Connection, "connection_lost", interruption):
            deleting = client.call(b"DEL", "k", replay=Replay.DELETE)
            async with asyncio.timeout(SOON):
                await eventually(is_gone)
                proxy.cut()
                proxy.holding = False
                proxy.drop_held()
                (outcome,) = await asyncio.gather(deleting, return_exceptions=True)
        assert outcome == 1 or isinstance(outcome, OutcomeUnknown), outcome


@pytest.mark.parametrize("raised", [MemoryError, Interruption])
@pytest.mark.parametrize("first", [True, False])
async def test_a_connection_that_comes(
    proxy: Proxy, redis_url: str, monkeypatch: pytest.MonkeyPatch, first: bool, raised: type[BaseException]
) -> None:
    control = Client(redis_url)
    for interruption in interruptions():
        client = Client(f"{proxy.url}?{PATIENT}")
        if not first:
            await go_on(client)
            cut(client)
            await asyncio.sleep(0)
            node = client.deployment()
            assert isinstance(node, Node)
            assert not node.is_well
        with interrupted_once(monkeypatch, Link, "_use", interruption, raised):
            counting = Counting(client)
            counting.begin()
            await counting.end(control)
        await eventually(goes_on(client))


async def test_a_deadline_that_passes(proxy: Proxy, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    control = Client(redis_url)
    for interruption in interruptions():
        client = Client(f"{proxy.url}?socket_timeout=0.05&socket_connect_timeout=5")
        await eventually(goes_on(client))
        proxy.swallowing = True
        with interrupted_once(monkeypatch, Node, "on_tick", interruption):
            counting = Counting(client)
            counting.begin()
            await counting.end(control)
        proxy.swallowing = False


async def test_slots_that_get_another_master(cluster_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for a master that cannot be reached goes to the new one."""
    keys = [f"{{{number}}}" for number in range(6)]
    control = Client(cluster_url)
    ranges = await cast(Cluster, control.deployment())._map._ask()

    async def told(_: SlotMap) -> list[SlotRange]:
        return ranges

    monkeypatch.setattr(SlotMap, "_ask", told)
    for interruption in interruptions():
        client = Client(f"{cluster_url}?{PATIENT}")
        cluster = cast(Cluster, client.deployment())
        cluster._map._install(ranges)
        counting = Counting(client, keys)
        counting.begin()
        assert client.stats()["waiting"] > len(keys)
        with interrupted_once(monkeypatch, SlotMap, "_install", interruption, MemoryError):
            cluster._map.refresh()
            await counting.end(control)


async def test_clearing_away_what_was_given_up() -> None:
    """No command is lost that somebody waits for."""
    for interruption in interruptions():
        futures = [asyncio.get_running_loop().create_future() for _ in range(6)]
        commands: deque[Command] = deque((future, b"", 0, Replay.READ, 0) for future in futures)
        for future in futures[::2]:
            future.cancel()
        with interruption:
            clear_given_up(commands)
        assert {id(future) for future in futures[1::2]} <= {id(command[0]) for command in commands}
        assert len(commands) <= 6
    assert [command[0] for command in commands] == futures[1::2]


class Waiting:
    """Waits for ever."""

    def __init__(self) -> None:
        self.ticks = 0

    def is_waiting(self) -> bool:
        return True

    def on_tick(self, tick: int) -> None:
        self.ticks += 1


@pytest.mark.parametrize("name", ["wake", "_watch"])
async def test_the_watchdog(name: str) -> None:
    """If it has no timer it is asleep, and the next command wakes it."""
    for interruption in interruptions():
        watchdog, waiting = Watchdog(asyncio.get_running_loop(), 0.1), Waiting()
        watchdog.watched.append(waiting)
        with interruption:
            watchdog._watch(0) if name == "_watch" else watchdog.wake()
        if watchdog.asleep:
            watchdog.wake()
        before = waiting.ticks
        async with asyncio.timeout(SOON):
            while waiting.ticks < before + 2:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        watchdog.stop()
