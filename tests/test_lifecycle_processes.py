"""The session lifecycle under several real processes, on a lone server and on a cluster whose slots move meanwhile."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.slots import slot_of
from chuk_sessions.session_ids import session_key
from tests.lifecycle_worker import Workers

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cluster_servers import ClusterServers

PROCESSES = 4
ON_SERVERS = [pytest.param("redis_url", marks=pytest.mark.redis), pytest.param("cluster_url", marks=pytest.mark.redis)]


@pytest.fixture(params=ON_SERVERS)
def server_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture
def meanwhile(request: pytest.FixtureRequest, server_url: str) -> Callable[[Workers, str], int]:
    """Moves the slot of a session's key to and fro while workers run; how often. Does nothing on a lone server."""
    if "," not in server_url:
        return lambda workers, key: 0
    cluster: ClusterServers = request.getfixturevalue("calm_cluster")

    def move(workers: Workers, key: str) -> int:
        slot, moves = slot_of(key), 0
        while workers.running() or moves % 2:
            cluster.migrate(slot, cluster.another_master(slot))
            moves += 1
        return moves

    return move


async def allocate(url: str) -> str:
    return await SessionManager("box", redis.factory(url)).allocate_session(user_id="alice")


async def metadata_of(url: str, session_id: str) -> object:
    info = await SessionManager("box", redis.factory(url)).get_session_info(session_id)
    return info and info["custom_metadata"]


def test_counting_from_many_tasks_of_four_processes(server_url: str, meanwhile: Callable[[Workers, str], int]) -> None:
    """50 tasks in each of 4 processes count to 10,000, and no two get the same value."""
    session_id = asyncio.run(allocate(server_url))
    workers = Workers(PROCESSES, "count", server_url, session_id, 50, 50)
    workers.go()
    moves = meanwhile(workers, session_key("box", session_id))
    values = [value for part in workers.results() for value in part]
    assert sorted(values) == list(range(1, 10_001))
    assert asyncio.run(metadata_of(server_url, session_id)) == {"used": 10_000}
    assert moves > 0 or "," not in server_url
