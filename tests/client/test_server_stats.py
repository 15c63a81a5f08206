"""The numbers of each server: what an operator sees of the client, over all event loops, and after a server is gone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.histogram import BOUNDS, Histogram, merged
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.connection import Connection
from chuk_sessions.redis_client.node import Node
from chuk_sessions.redis_client.server_stats import ServerStats, total
from chuk_sessions.redis_client.timed import TimedConnection
from chuk_sessions.redis_client.url import parse_url
from tests.support.helpers import eventually

if TYPE_CHECKING:
    from tests.support.servers import RedisServer


def test_a_histogram_counts_by_bounds() -> None:
    """A time equal to a bound is not above it; the cumulative counts are those of Prometheus."""
    times = Histogram()
    for seconds in (0.0, 0.0001, 0.00011, 5.0, 60.0):
        times.add(seconds)
    assert times.counts == [2, 1, *[0] * 12, 1, 1]
    assert times.sum == pytest.approx(65.00021)
    rows = times.cumulative()
    assert (rows[0], rows[1], rows[-2], rows[-1]) == (("0.0001", 2), ("0.00025", 3), ("5.0", 4), ("+Inf", 5))
    assert len(rows) == len(BOUNDS) + 1
    both = merged([times, times])
    assert (both.counts, both.sum) == ([4, 2, *[0] * 12, 2, 2], 2 * times.sum)


def test_several_loops_add_up() -> None:
    """The worst state counts, and a loop that has ended says nothing about the server."""
    up, down, ended = ServerStats("up", commands=2), ServerStats("down", commands=3), ServerStats("up", waiting=4)
    assert total({"a": up}, {"a": down}, {"b": up}) == {"a": ServerStats("down", commands=5), "b": up}
    assert ended.past() == ServerStats("closed")
    assert (ended.past() + up).state == "up"
    assert [each.is_up for each in (up, down, ServerStats("idle"), ServerStats("reconnecting"))] == [True, False] * 2


def test_names_of_servers() -> None:
    """As messages name them, and short; never with a password."""
    urls = {
        "redis://:secret@host:1": "host:1",
        "unix:///run/redis.sock?password=secret": "/run/redis.sock",
        "redis+sentinel://:secret@one,two/main": "main",
    }
    assert {parse_url(url).server for url in urls} == set(urls.values())


@pytest.mark.redis
async def test_a_lone_server(own_server: RedisServer) -> None:
    """Commands, writes and scripts of calls; when the server is killed, it is not up any more."""
    factory = redis.factory(own_server.url)
    assert factory.server_stats() == {}
    manager = SessionManager("box", factory, strict=True)
    ids = [await manager.allocate_session() for _ in range(3)]
    await manager.validate_sessions(ids)
    ((name, numbers),) = factory.server_stats().items()
    assert name == f"{own_server.host}:{own_server.port}"
    assert (numbers.state, numbers.is_up, numbers.round_trips) == ("up", True, None)
    assert numbers.script_keys >= 3 > numbers.scripts >= 1
    assert numbers.commands >= numbers.writes >= 4
    assert numbers.in_flight == numbers.bytes_in_flight == numbers.waiting == numbers.redirects == 0
    own_server.kill()
    await eventually(lambda: not factory.server_stats()[name].is_up)
    own_server.restart()
    await eventually(lambda: factory.server_stats()[name].state == "up")
    assert factory.server_stats()[name].reconnects == 1


@pytest.mark.redis
def test_numbers_of_loops_that_are_gone(redis_url: str) -> None:
    """They still count; their state does not."""
    client = Client(redis_url)
    for rounds in (1, 2, 3):
        with asyncio.Runner() as runner:
            runner.run(_ask(client))
            (numbers,) = client.server_stats().values()
            assert (numbers.commands, numbers.state) == (rounds, "up")
    (numbers,) = client.server_stats().values()
    assert (numbers.commands, numbers.state) == (3, "closed")


async def _ask(client: Client) -> None:
    await client.call(b"GET", "key")


@pytest.mark.redis
async def test_a_cluster(cluster_url: str) -> None:
    """Each server by its address, redirections where they came from, and the scripts of the cluster as a whole."""
    factory = redis.factory(cluster_url)
    manager = SessionManager("box", factory, strict=True)
    ids = [await manager.allocate_session(user_id=f"user-{number}") for number in range(20)]
    assert await manager.validate_sessions(ids) == [True] * 20
    stats = factory.server_stats()
    whole = stats.pop("cluster")
    assert whole.is_up
    assert whole.script_keys >= 20
    assert len(stats) == 3
    assert all(each.state == "up" and each.commands for each in stats.values())
    assert sum(each.redirects for each in stats.values()) == factory.stats()["redirects"]
    assert sum(each.writes for each in stats.values()) > 0


@pytest.mark.redis
async def test_round_trips(redis_url: str) -> None:
    """With ``timings`` one time for each write that was answered, whatever number of commands is in it."""
    client = Client(redis_url, timings=True)
    node = client.deployment()
    assert isinstance(node, Node)
    for _ in range(3):
        await asyncio.gather(*(client.call(b"GET", f"k{number}") for number in range(50)))
    assert isinstance(node._connection, TimedConnection)
    (numbers,) = client.server_stats().values()
    assert numbers.round_trips is not None
    assert sum(numbers.round_trips.counts) == numbers.writes == 3
    assert numbers.commands == 150
    assert 0 < numbers.round_trips.sum < 60


@pytest.mark.redis
async def test_no_round_trips_unless_asked_for(redis_url: str) -> None:
    """The connection is a plain one, and another client than the one that measures."""
    factory = redis.factory(redis_url)
    assert factory._client is not redis.factory(redis_url, timings=True)._client
    await factory._client.call(b"PING")
    node = factory._client.deployment()
    assert isinstance(node, Node)
    assert type(node._connection) is Connection
    with pytest.raises(TypeError, match="timings must be a bool"):
        redis.factory(redis_url, timings=1)  # type: ignore[arg-type]
