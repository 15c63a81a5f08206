"""Servers that die, hang, hang up and come back: what callers are told, and what is true afterwards."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from chuk_sessions.exceptions import NotSent, OutcomeUnknown, ReadOnlyError
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.batch import BatchScript
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.commands import Replay
from tests.support.helpers import eventually
from tests.support.listening import listening
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer, Server

pytestmark = pytest.mark.redis


@pytest.fixture
async def proxy(redis_server: Server) -> AsyncIterator[Proxy]:
    """A proxy before the shared server, which is empty."""
    redis_server.flush()
    async with Proxy(redis_server.host, redis_server.port) as proxy:
        yield proxy


async def test_a_setex_whose_reply_was_lost_is_not_sent_again(proxy: Proxy, redis_server: Server) -> None:
    """Another process deletes the key meanwhile: it stays deleted."""
    factory = redis.factory(proxy.url)
    client = factory._client
    await client.call(b"PING")
    proxy.swallowing = True
    async with factory() as session:
        lost = asyncio.create_task(session.setex("k", 100, "v"))
    await eventually(lambda: redis_server.command("GET", "k") == "v")
    redis_server.command("DEL", "k")
    proxy.swallowing = False
    proxy.cut()
    with pytest.raises(OutcomeUnknown):
        await lost
    assert await client.call(b"GET", "k") is None
    assert client.stats()["reconnects"] == 1
    assert proxy.requests.count(b"\r\nSET\r\n") == 1


async def test_a_delete_whose_reply_was_lost_is_sent_again_and_reports_success(
    proxy: Proxy, redis_server: Server
) -> None:
    client = Client(proxy.url)
    await client.call(b"SET", "k", "v")
    proxy.swallowing = True
    lost = client.call(b"UNLINK", "k", replay=Replay.DELETE)
    await eventually(lambda: redis_server.command("EXISTS", "k") == 0)
    proxy.swallowing = False
    proxy.cut()
    assert await lost == 1
    assert await client.call(b"UNLINK", "k", replay=Replay.DELETE) == 0


async def test_a_command_is_replayed_once_only() -> None:
    """A server that answers the handshake and hangs up on every GET."""
    gets = 0

    async def hang_up_on_get(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal gets
        while b"PING" in (data := await reader.read(1000)):
            writer.write(b"+PONG\r\n")
        gets += data.count(b"GET")

    async with listening(hang_up_on_get) as address:
        client = Client(f"redis://{address}")
        with pytest.raises(OutcomeUnknown):
            await client.call(b"GET", "k", replay=Replay.READ)
        assert gets == 2


async def test_a_reply_cut_in_the_middle_is_nobodys(proxy: Proxy, redis_server: Server) -> None:
    client = Client(proxy.url)
    for key in ("a", "b", "c"):
        redis_server.command("SET", key, key * 100)
    await client.call(b"PING")
    proxy.passing = 150  # the reply to the first, and a part of the second
    outcomes = await asyncio.gather(*(client.call(b"GET", key) for key in "abc"), return_exceptions=True)
    assert outcomes[0] == b"a" * 100
    assert [type(outcome) for outcome in outcomes[1:]] == [OutcomeUnknown] * 2
    proxy.passing = None
    assert await client.call(b"GET", "b") == b"b" * 100


async def test_a_server_that_hangs_gives_errors_and_then_a_new_connection(own_server: RedisServer) -> None:
    client = Client(f"{own_server.url}?socket_timeout=0.2&socket_connect_timeout=0.2&reconnect_grace=10")
    number = await client.call(b"CLIENT", "ID")
    own_server.pause()
    with pytest.raises(OutcomeUnknown, match=r"no reply .* within 0\.2 s|not a byte within 0\.2 s"):
        await client.call(b"INCR", "n")
    await eventually(lambda: "reconnecting" in repr(client))  # the hanging connection was given up
    with pytest.raises(NotSent, match=r"within 0\.2 s"):
        await client.call(b"INCR", "n")
    own_server.resume()

    async def is_back() -> bool:
        return bool(await client.call(b"CLIENT", "ID") != number)

    await eventually(is_back)
    assert client.stats()["timeouts"] > 0


async def test_replies_that_come_too_late_reach_nobody(own_server: RedisServer) -> None:
    client = Client(f"{own_server.url}?socket_timeout=0.1")
    await client.call(b"PING")
    own_server.pause()
    late = [client.call(b"ECHO", f"late-{i}") for i in range(50)]
    outcomes = await asyncio.gather(*late, return_exceptions=True)
    assert all(isinstance(outcome, OutcomeUnknown) for outcome in outcomes)
    own_server.resume()
    for i in range(50):  # on the old connection or on a new one
        with suppress(NotSent, OutcomeUnknown):
            assert await client.call(b"ECHO", f"new-{i}") == f"new-{i}".encode()
    await eventually(lambda: client.stats()["in_flight"] == 0)


async def test_an_application_that_blocks_its_loop_condemns_no_healthy_connection(redis_url: str) -> None:
    client = Client(f"{redis_url}?socket_timeout=0.1")
    number = await client.call(b"CLIENT", "ID")
    for _ in range(3):
        pending = [client.call(b"ECHO", str(i)) for i in range(100)]
        await asyncio.sleep(0)
        time.sleep(0.25)  # noqa: ASYNC251 - the fault itself: the application blocks the loop
        assert await asyncio.gather(*pending) == [str(i).encode() for i in range(100)]
    assert await client.call(b"CLIENT", "ID") == number
    assert client.stats()["timeouts"] == 0


async def test_an_outage_goes_through_its_states_with_a_line_each(
    own_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    client = Client(f"{own_server.url}?reconnect_grace=0.1")
    await client.call(b"PING")
    own_server.kill()
    await eventually(lambda: "down" in repr(client))
    for _ in range(1000):  # at once: a thousand of these do not wait for anything
        with pytest.raises(NotSent, match="cannot connect"):
            await client.call(b"GET", "k")
    own_server.restart()
    await eventually(lambda: " up " in repr(client))
    assert await client.call(b"PING") == b"PONG"
    levels = [record.levelname for record in caplog.records if record.name.startswith("chuk_sessions")]
    assert levels == ["WARNING", "ERROR", "WARNING"]


async def test_callers_wait_while_a_lost_connection_comes_back(proxy: Proxy) -> None:
    client = Client(proxy.url)
    await client.call(b"PING")
    proxy.cut()
    await eventually(lambda: "reconnecting" in repr(client) or proxy.accepted > 1)
    assert await client.call(b"PING") == b"PONG"


async def test_no_more_commands_are_in_flight_than_allowed(own_server: RedisServer) -> None:
    client = Client(f"{own_server.url}?max_in_flight=10")
    await client.call(b"PING")
    own_server.pause()
    calls = [client.call(b"ECHO", str(i)) for i in range(200)]
    await eventually(lambda: client.stats()["in_flight"] > 0)
    stats = client.stats()
    assert (stats["in_flight"], stats["waiting"], stats["reconnects"], stats["timeouts"]) == (10, 190, 0, 0)
    own_server.resume()
    assert await asyncio.gather(*calls) == [str(i).encode() for i in range(200)]


async def test_a_server_that_stops_reading_stops_the_writes(own_server: RedisServer) -> None:
    """No more than the socket takes is written; the rest waits where it can still be given up."""
    client = Client(own_server.url)
    await client.call(b"PING")
    own_server.pause()
    value = "x" * 1_000_000
    calls = [client.call(b"SET", f"k{i}", value) for i in range(100)]
    await eventually(lambda: client.stats()["in_flight"] > 0)
    for _ in range(20):
        await asyncio.sleep(0)
    assert client.stats()["waiting"] > 50
    for call in calls[50:]:
        call.cancel()
    own_server.resume()
    assert await asyncio.gather(*calls[:50]) == [b"OK"] * 50
    assert await client.call(b"EXISTS", "k99") == 0


async def test_a_framework_that_cancels_all_tasks_does_not_stop_the_reconnecting(own_server: RedisServer) -> None:
    client = Client(f"{own_server.url}?reconnect_grace=0.05")
    await client.call(b"PING")
    own_server.kill()
    await eventually(lambda: "down" in repr(client))
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    own_server.restart()

    async def is_back() -> bool:
        with suppress(NotSent):
            return bool(await client.call(b"PING") == b"PONG")
        return False

    await eventually(is_back)


async def test_a_connecting_task_that_was_cancelled_before_it_began_is_made_anew(redis_url: str) -> None:
    client = Client(redis_url)
    first = client.call(b"PING")
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    with pytest.raises(NotSent, match="given up"):
        await first
    assert await client.call(b"PING") == b"PONG"


async def test_a_delete_that_was_sent_is_never_reported_as_not_sent(own_server: RedisServer) -> None:
    """It took effect, its reply was lost, and the server stays away."""
    async with Proxy(own_server.host, own_server.port) as proxy:
        client = Client(f"{proxy.url}?reconnect_grace=0.05")
        await client.call(b"SET", "k", "v")
        proxy.swallowing = True
        lost = client.call(b"UNLINK", "k", replay=Replay.DELETE)
        await eventually(lambda: own_server.command("EXISTS", "k") == 0)
        own_server.kill()
        with pytest.raises(OutcomeUnknown, match="could not be asked again"):
            await lost


async def test_a_delete_whose_caller_gave_up_is_not_sent_again(proxy: Proxy, redis_server: Server) -> None:
    """Another process has set the key meanwhile."""
    client = Client(proxy.url)
    await client.call(b"SET", "k", "v")
    proxy.swallowing = True
    lost = client.call(b"UNLINK", "k", replay=Replay.DELETE)
    await eventually(lambda: redis_server.command("EXISTS", "k") == 0)
    lost.cancel()
    redis_server.command("SET", "k", "new")
    proxy.swallowing = False
    proxy.cut()
    await eventually(lambda: client.stats()["reconnects"] == 1)
    assert await client.call(b"GET", "k") == b"new"
    assert proxy.requests.count(b"UNLINK") == 1


@pytest.mark.parametrize("reply", [b"*1\r\n:1\r\n", b"$-1\r\n", b":1\r\n", b"+OK\r\n"])
async def test_a_batch_whose_reply_has_another_shape_settles_all_its_callers(reply: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(10_000):
            writer.write(b"+PONG\r\n" if b"PING" in data else reply)

    async with listening(answer) as address:
        client = Client(f"redis://{address}")
        await client.call(b"PING")
        script = BatchScript("return {}")
        calls = (script.run(client, f"k{i}", ()) for i in range(3))
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        await client.deployment().close()
    assert ["one result for each key" in str(outcome) for outcome in outcomes] == [True] * 3


async def test_a_server_that_is_full_says_so(own_server: RedisServer) -> None:
    holder = Client(own_server.url)
    await holder.call(b"CONFIG", "SET", "maxclients", "1")

    async def is_alone() -> bool:
        return b"connected_clients:1\r\n" in await holder.call(b"INFO", "clients")

    await eventually(is_alone)
    with pytest.raises(NotSent, match="max number of clients"):
        await Client(own_server.url).call(b"PING")


@pytest.mark.parametrize("host", ["a..b", "x" * 70])
async def test_a_host_name_that_cannot_be_is_an_error_that_says_so(host: str) -> None:
    with pytest.raises(NotSent, match="host name is not valid"):
        await Client(f"redis://{host}").call(b"PING")


async def test_a_demoted_server_is_told_and_connected_to_anew(own_server: RedisServer) -> None:
    """Behind its name may be another server by now, while the old one goes on answering on a healthy socket."""
    client = Client(own_server.url)
    number = await client.call(b"CLIENT", "ID")
    own_server.command("REPLICAOF", "127.0.0.1", "1")

    async def is_connected_anew() -> bool:
        with pytest.raises(ReadOnlyError, match="READONLY"):
            await client.call(b"SET", "k", "v")
        return bool(await client.call(b"CLIENT", "ID") != number)

    await eventually(is_connected_anew)
