"""The promise of the near cache under faults that take seconds: at random, a stopped process, and a failover."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from itertools import count

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.exceptions import NotSent, StorageError
from chuk_sessions.providers import redis
from tests.near.test_manager import Near
from tests.support.helpers import eventually
from tests.support.proxy import Proxy
from tests.support.sentinel_servers import SentinelServers, is_master
from tests.support.servers import RedisServer

pytestmark = [pytest.mark.redis, pytest.mark.faults, pytest.mark.alone]

SESSIONS = 40
SECONDS = 12.0


class Watch:
    """Polls sessions over a faulty connection, and knows since when each has ended."""

    def __init__(self, near: Near) -> None:
        self._near = near
        self.ending: set[str] = set()  # whose deletion has begun: that may be seen before its caller hears of it
        self.ended: dict[str, float] = {}  # when the deletion was known to be over
        self.late: list[float] = []  # seconds from there to a call that found the session all the same
        self.answers = self.failures = 0
        self.stopped = False

    async def poll(self, session_id: str, call: str) -> None:
        """Ask for one session until it is not found; each answer is judged by when its call began."""
        ask = getattr(self._near.manager, call)
        while not self.stopped:
            begun = time.monotonic()
            try:
                found = await ask(session_id)
            except StorageError:
                self.failures += 1
                await asyncio.sleep(0.01)
                continue
            self.answers += 1
            ended = self.ended.get(session_id, begun)
            if not found:
                assert session_id in self.ending, "a session was lost"
                return
            if begun > ended:
                self.late.append(begun - ended)
            await asyncio.sleep(0.003)


async def make_faults(proxy: Proxy, server: RedisServer, chance: random.Random, watch: Watch) -> None:
    """One fault after the other, each for a short while, with calm in between."""
    while not watch.stopped:
        await asyncio.sleep(chance.uniform(0.05, 0.5))
        fault = chance.choice(("forget", "swallow", "hold", "cut", "delay", "pause", "kill", "block"))
        seconds = chance.uniform(0.05, 1.2)
        if fault == "forget":
            proxy.forget()
        elif fault == "cut":
            proxy.cut()
        elif fault == "kill":
            await asyncio.to_thread(server.command, "CLIENT", "KILL", "TYPE", "normal")
        elif fault == "block":
            time.sleep(seconds / 2)  # noqa: ASYNC251 - the loop stands still
        elif fault == "pause":
            server.pause()
            await asyncio.sleep(seconds / 2)
            server.resume()
        elif fault == "swallow":
            proxy.swallowing = True
            await asyncio.sleep(seconds)
            proxy.swallowing = False
            proxy.cut()  # replies are missing
        elif fault == "hold":
            proxy.holding = True
            await asyncio.sleep(seconds)
            proxy.holding = False
            proxy.release(1 << 20)
        else:
            proxy.delay = seconds / 20
            await asyncio.sleep(seconds)
            proxy.delay = 0.0


@pytest.mark.parametrize("bound", [0.5, 0.2])
async def test_random_faults(own_server: RedisServer, bound: float) -> None:
    """No answer is older than the bound; and some are late, else the test proves nothing."""
    chance = random.Random(f"near {bound}")
    async with Proxy(own_server.host, own_server.port) as proxy:
        near = Near(f"{proxy.url}?socket_timeout=1&reconnect_grace=0.2", bound)
        other = SessionManager("box", redis.factory(f"{own_server.url}?client_name=ending"), strict=True)
        watch = Watch(near)
        calls = ("validate_session", "get_session_info", "open_session")
        polls: list[asyncio.Task[None]] = []
        numbers = count()

        async def begin() -> str:
            session_id = await other.allocate_session(user_id=f"user-{next(numbers) % 10}")
            polls.append(asyncio.create_task(watch.poll(session_id, calls[len(polls) % 3])))
            return session_id

        live = [await begin() for _ in range(SESSIONS)]
        faults = asyncio.create_task(make_faults(proxy, own_server, chance, watch))
        begun = time.monotonic()

        def is_enough() -> bool:
            """A slow machine needs longer until the test proves something."""
            return near.number("hits") > 1000 and len(watch.ended) > 100 and bool(watch.late)

        while (spent := time.monotonic() - begun) < SECONDS or (not is_enough() and spent < 10 * SECONDS):
            await asyncio.sleep(chance.uniform(0.005, 0.05))
            session_id = live.pop(chance.randrange(len(live)))
            watch.ending.add(session_id)
            try:
                assert await other.delete_session(session_id)
                watch.ended[session_id] = time.monotonic()
                live.append(await begin())
            except StorageError:  # its outcome is not known: nobody judges this session
                watch.ended[session_id] = float("inf")
                live.append(await begin_again(begin))
        watch.stopped = True
        await asyncio.gather(faults, *polls)
    hits, ended = near.number("hits"), len(watch.ended)
    print(f"{ended} ended, {watch.answers} answers, {hits:.0f} hits, {watch.failures} failures, {len(watch.late)} late")
    assert hits > 1000
    assert ended > 100
    assert watch.late, "nothing was served late: the test proves nothing"
    assert max(watch.late) <= bound
    print(f"the latest was {max(watch.late):.3f} s late, of {bound} s")


async def begin_again(begin: object) -> str:
    """Begin a session as soon as the server answers again."""
    while True:
        try:
            session_id: str = await begin()  # type: ignore[operator]
        except StorageError:
            await asyncio.sleep(0.05)
        else:
            return session_id


CLIENT = """
import asyncio, sys, time
from chuk_sessions import SessionManager
from chuk_sessions.providers import redis

async def main(url, session_id):
    manager = SessionManager("box", redis.factory(url), touch_interval=60, near_cache=0.3, strict=True)
    while True:
        hits, begun = redis.factory(url).stats().get("near_hits", 0), time.monotonic()
        found = await manager.validate_session(session_id)
        print(begun, int(found), int(redis.factory(url).stats()["near_hits"] > hits), flush=True)
        if not found:
            return
        await asyncio.sleep(0.001)

asyncio.run(main(*sys.argv[1:]))
"""


def test_a_client_that_is_stopped(own_server: RedisServer) -> None:
    """SIGSTOP: its time stands still, and the session ends. Its first answer after that comes from the server."""
    session_id = asyncio.run(SessionManager("box", redis.factory(own_server.url), strict=True).allocate_session())
    with subprocess.Popen(
        [sys.executable, "-c", CLIENT, own_server.url, session_id], stdout=subprocess.PIPE, text=True
    ) as client:
        assert client.stdout is not None
        for line in client.stdout:
            if line.endswith(" 1 1\n"):
                break
        os.kill(client.pid, signal.SIGSTOP)
        asyncio.run(SessionManager("box", redis.factory(own_server.url), strict=True).delete_session(session_id))
        time.sleep(0.5)  # longer than the bound
        continued = time.monotonic()
        os.kill(client.pid, signal.SIGCONT)
        lines = [line.split() for line in client.stdout.read().splitlines()]
    # What had begun when it stopped may have been answered before; both processes read the same clock.
    assert [found_and_hit for begun, *found_and_hit in lines if float(begun) >= continued] in ([], [["0", "0"]])
    assert lines[-1][1:] == ["0", "0"]


async def test_a_failover(sentinels: SentinelServers) -> None:
    """The master is killed: the bound holds until the next one is found, whose near cache begins anew."""
    bound = 0.5
    near = await Near(f"{sentinels.url}?socket_timeout=2", bound).begin()
    old, replica = sentinels.master, next(each for each in sentinels.servers if each is not sentinels.master)
    await asyncio.to_thread(sentinels.wait_until_replicated, old)
    await near.warm()
    reconnects = near.factory.stats()["reconnects"]
    await asyncio.to_thread(old.kill)
    killed, last = time.monotonic(), 0.0

    async def is_served_again() -> bool:
        nonlocal last
        begun, hits = time.monotonic(), near.number("hits")
        try:
            assert await near.manager.validate_session(near.id) is True
        except StorageError:
            return False
        if near.number("hits") > hits and near.factory.stats()["reconnects"] == reconnects:
            last = begun  # the next master may be there, and have served, within the bound
        # The replica is asked, and not the Sentinels, which name no master that is one for a moment.
        return is_master(replica) and near.number("state") == 2 and near.is_cached()

    await eventually(is_served_again, patience=20)
    assert last <= killed + bound

    async def is_deleted() -> bool:
        """The other client begins now: it asks the Sentinels, and those name no master for a moment."""
        try:
            return await near.other.delete_session(near.id)
        except NotSent:
            return False

    await eventually(is_deleted)
    await eventually(lambda: not near.is_cached())
    assert await near.manager.validate_session(near.id) is False
