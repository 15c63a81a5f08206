"""Large values and many callers: what the client holds stays at its bounds, in commands, in bytes and in memory."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.connection import MAX_BYTES_IN_FLIGHT, MAX_WRITE
from tests.support.helpers import eventually
from tests.support.lateness import Turns
from tests.support.servers import RedisServer

pytestmark = [
    pytest.mark.redis,
    pytest.mark.faults,
    pytest.mark.alone,
    pytest.mark.skipif(sys.platform != "linux", reason="how much memory a process has had is told in units of Linux"),
]

REPOSITORY = Path(__file__).parents[2]
CALLERS, SIZE, ROUNDS = 200, 100_000, 50
COPIES = 4  # of a value at most at a time: the caller's text, the command, the batch that is written, the reply
BOUND = COPIES * CALLERS * SIZE


def start_load(server: RedisServer, options: str, rounds: int, patience: float, what: str) -> subprocess.Popen[str]:
    arguments = [f"{server.url}?{options}", str(CALLERS), str(SIZE), str(rounds), str(patience), what]
    command = [sys.executable, "-W", "error", "-m", "tests.support.memory_load", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=REPOSITORY, stdin=pipe, stdout=pipe, text=True)


async def numbers_of(load: subprocess.Popen[str]) -> dict[str, Any]:
    output, _ = await asyncio.to_thread(load.communicate, timeout=120)
    assert load.returncode == 0
    numbers: dict[str, Any] = json.loads(output)
    return numbers


@pytest.mark.parametrize("max_in_flight", [20, CALLERS])
async def test_200_callers_of_100_kb_and_50_rounds(own_server: RedisServer, max_in_flight: int) -> None:
    """Two gigabytes pass, and no more is kept than what is in flight and what the callers hold themselves."""
    load = start_load(own_server, f"max_in_flight={max_in_flight}&socket_timeout=60", ROUNDS, 0, "answers")
    numbers = await numbers_of(load)
    assert (numbers["wrong"], numbers["failed"]) == (0, 0)  # whoever finds no room waits; nobody is refused
    assert numbers["in_flight"] == max_in_flight
    assert numbers["bytes_in_flight"] <= max_in_flight * (SIZE + 100) + MAX_WRITE  # counted by whole writes
    assert numbers["grown"] < BOUND


@pytest.mark.parametrize(
    ("options", "patience"),
    [
        pytest.param("socket_timeout=0.2&reconnect_grace=60", 0, id="timeouts of the client"),
        pytest.param("socket_timeout=30", 0.05, id="timeouts of the callers"),
    ],
)
async def test_a_server_that_stops_reading(own_server: RedisServer, options: str, patience: float) -> None:
    """Callers time out and try again, round after round; neither the queue nor the memory grows with the rounds."""
    rounds = 20
    load = start_load(own_server, f"max_in_flight=200&{options}", rounds, patience, "hangs")
    assert load.stdout is not None
    assert load.stdin is not None
    assert await asyncio.to_thread(load.stdout.readline) == "ready\n"
    own_server.pause()
    numbers = await numbers_of(load)
    assert (numbers["wrong"], numbers["failed"]) == (0, CALLERS * rounds)
    assert numbers["in_flight"] <= 200
    assert numbers["waiting"] <= 3 * CALLERS  # those who gave up count until they are cleared away
    assert numbers["grown"] < BOUND


async def test_bytes_in_flight_stay_at_their_bound(own_server: RedisServer) -> None:
    """A server that reads all and answers nothing gets no more than the bound; it gets the rest as it answers."""
    client = Client(f"{own_server.url}?socket_timeout=60")
    await client.call(b"PING")
    own_server.command("CLIENT", "PAUSE", "60000", "WRITE")
    calls = [client.call(b"SET", f"k{number}", b"x" * SIZE) for number in range(1000)]
    await eventually(lambda: client.stats()["bytes_in_flight"] >= MAX_BYTES_IN_FLIGHT)
    assert client.stats()["bytes_in_flight"] <= MAX_BYTES_IN_FLIGHT + SIZE + 100
    assert client.stats()["waiting"] > 0
    own_server.command("CLIENT", "UNPAUSE")
    assert await asyncio.gather(*calls) == [b"OK"] * 1000


async def test_a_large_batch_does_not_hold_up_the_loop(own_server: RedisServer) -> None:
    """300 MB given in one turn are written bit by bit; other callbacks of the loop run in between."""
    client = Client(f"{own_server.url}?socket_timeout=60")
    await client.call(b"PING")
    calls = [client.call(b"SET", f"k{number}", b"x" * 1_000_000) for number in range(300)]
    with Turns() as turns:
        assert await asyncio.gather(*calls) == [b"OK"] * 300
    assert client.stats()["mean_batch"] * 1_000_000 <= MAX_WRITE + 1_000_000
    assert turns.longest < 0.1
    with Turns() as turns:
        replies = await asyncio.gather(*(client.call(b"GET", f"k{number}") for number in range(300)))
    assert all(len(reply) == 1_000_000 for reply in replies)
    assert turns.longest < 0.1
