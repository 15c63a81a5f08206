"""A server that was restarted and reads its data from disk, for a second or two: LOADING."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.exceptions import LoadingError, NotSent, SessionError
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.link import MAX_PAUSE
from tests.support.helpers import eventually
from tests.support.loading import KEYS, LOAD_SECONDS, SIZE, answers_loading, fill, loading, slowly
from tests.support.servers import RedisServer

pytestmark = pytest.mark.redis


@pytest.fixture
def full_server() -> Iterator[RedisServer]:
    """A server with a lot to load."""
    with RedisServer("rdbcompression no", "repl-diskless-sync-delay 0") as server:
        fill(server)
        yield server


def is_loading(error: BaseException) -> bool:
    return isinstance(error, NotSent) and isinstance(error.__cause__, LoadingError)


async def test_callers_of_a_loading_server_are_told_so(full_server: RedisServer) -> None:
    """Nothing was sent, and why is a typed error with the server's own words; once it has loaded, all is well."""
    client = Client(f"{full_server.url}?reconnect_grace=0.05")
    manager = SessionManager("box", redis.factory(f"{full_server.url}?reconnect_grace=0.05"), strict=True)
    for call in (client.call(b"PING"), manager.validate_session("id")):
        await call
    errors: list[BaseException] = []

    async def both_are_told() -> bool:
        found = await asyncio.gather(client.call(b"PING"), manager.validate_session("id"), return_exceptions=True)
        errors[:] = [error for error in found if isinstance(error, BaseException)]
        return len(errors) == 2 and all("LOADING" in str(error) for error in errors)

    async with loading(full_server, 2 * MAX_PAUSE):  # an attempt to connect falls into it for sure
        await eventually(both_are_told)
    assert is_loading(errors[0])
    assert re.search(r"LOADING (Redis|Valkey) is loading the dataset in memory", str(errors[0]))
    assert isinstance(errors[1], SessionError)
    assert errors[1].__cause__ is not None
    assert is_loading(errors[1].__cause__)
    await eventually(lambda: " up " in repr(client))
    assert await client.call(b"DBSIZE") == KEYS


async def test_the_first_caller_of_a_loading_server_is_told_so(full_server: RedisServer) -> None:
    async with loading(full_server):

        async def is_told() -> bool:
            try:
                await Client(full_server.url).call(b"PING")
            except NotSent as error:
                return is_loading(error)
            return False

        await eventually(is_told)


async def test_callers_wait_for_a_server_that_loads_within_the_grace(full_server: RedisServer) -> None:
    client = Client(f"{full_server.url}?reconnect_grace=20&socket_timeout=20")
    await client.call(b"PING")
    async with loading(full_server):
        await eventually(lambda: "reconnecting" in repr(client))
        waiting = [client.call(b"STRLEN", f"k{i}") for i in range(1, 101)]
        await eventually(lambda: answers_loading(full_server))
        assert not any(call.done() for call in waiting)
        assert await asyncio.gather(*waiting) == [SIZE] * 100
    assert client.stats()["reconnects"] == 1


async def test_a_replica_that_loads_its_masters_data_says_so_on_a_healthy_connection(full_server: RedisServer) -> None:
    """A typed error; the connection stays."""
    with RedisServer(slowly(LOAD_SECONDS), "repl-diskless-load disabled") as replica:
        client = Client(replica.url)
        number = await client.call(b"CLIENT", "ID")
        replica.command("REPLICAOF", full_server.host, str(full_server.port))
        errors: list[LoadingError] = []

        async def says_so() -> bool:
            try:
                await client.call(b"GET", "k1")
            except LoadingError as error:
                errors.append(error)
            return bool(errors)

        await eventually(says_so)
        assert errors[0].code == "LOADING"
        assert await client.call(b"CLIENT", "ID") == number
