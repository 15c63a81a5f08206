"""Unix sockets, the third protocol, and what becomes of attempts to connect."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.exceptions import NotSent
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.client import Client
from tests.support.peer import peer
from tests.support.servers import RedisServer

pytestmark = pytest.mark.redis


async def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    with RedisServer(f"unixsocket {path}", "unixsocketperm 700") as server:
        client = Client(f"unix://{path}?db=2")
        await client.call(b"SET", "k", "v")
        assert server.command("EXISTS", "k") == 0
        assert await client.call(b"GET", "k") == b"v"


async def test_no_unix_socket_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(NotSent, match=r"redis\.sock: No such file"):
        await Client(f"unix://{tmp_path}/redis.sock").call(b"GET", "k")


async def test_sessions_over_the_third_protocol(redis_url: str) -> None:
    """Where replies of HGETALL are maps."""
    manager = SessionManager("box", redis.factory(f"{redis_url}?protocol=3"), strict=True)
    session_id = await manager.allocate_session(user_id="alice", custom_metadata={"a": 1})
    assert await manager.validate_session(session_id)
    info = await manager.get_session_info(session_id)
    assert info is not None
    assert (info["user_id"], info["custom_metadata"]) == ("alice", {"a": 1})
    assert await manager.get_session_info("another") is None


async def test_an_application_that_blocks_its_loop_while_connecting_is_not_told_of_no_answer(redis_url: str) -> None:
    """For longer than the connect timeout: the server has answered meanwhile, and nobody could look."""
    client = Client(f"{redis_url}?socket_connect_timeout=0.5")
    waiting = client.call(b"ECHO", "in time")
    for _ in range(3):  # it is connecting now
        await asyncio.sleep(0)
    time.sleep(1.0)  # noqa: ASYNC251 - the fault itself: the application blocks the loop
    assert await waiting == b"in time"


async def test_a_server_that_does_not_answer_is_told_of_after_one_timeout() -> None:
    asked = []

    def say_nothing(data: bytes) -> bytes:
        asked.append(data)
        return b""

    async with peer(say_nothing) as address:
        client = Client(f"redis://{address}?socket_connect_timeout=0.1")
        with pytest.raises(NotSent, match=r"no answer within 0\.1 s"):
            await client.call(b"PING")
        assert len(asked) == 1
        await client.deployment().close()


@pytest.mark.parametrize(
    ("fixture", "scheme"),
    [
        ("redis_url", "valkey"),
        ("sentinel_url", "redis+sentinel"),
        ("sentinel_url", "valkey+sentinel"),
        ("sentinel_url", "valkey"),
        ("cluster_url", "redis+cluster"),
        ("cluster_url", "valkey+cluster"),
        ("cluster_url", "valkey"),
    ],
)
async def test_other_schemes(request: pytest.FixtureRequest, fixture: str, scheme: str) -> None:
    """Sessions on each kind of deployment, and the same ones as with `redis`."""
    url: str = request.getfixturevalue(fixture)
    manager = SessionManager("box", redis.factory(url.replace("redis", scheme, 1)), strict=True)
    session_id = await manager.allocate_session(user_id="alice")
    assert await SessionManager("box", redis.factory(url), strict=True).validate_session(session_id)


async def test_one_node_of_a_cluster_is_enough_where_the_scheme_says_so(cluster_url: str) -> None:
    url = cluster_url.split(",")[0].replace("redis", "redis+cluster", 1)
    manager = SessionManager("box", redis.factory(url), strict=True)
    ids = [await manager.allocate_session() for _ in range(20)]
    assert await manager.validate_sessions(ids) == [True] * 20


async def test_the_clients_name_is_the_urls(redis_url: str) -> None:
    assert await Client(f"{redis_url}?client_name=shop").call(b"CLIENT", "GETNAME") == b"shop"
