"""Simulates the requests of one session to several workers, each with a near cache.

A request validates the session once, as ``open_session`` does. What ends an entry in a worker is a touch by any of
them: it changes the record, so that the server tells all workers that have read it. So a worker misses at the first
request after each touch, and the request that touches misses too. The lease plays no part: other sessions keep the
lease of a busy worker alive.

``python -m benchmarks.near.simulation`` prints the table of docs/operate/near-cache.md.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["TOUCH_INTERVAL", "TRAFFIC", "WORKERS", "Traffic", "hit_ratio", "table"]

TOUCH_INTERVAL = 60.0  # seconds
WORKERS = (1, 2, 4, 16)
SECONDS = 400_000.0  # of simulated traffic


@dataclass(frozen=True, slots=True)
class Traffic:
    """A session's requests: ``burst`` of them within ``width`` seconds, every ``pause`` seconds on average."""

    name: str
    pause: float
    burst: int = 1
    width: float = 0.0

    def times(self, chance: random.Random, until: float) -> Iterator[float]:
        """Give the times of the requests, in order."""
        now = 0.0
        while (now := now + chance.expovariate(1 / self.pause)) < until:
            yield from sorted(now + chance.random() * self.width for _ in range(self.burst))
            now += self.width


TRAFFIC = (
    Traffic("a request a minute", 60),
    Traffic("a request in 5 seconds", 5),
    Traffic("a page of 8 requests, every 30 seconds", 30, burst=8, width=1),
    Traffic("an API token, 10 requests a second", 0.1),
)


def hit_ratio(traffic: Traffic, workers: int, interval: float = TOUCH_INTERVAL, seed: int = 1) -> float:
    """Return the part of the requests that a near cache answers, if each request goes to a worker at random."""
    chance = random.Random(seed)
    cached: set[int] = set()  # the workers that have the session
    touched, hits, requests = 0.0, 0, 0
    for now in traffic.times(chance, min(SECONDS, SECONDS * traffic.pause / traffic.burst / 10)):
        requests += 1
        worker = chance.randrange(workers)
        if now - touched >= interval:
            touched = now
            cached.clear()
        elif worker in cached:
            hits += 1
        else:
            cached.add(worker)
    return hits / requests


def table() -> str:
    """Return the table: a row for each kind of traffic, a column for each number of workers."""
    head = "| a session's traffic | " + " | ".join(_column(workers) for workers in WORKERS) + " |"
    rows = [
        f"| {traffic.name} | " + " | ".join(f"{100 * hit_ratio(traffic, workers):.0f} %" for workers in WORKERS) + " |"
        for traffic in TRAFFIC
    ]
    return "\n".join([head, "|---|" + "---|" * len(WORKERS), *rows])


def _column(workers: int) -> str:
    return "1 worker, or sticky" if workers == 1 else f"{workers} workers"


if __name__ == "__main__":
    print(table())
