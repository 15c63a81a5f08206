"""A server that dies with commands in flight and is back a second later: what becomes of each command."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.exceptions import NotSent, OutcomeUnknown
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.commands import MANY, Replay
from tests.support.helpers import eventually, time_passes
from tests.support.lateness import Lateness
from tests.support.servers import RedisServer

pytestmark = pytest.mark.redis

IN_FLIGHT = 500
TIMEOUT = 5.0  # seconds; the default of the client


@pytest.fixture
def lasting_server() -> Iterator[RedisServer]:
    """A server that has its data after a crash too, though not its scripts."""
    with RedisServer("appendonly yes", "appendfsync always") as server:
        yield server


@pytest.mark.alone
async def test_a_kill_with_500_in_flight_and_a_restart_a_second_later(lasting_server: RedisServer) -> None:
    """Reads and validates are sent again, other writes fail at once; what was not sent is sent afterwards."""
    factory = redis.factory(f"{lasting_server.url}?max_in_flight={IN_FLIGHT}&reconnect_grace=4")
    client, manager = factory._client, SessionManager("box", factory, strict=True)
    await client.call(b"SET", "k", "v")
    ids = [await manager.allocate_session() for _ in range(10)]
    await manager.delete_session(ids[9])
    clock = asyncio.get_running_loop().time

    lasting_server.pause()
    begun = clock()
    validates = [asyncio.create_task(manager.validate_session(session_id)) for session_id in ids]
    await asyncio.sleep(0)  # in one command, as they are of one turn of the loop
    reads = [client.call(b"GET", "k", replay=Replay.READ) for _ in range(249)]
    writes = [client.call(b"SET", "k", "w") for _ in range(250)]
    unsent = [client.call(b"RPUSH", "list", number) for number in range(100)]
    await eventually(lambda: client.stats()["in_flight"] == IN_FLIGHT)
    assert client.stats()["waiting"] == len(unsent)

    lasting_server.kill()
    assert {type(error) for error in await asyncio.gather(*writes, return_exceptions=True)} == {OutcomeUnknown}
    assert not any(call.done() for call in (*reads, *validates, *unsent))
    await time_passes(1)
    with Lateness() as lateness:
        await asyncio.to_thread(lasting_server.restart)
        assert await asyncio.gather(*reads) == [b"v"] * 249
        assert await asyncio.gather(*validates) == [True] * 9 + [False]
        assert await asyncio.gather(*unsent) == list(range(1, 101))
        assert clock() - begun < lateness.allow(TIMEOUT)
    assert await client.call(b"LRANGE", "list", 0, -1) == [str(number).encode() for number in range(100)]  # in order
    assert client.stats()["reconnects"] == 1
    assert await manager.allocate_session(ids[0]) == ids[0]


async def test_a_command_that_timed_out_in_the_queue_is_never_sent(own_server: RedisServer) -> None:
    """Nor one whose caller gave up: what the application did instead must not be undone."""
    client = Client(f"{own_server.url}?socket_timeout=0.2&reconnect_grace=20")
    await client.call(b"PING")
    own_server.kill()
    await eventually(lambda: "reconnecting" in repr(client))
    given_up = client.call(b"SET", "given up", "v")
    given_up.cancel()
    with pytest.raises(NotSent, match=r"could not send .* within 0\.2 s"):
        await client.call(b"SET", "timed out", "v")
    await asyncio.to_thread(own_server.restart)
    await eventually(lambda: " up " in repr(client))
    assert await client.call(b"DBSIZE") == 0
    assert "cmdstat_set" not in own_server.info("commandstats")


async def test_nothing_waits_once_the_server_is_down(own_server: RedisServer) -> None:
    """Calls fail at once, so that there is no queue that could grow, nor a storm of what it held afterwards."""
    client = Client(f"{own_server.url}?reconnect_grace=0.05")
    await client.call(b"PING")
    own_server.kill()
    await eventually(lambda: " down " in repr(client))
    calls = [client.call(b"INCR", "n") for _ in range(10_000)]
    assert all(isinstance(call.exception(), NotSent) for call in calls)
    assert client.stats()["waiting"] == 0
    await asyncio.to_thread(own_server.restart)
    await eventually(lambda: " up " in repr(client))
    assert await client.call(b"EXISTS", "n") == 0


async def test_after_a_restart_only_those_who_still_wait_are_served_within_the_bound(own_server: RedisServer) -> None:
    client = Client(f"{own_server.url}?reconnect_grace=20&max_in_flight=10")
    await client.call(b"PING")
    own_server.kill()
    await eventually(lambda: "reconnecting" in repr(client))
    calls = [client.call(b"RPUSH", "list", number) for number in range(1000)]
    for number, call in enumerate(calls):
        if number % 10:
            call.cancel()
    await asyncio.to_thread(own_server.restart)
    assert await asyncio.gather(*calls[::10]) == list(range(1, 101))
    assert await client.call(b"LRANGE", "list", 0, -1) == [str(number).encode() for number in range(0, 1000, 10)]
    assert client.stats()["mean_batch"] <= 10
    assert client.stats()["waiting"] == 0


async def test_calls_that_were_given_up_do_not_add_up_while_the_server_is_away(own_server: RedisServer) -> None:
    """Applications with timeouts of their own try again and again, in the seconds that calls may wait."""
    client = Client(f"{own_server.url}?reconnect_grace=20")
    await client.call(b"PING")
    own_server.kill()
    await eventually(lambda: "reconnecting" in repr(client))
    waiting = [client.call(b"RPUSH", "list", number) for number in range(50)]
    for _ in range(2000):
        client.call(b"RPUSH", "list", "given up").cancel()
    assert client.stats()["waiting"] <= 2 * len(waiting) + MANY
    await asyncio.to_thread(own_server.restart)
    assert await asyncio.gather(*waiting) == list(range(1, 51))
