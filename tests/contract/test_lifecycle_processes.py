"""The session lifecycle under several real processes, on a lone server and on a cluster whose slots move meanwhile."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.ids import session_key, user_tag
from chuk_sessions.providers import redis
from chuk_sessions.providers.redis.entries import parse_member
from chuk_sessions.providers.redis.keys import index_key
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.slots import slot_of
from tests.support.helpers import eventually
from tests.support.lifecycle_worker import Workers

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.cluster_servers import ClusterServers
    from tests.support.servers import Server

pytestmark = pytest.mark.alone

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
            cluster.wait_until_ok()  # moved again before all know of it, a slot can lose its owner
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
    with Workers(PROCESSES, "count", server_url, session_id, 50, 50) as workers:
        workers.go()
        moves = meanwhile(workers, session_key("box", session_id))
        values = [value for part in workers.results() for value in part]
    assert sorted(values) == list(range(1, 10_001))
    assert asyncio.run(metadata_of(server_url, session_id)) == {"used": 10_000}
    assert moves > 0 or "," not in server_url


async def live_and_listed(url: str, user: str) -> tuple[int, int, int]:
    """How many sessions of the user live, how many are listed, and how many are in the index."""
    client = Client(url)
    manager = SessionManager("box", redis.factory(url))
    listed = [info["session_id"] for info in await manager.list_user_sessions(user)]
    alive = [await manager.validate_session(session_id) for session_id in listed]
    members: int = await client.call(b"ZCARD", index_key("box", user_tag("box", user)))
    return sum(alive), len(listed), members


def test_logins_of_one_user_from_four_processes(server_url: str, meanwhile: Callable[[Workers, str], int]) -> None:
    """1,200 logins with room for three sessions: never more, and at the end the index equals what lives."""
    user = "alice"
    with Workers(PROCESSES, "log_in", server_url, user, 3, 1200 // PROCESSES) as workers:
        workers.go()
        moves = meanwhile(workers, index_key("box", user_tag("box", user)))
        seen = [number for part in workers.results() for number in part]
    assert len(seen) == 1200
    assert max(seen) <= 3
    assert asyncio.run(live_and_listed(server_url, user)) == (3, 3, 3)
    assert moves > 0 or "," not in server_url


def scripts_run(server: Server) -> int:
    """How many scripts a server has run since its statistics were reset, without those that it did not know."""
    told = str(server.command("INFO", "commandstats"))
    found = re.findall(r"cmdstat_eval(?:sha)?:calls=(\d+).*failed_calls=(\d+)", told)
    return sum(int(calls) - int(failed) for calls, failed in found)


@pytest.mark.redis
@pytest.mark.parametrize("limit", [1, 3, 10])
def test_a_storm_of_logins_of_one_user(redis_server: Server, redis_url: str, limit: int) -> None:
    """1,000 at once from four processes: none fails, and each takes at most four scripts."""
    redis_server.command("CONFIG", "RESETSTAT")
    with Workers(PROCESSES, "log_in_at_once", redis_url, "alice", limit, 1000 // PROCESSES) as workers:
        workers.go()
        assert workers.results() == [1000 // PROCESSES] * PROCESSES
    assert 1000 < scripts_run(redis_server) <= 4 * 1000
    assert asyncio.run(live_and_listed(redis_url, "alice")) == (limit, limit, limit)


async def allocate_for_nobody(url: str, number: int) -> list[str]:
    manager = SessionManager("box", redis.factory(url))
    ids = [f"nobodys-{n}" if n % 2 else None for n in range(number)]
    return [await manager.allocate_session(each, custom_metadata={"n": n}) for n, each in enumerate(ids)]


async def numbers_of(url: str, ids: list[str]) -> list[object]:
    manager = SessionManager("box", redis.factory(url))
    infos = [await manager.get_session_info(session_id) for session_id in ids]
    return [info and (info["user_id"], info["custom_metadata"]["n"]) for info in infos]


def test_logins_with_the_same_sessions_from_four_processes(
    server_url: str, meanwhile: Callable[[Workers, str], int]
) -> None:
    """Each of 200 sessions of nobody becomes the user's once, and those beyond the limit have ended."""
    user, limit = "alice", 150
    sessions = asyncio.run(allocate_for_nobody(server_url, 200))
    with Workers(PROCESSES, "bind", server_url, user, limit, 0, *sessions) as workers:
        workers.go()
        moves = meanwhile(workers, index_key("box", user_tag("box", user)))
        pairs = [pair for part in workers.results() for pair in part]
    assert sorted(old for old, _ in pairs) == sorted(sessions)
    assert moves > 0 or "," not in server_url
    found = asyncio.run(numbers_of(server_url, [new for _, new in pairs]))
    expected = [(user, sessions.index(old)) for old, _ in pairs]
    alive = [info for info in found if info is not None]
    assert len(alive) == limit
    assert all(each in (None, wanted) for each, wanted in zip(found, expected, strict=True))
    assert asyncio.run(numbers_of(server_url, sessions)) == [None] * 200
    assert asyncio.run(live_and_listed(server_url, user)) == (limit, limit, limit)


def test_logins_with_a_grace_from_four_processes(server_url: str, meanwhile: Callable[[Workers, str], int]) -> None:
    """All four are told the same new id of each session, of which there is one, and the old id leads to it."""
    user = "alice"
    sessions = asyncio.run(allocate_for_nobody(server_url, 200))
    with Workers(PROCESSES, "bind", server_url, user, 10_000, 60, *sessions) as workers:
        workers.go()
        moves = meanwhile(workers, index_key("box", user_tag("box", user)))
        pairs = {(old, new) for part in workers.results() for old, new in part}
    assert sorted(old for old, _ in pairs) == sorted(sessions)
    assert moves > 0 or "," not in server_url
    expected = [(user, sessions.index(old)) for old, _ in pairs]
    assert asyncio.run(numbers_of(server_url, [new for _, new in pairs])) == expected
    assert asyncio.run(numbers_of(server_url, [old for old, _ in pairs])) == expected
    assert asyncio.run(live_and_listed(server_url, user)) == (200, 200, 200)


async def log_in(url: str, user: str) -> list[str]:
    """Some sessions with ids made here, and some with chosen ones, whose index is elsewhere in a cluster."""
    manager = SessionManager("box", redis.factory(url))
    ids = [f"my-{n}" if n % 2 else None for n in range(20)]
    return [await manager.allocate_session(session_id, user) for session_id in ids]


async def end_all(url: str, user: str) -> int:
    return await SessionManager("box", redis.factory(url)).delete_user_sessions(user)


def test_renewals_in_four_processes_while_all_sessions_are_ended(
    server_url: str, meanwhile: Callable[[Workers, str], int]
) -> None:
    """Each session moves from id to id as fast as it can; one revocation ends them all, and none lives on."""
    user = "alice"
    sessions = asyncio.run(log_in(server_url, user))
    with Workers(PROCESSES, "renew", server_url, *sessions) as workers, ThreadPoolExecutor(1) as pool:
        workers.go()
        ending = pool.submit(asyncio.run, end_all(server_url, user))
        moves = meanwhile(workers, index_key("box", user_tag("box", user)))
        last = [session_id for part in workers.results() for session_id in part]
    assert ending.result() == len(sessions)
    assert moves > 0 or "," not in server_url
    assert len(last) == PROCESSES * len(sessions)
    assert asyncio.run(survivors(server_url, user, last)) == ([], [])


async def end_once_in_use(url: str, session_id: str) -> bool:
    manager = SessionManager("box", redis.factory(url), strict=True)

    async def in_use() -> bool:
        return bool(await metadata_of(url, session_id))

    await eventually(in_use)
    return await manager.delete_session(session_id)


def test_a_deleted_session_stays_deleted_in_four_processes(
    server_url: str, meanwhile: Callable[[Workers, str], int]
) -> None:
    """Whatever they do to it at that moment: opened, changed or given another deadline, it does not come back."""
    session_id = asyncio.run(allocate(server_url))
    with Workers(PROCESSES, "use", server_url, session_id) as workers, ThreadPoolExecutor(1) as pool:
        workers.go()
        ending = pool.submit(asyncio.run, end_once_in_use(server_url, session_id))
        meanwhile(workers, session_key("box", session_id))
        results = workers.results()
    assert ending.result() is True
    assert sum(before for before, _ in results) > 0
    assert [after for _, after in results] == [0] * PROCESSES
    assert asyncio.run(live_and_listed(server_url, "alice")) == (0, 0, 0)


def test_deadlines_that_move_in_four_processes(server_url: str, meanwhile: Callable[[Workers, str], int]) -> None:
    """Earlier, later and earlier again: no call misses its session, and no entry of the index ends before that."""
    user = "alice"
    sessions = asyncio.run(log_in(server_url, user))[:4]
    with Workers(PROCESSES, "move_deadlines", server_url, *sessions) as workers:
        workers.go()
        moves = meanwhile(workers, index_key("box", user_tag("box", user)))
        missed = workers.results()
    assert missed == [0] * PROCESSES
    assert asyncio.run(too_early(server_url, user)) == []
    assert moves > 0 or "," not in server_url


async def too_early(url: str, user: str) -> list[bytes]:
    """The sessions whose entry in the index ends before they do, and those that it does not list."""
    client, index = Client(url), index_key("box", user_tag("box", user))
    members = [parse_member(index, raw) for raw in await client.call(b"ZRANGE", index, 0, -1)]
    found = []
    for member in members:
        score = float(await client.call(b"ZSCORE", index, member.raw))
        (expires,) = await client.call(b"HMGET", session_key("box", member.session_id), b"expires")
        if score < int(expires) // 1000:
            found.append(member.raw)
    return found + [b"not listed"] * (20 - len(members))


async def survivors(url: str, user: str, ids: list[str]) -> tuple[list[str], list[object]]:
    manager = SessionManager("box", redis.factory(url))
    alive = [session_id for session_id in ids if await manager.validate_session(session_id)]
    return alive, [info["session_id"] for info in await manager.list_user_sessions(user)]
