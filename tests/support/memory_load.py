"""Many callers of large values, in a process of its own, so that its memory is the client's; prints what it took.

Arguments: the URL, callers, bytes of a value, rounds, the seconds after which callers give up by themselves (0: never),
and what the server does: `answers`, or `hangs` once this has said that it is ready.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys

from chuk_sessions.exceptions import NotSent, OutcomeUnknown
from chuk_sessions.redis_client.client import Client


def most_memory() -> int:
    """Bytes that this process ever had resident; Linux counts them in kilobytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Load:
    def __init__(self, client: Client, size: int, rounds: int, patience: float) -> None:
        self.client = client
        self.size = size
        self.rounds = rounds
        self.patience = patience or None
        self.most = {"in_flight": 0.0, "bytes_in_flight": 0.0, "waiting": 0.0}
        self.wrong = 0
        self.failed = 0

    async def call(self, number: int) -> None:
        for turn in range(self.rounds):
            value = f"{number}-{turn}-".ljust(self.size, "x")
            try:
                async with asyncio.timeout(self.patience):
                    await self.client.call(b"SET", f"k{number}", value)
                    self.wrong += await self.client.call(b"GET", f"k{number}") != value.encode()
            except (NotSent, OutcomeUnknown, TimeoutError):
                self.failed += 1

    async def watch(self) -> None:
        while True:
            stats = self.client.stats()
            for name, value in self.most.items():
                self.most[name] = max(value, stats[name])
            await asyncio.sleep(0)


async def main(url: str, callers: int, size: int, rounds: int, patience: float, hangs: bool) -> None:
    load = Load(Client(url), size, rounds, patience)
    await load.client.call(b"PING")
    if hangs:
        print("ready", flush=True)
        sys.stdin.readline()
    before = most_memory()
    watching = asyncio.create_task(load.watch())
    await asyncio.gather(*map(load.call, range(callers)))
    watching.cancel()
    grown = most_memory() - before
    print(json.dumps({"grown": grown, "wrong": load.wrong, "failed": load.failed, **load.most}))


if __name__ == "__main__":
    url, *numbers, what = sys.argv[1:]
    callers, size, rounds, patience = map(float, numbers)
    asyncio.run(main(url, int(callers), int(size), int(rounds), patience, what == "hangs"))
