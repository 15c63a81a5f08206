"""Outages of seconds under load: what callers see, for how long, and what the log and the network see of it."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import suppress
from functools import partial

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.exceptions import NotSent, OutcomeUnknown
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.commands import Replay
from tests.support.helpers import eventually, time_passes
from tests.support.impostor import Impostor
from tests.support.lateness import Lateness
from tests.support.servers import RedisServer

pytestmark = [pytest.mark.redis, pytest.mark.faults, pytest.mark.alone]

CALLERS = 50
OUTAGE = 10.0  # seconds
AT_ONCE = 0.05
CUTS = 40
STATES = (" up ", " reconnecting ", " down ")


class Load:
    """Callers that read and write for as long as it is entered, and what came of each call."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.outcomes: Counter[str] = Counter()
        self.slowest_when_down = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._call_on(number)) for number in range(CALLERS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        outcomes = await asyncio.gather(*self._tasks, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)

    async def _call_on(self, number: int) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            begun, down = clock(), is_in(self.client, " down ")
            self.outcomes[await self._call(f"key-{number}")] += 1
            if down:
                self.slowest_when_down = max(self.slowest_when_down, clock() - begun)
            await asyncio.sleep(0.005)  # the pace of the load

    async def _call(self, key: str) -> str:
        try:
            await self.client.call(b"SET", key, key)
            value = await self.client.call(b"GET", key, replay=Replay.READ)
        except (NotSent, OutcomeUnknown) as error:
            return type(error).__name__
        return "right" if value == key.encode() else "wrong"


def is_in(client: Client, state: str) -> bool:
    return state in repr(client)


def has_reconnected(client: Client, times: int) -> bool:
    return client.stats()["reconnects"] >= times


async def states_of(client: Client, seen: list[str]) -> None:
    """Note each state that the client goes through, until cancelled."""
    while True:
        state = next((state for state in STATES if is_in(client, state)), "")
        if not seen or seen[-1] != state:
            seen.append(state)
        await asyncio.sleep(0)


async def test_ten_seconds_of_outage_under_load(own_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """UP, RECONNECTING, DOWN, UP; once down, calls fail at once; one attempt at a time; hardly a line in the log."""
    caplog.set_level(logging.DEBUG)
    factory = redis.factory(f"{own_server.url}?socket_connect_timeout=0.5")
    client, manager = factory._client, SessionManager("box", factory)
    await manager.allocate_session("id")
    seen: list[str] = []
    watching = asyncio.create_task(states_of(client, seen))
    with Lateness() as lateness:
        async with Load(client) as load:
            await eventually(lambda: load.outcomes["right"] > 10 * CALLERS)
            own_server.kill()
            async with Impostor(own_server.port, silent=True) as impostor:
                for _ in range(20):
                    await time_passes(OUTAGE / 20)
                    assert await manager.validate_session("id") is False
            before = load.outcomes["right"]
            own_server.restart()
            await eventually(lambda: load.outcomes["right"] > before + 10 * CALLERS)
    watching.cancel()
    assert seen == [" up ", " reconnecting ", " down ", " up "]
    assert load.outcomes["wrong"] == 0
    assert load.outcomes["NotSent"] > 100 * CALLERS  # in 8 seconds of failing at once
    assert load.outcomes["OutcomeUnknown"] <= CALLERS  # what was on the wire at the kill
    assert load.slowest_when_down <= AT_ONCE + lateness.worst
    assert impostor.most_at_once == 1
    assert await manager.validate_session("id") is False  # gone with the server, which saves nothing
    assert len(caplog.records) < 20


async def test_attempts_are_frequent_while_callers_wait_and_then_random_and_few(own_server: RedisServer) -> None:
    """A server that is back within the grace must be found within it; after that a second's pause spares everybody."""
    client = Client(f"{own_server.url}?reconnect_grace=3")
    await client.call(b"PING")
    own_server.kill()
    with Lateness() as lateness:
        async with Impostor(own_server.port) as impostor:
            await eventually(lambda: is_in(client, " down "))
            while_waiting = impostor.gaps
            attempts = len(impostor.times)
            await time_passes(8)
            while_down = impostor.gaps[attempts:]
    assert max(while_waiting) <= 0.25 + AT_ONCE + lateness.worst
    assert 8 <= len(while_down) <= 60  # half a second's pause on average
    assert max(while_down) <= 1 + AT_ONCE + lateness.worst
    assert max(while_down) - min(while_down) > 0.2
    with suppress(NotSent):
        await client.call(b"PING")


async def test_connections_cut_at_random_moments_leave_no_caller_waiting(own_server: RedisServer) -> None:
    """Every call settles, whatever race of loss, replay, deadline and new connection it was in."""
    client = Client(f"{own_server.url}?socket_timeout=1&reconnect_grace=30")
    await client.call(b"PING")
    async with Load(client) as load:
        for number in range(CUTS):
            for _ in range(number % 7):
                await asyncio.sleep(0)
            own_server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await eventually(partial(has_reconnected, client, number + 1))
        before = load.outcomes["right"]
        await eventually(lambda: load.outcomes["right"] > before + 10 * CALLERS)
    assert load.outcomes["wrong"] == 0
    await eventually(lambda: client.stats()["in_flight"] == client.stats()["waiting"] == 0)
