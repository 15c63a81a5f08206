"""Callers that give up, by the thousand: every key holds its own name, so a reply that goes astray is seen at once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from chuk_sessions.exceptions import NotSent, OutcomeUnknown
from chuk_sessions.redis_client.batch import BatchScript
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.commands import Replay
from tests.support.helpers import eventually

if TYPE_CHECKING:
    from tests.support.servers import RedisServer

pytestmark = [pytest.mark.redis, pytest.mark.faults, pytest.mark.alone]

KEYS = [f"key-{i}" for i in range(200)]
CALLERS = 100
SOCKET_TIMEOUT = 0.1
READ_ALL = BatchScript(
    "local found = {} for i, key in ipairs(KEYS) do found[i] = redis.call('GET', key) end return found"
)


class Readers:
    """Read random keys and count what came of it."""

    def __init__(self, client: Client, chance: random.Random) -> None:
        self.client = client
        self.chance = chance
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[tuple[str, object]] = []

    async def read(self) -> None:
        """One key, by a plain command or as part of a batch; half of the callers have a timeout of their own."""
        key, patience = self.chance.choice(KEYS), self.chance.choice([None, self.chance.random() * 0.003])
        by_script = self.chance.random() < 0.5
        try:
            async with asyncio.timeout(patience):
                reply = await (READ_ALL.run(self.client, key, ()) if by_script else self._get(key))
        except TimeoutError:
            self.outcomes["own timeout"] += 1
        except (NotSent, OutcomeUnknown):
            self.outcomes["socket timeout"] += 1
        except asyncio.CancelledError:
            self.outcomes["cancelled"] += 1
            raise
        else:
            self.outcomes["read"] += 1
            if reply != key.encode():
                self.wrong.append((key, reply))

    def _get(self, key: str) -> asyncio.Future[object]:
        return self.client.call(b"GET", key, replay=self.chance.choice(list(Replay)[:2]))

    async def round(self) -> None:
        """All callers at once, a third of which are cancelled at some turn of the loop."""
        tasks = [asyncio.create_task(self.read()) for _ in range(CALLERS)]
        for _ in range(self.chance.randrange(5)):
            await asyncio.sleep(0)
        for task in self.chance.sample(tasks, CALLERS // 3):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def freeze(server: RedisServer, client: Client) -> None:
    """Until the client itself gives commands up; some replies to them come later."""
    before = client.stats()["timeouts"]
    server.pause()
    lost = [client.call(b"GET", key) for key in KEYS]
    await eventually(lambda: client.stats()["timeouts"] > before)
    server.resume()
    await asyncio.gather(*lost, return_exceptions=True)


async def test_10_000_random_cancellations_and_timeouts_mix_up_no_replies(own_server: RedisServer) -> None:
    client = Client(f"{own_server.url}?socket_timeout={SOCKET_TIMEOUT}&reconnect_grace=60&max_in_flight=150")
    await asyncio.gather(*(client.call(b"SET", key, key) for key in KEYS))
    readers = Readers(client, random.Random(20))
    outcomes = readers.outcomes
    rounds = 0
    while outcomes["cancelled"] < 10_000 or outcomes["own timeout"] < 3_000:
        freezing = asyncio.create_task(freeze(own_server, client)) if rounds % 25 == 0 else None
        await readers.round()
        if freezing is not None:
            await freezing
        rounds += 1
    assert readers.wrong == []
    assert outcomes["read"] > 3_000
    assert outcomes["socket timeout"] > 100
    await eventually(lambda: client.stats()["in_flight"] == 0)
