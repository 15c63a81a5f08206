"""Deadlines: a server that hangs, a server that dawdles, and callers that give up before it answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from chuk_sessions.exceptions import NotSent, OutcomeUnknown
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.commands import Replay
from tests.support.helpers import eventually, time_passes
from tests.support.lateness import Lateness
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer, Server

pytestmark = pytest.mark.redis

KEYS = [f"key-{i:03}" for i in range(200)]
NAMES = [key.encode() for key in KEYS]
TIMEOUT = 1.0
IN_TIME = 1.2 * TIMEOUT


async def name_keys(client: Client) -> None:
    """Each key holds its own name: a reply that goes astray is seen."""
    await asyncio.gather(*(client.call(b"SET", key, key) for key in KEYS))


async def time_to_error(client: Client, key: str, replay: Replay) -> tuple[type[BaseException], float]:
    clock = asyncio.get_running_loop().time
    begun = clock()
    with pytest.raises((NotSent, OutcomeUnknown)) as caught:
        await client.call(b"GET", key, replay=replay)
    return caught.type, clock() - begun


@pytest.mark.alone
async def test_callers_of_a_server_that_hangs_are_told_within_1_2_of_the_timeout(own_server: RedisServer) -> None:
    """On the connection that hangs and on the attempts to replace it; then it is replaced, and no reply comes late."""
    url = f"{own_server.url}?socket_timeout={TIMEOUT:g}&socket_connect_timeout={TIMEOUT:g}&reconnect_grace=30"
    client = Client(url)
    await name_keys(client)
    number = await client.call(b"CLIENT", "ID")
    own_server.pause()
    with Lateness() as lateness:
        callers = []
        for index, key in enumerate(KEYS):  # over 1.6 seconds, so that they find each state of the client
            callers.append(asyncio.create_task(time_to_error(client, key, list(Replay)[index % 2])))
            if index % 10 == 0:
                await time_passes(0.08)
        found = await asyncio.gather(*callers)
    assert max(seconds for _, seconds in found) <= lateness.allow(IN_TIME)
    assert {kind for kind, _ in found} == {NotSent, OutcomeUnknown}
    own_server.resume()
    assert await client.call(b"CLIENT", "ID") != number
    assert await asyncio.gather(*(client.call(b"GET", key) for key in reversed(KEYS))) == NAMES[::-1]
    assert client.stats()["in_flight"] == 0


async def test_replies_later_than_the_timeout_keep_their_place_on_a_connection_that_lives(
    redis_server: Server, proxy: Proxy
) -> None:
    """Bytes dribble in, so the connection is alive, but the callers are told in time; their replies reach nobody."""
    client = Client(f"{proxy.url}?socket_timeout=0.2")
    await name_keys(client)
    number = await client.call(b"CLIENT", "ID")
    proxy.holding = True
    late = asyncio.gather(*(client.call(b"GET", key) for key in KEYS), return_exceptions=True)

    def all_are_told() -> bool:
        proxy.release(1)
        return late.done()

    await eventually(all_are_told)
    outcomes = await late
    assert isinstance(outcomes[-1], OutcomeUnknown)
    assert all(outcome == name for outcome, name in zip(outcomes, NAMES, strict=True) if isinstance(outcome, bytes))
    proxy.holding = False
    again = asyncio.gather(*(client.call(b"GET", key) for key in reversed(KEYS)))
    proxy.release(100_000)
    assert await again == NAMES[::-1]
    assert await client.call(b"CLIENT", "ID") == number
    assert client.stats()["timeouts"] > 0


async def test_giving_up_neither_waits_for_the_server_nor_costs_a_connection(own_server: RedisServer) -> None:
    client = Client(own_server.url)
    await name_keys(client)
    connections = own_server.info("stats")["total_connections_received"]
    number = await client.call(b"CLIENT", "ID")
    own_server.pause()
    calls = [asyncio.ensure_future(client.call(b"GET", key)) for key in KEYS]
    await eventually(lambda: client.stats()["in_flight"] == len(KEYS))
    for call in calls:
        call.cancel()
    await asyncio.sleep(0)
    assert all(call.cancelled() for call in calls)  # within one turn, while the server answers nothing
    own_server.resume()
    assert await asyncio.gather(*(client.call(b"GET", key) for key in reversed(KEYS))) == NAMES[::-1]
    assert await client.call(b"CLIENT", "ID") == number
    after = own_server.info("stats")["total_connections_received"]
    assert int(after) - int(connections) == 1  # the one that asks here


@pytest.fixture
async def proxy(redis_server: Server) -> AsyncIterator[Proxy]:
    redis_server.flush()
    async with Proxy(redis_server.host, redis_server.port) as proxy:
        yield proxy


@pytest.mark.alone
async def test_a_peer_that_is_gone_without_a_word_is_given_up(proxy: Proxy) -> None:
    """Half open: writes succeed, nothing ever comes back, and no error tells."""
    client = Client(f"{proxy.url}?socket_timeout=0.2")
    await client.call(b"PING")
    proxy.swallowing = True
    with Lateness() as lateness:
        kind, seconds = await time_to_error(client, "k", Replay.NEVER)
    assert kind is OutcomeUnknown
    assert seconds <= lateness.allow(1.2 * 0.2 + 0.05)
    proxy.swallowing = False
    await eventually(lambda: client.stats()["reconnects"] == 1)
    assert await client.call(b"PING") == b"PONG"


@pytest.mark.parametrize(("grace", "replay"), [(0.1, Replay.NEVER), (10, Replay.READ)], ids=["sent once", "sent again"])
async def test_commands_of_a_server_that_hangs_are_timeouts(
    own_server: RedisServer, grace: float, replay: Replay
) -> None:
    """Each of them, once: also those that are younger than the silence for which their connection is ended.

    What may be sent again waits for the next connection, and is given up there.
    """
    client = Client(f"{own_server.url}?socket_timeout=1&reconnect_grace={grace}")
    await client.call(b"PING")
    own_server.pause()
    first = client.call(b"SET", "k", "v")
    await time_passes(0.3)
    others = [client.call(b"GET", key, replay=replay) for key in KEYS]
    outcomes = await asyncio.gather(first, *others, return_exceptions=True)
    own_server.resume()
    assert {type(outcome) for outcome in outcomes} == {OutcomeUnknown}
    assert client.stats()["timeouts"] == 1 + len(KEYS)


async def give_up_times(server: RedisServer, limit: float, calls: int) -> list[float]:
    """How long calls of a client take whose server hangs, one after the other; in timeouts."""
    client = Client(f"{server.url}?socket_timeout={limit:g}&reconnect_grace=30")
    await client.call(b"PING")
    server.pause()
    found = [(await time_to_error(client, "k", Replay.NEVER))[1] / limit for _ in range(calls)]
    server.resume()
    return found


@pytest.mark.alone
async def test_a_loop_that_is_often_busy_has_the_same_deadlines(own_server: RedisServer) -> None:
    """A quarter of the time, in turns that are longer than the watchdog's period."""

    async def work() -> None:
        while True:
            time.sleep(0.025)  # noqa: ASYNC251 - the fault itself
            await asyncio.sleep(0.075)

    worker = asyncio.create_task(work())
    found = await give_up_times(own_server, 0.4, 6)
    worker.cancel()
    assert sorted(found)[len(found) // 2] < 1.3, found  # 1.05 and a turn of the worker; it was 2.3


@pytest.mark.alone
async def test_on_a_busy_loop_a_dead_connection_is_found_before_its_calls_are_given_up(proxy: Proxy) -> None:
    """Silence is counted as fast as the age of the calls, so that reads are sent again while there is time."""
    client = Client(f"{proxy.url}?socket_timeout=0.4&heartbeat=0")

    async def work() -> None:
        while True:
            time.sleep(0.05)  # noqa: ASYNC251 - the fault itself
            await asyncio.sleep(0.05)

    worker = asyncio.create_task(work())
    try:
        for _ in range(3):
            await client.call(b"PING", replay=Replay.READ)
            proxy.forget()
            assert await client.call(b"PING", replay=Replay.READ) == b"PONG"
    finally:
        worker.cancel()


@pytest.mark.alone
async def test_timers_of_a_millisecond_add_nothing_to_the_shortest_timeout(own_server: RedisServer) -> None:
    with Lateness() as lateness:
        found = await give_up_times(own_server, 0.05, 20)
    assert sum(found) * 0.05 < lateness.allow(20 * 1.13 * 0.05), found  # it was 1.17 to 1.4


async def test_a_loop_that_is_held_up_for_longer_than_the_timeout_gives_no_call_up(redis_url: str) -> None:
    """The command is written after that, and its reply has the time that the server takes."""
    client = Client(f"{redis_url}?socket_timeout=0.4")
    await client.call(b"PING")
    for _ in range(3):
        call = client.call(b"PING")
        time.sleep(0.6)  # noqa: ASYNC251 - the fault itself
        assert await call == b"PONG"
    assert client.stats()["reconnects"] == 0


async def test_who_holds_up_the_loop_and_then_calls_has_the_whole_timeout(own_server: RedisServer) -> None:
    """The watchdog still runs for the call before, and learns of the hold-up only after this one."""
    client = Client(f"{own_server.url}?socket_timeout=0.4&reconnect_grace=30")
    await client.call(b"PING")
    own_server.pause()
    time.sleep(0.2)  # noqa: ASYNC251 - the fault itself
    _, seconds = await time_to_error(client, "k", Replay.READ)
    assert seconds >= 0.4
