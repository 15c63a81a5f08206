"""A million keys, then millions of changes: what becomes of memory, of the loop, and of the expiry index.

Both sides do the same: one third of the operations are deletes, the others write, which overwrites a key or creates
it again; keys are taken with a stride through all of them, kinds from a seeded generator. The loop is given a turn
every thousand operations, so that timers run as in an application. The stall is the longest time from the end of
one operation to the end of the next, by the clock on the wall, with the garbage collector on.
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path
from time import monotonic, perf_counter_ns
from typing import Any

DAY = 86_400
STRIDE = 7_919  # a prime, so that it visits all keys
KINDS = 1 << 16
TURN = 1_000
VALUES = [f"{number:0100d}" for number in range(1_024)]  # shared: the values are not what memory is compared for


class DictOfTuples:
    """What the store is compared with: the same entries without an expiry index."""

    def __init__(self) -> None:
        self._items: dict[str, tuple[str, float]] = {}

    async def setex(self, key: str, ttl: int, value: str) -> None:
        self._items[key] = (value, monotonic() + ttl)

    async def delete(self, key: str) -> bool:
        return self._items.pop(key, None) is not None

    def __len__(self) -> int:
        return len(self._items)


def churn(*, store: str, keys: int, operations: int) -> dict[str, float]:
    """Load ``keys`` keys and change them; ``store`` is ``memory`` (ours) or ``dict``."""
    if store == "dict":
        return asyncio.run(_churn(DictOfTuples(), keys, operations))
    from chuk_sessions.providers.memory import MemoryStore

    return asyncio.run(_churn(MemoryStore().values, keys, operations))


async def _churn(store: Any, keys: int, operations: int) -> dict[str, float]:
    names = [f"session:{number:08d}" for number in range(keys)]
    for number, name in enumerate(names):
        await store.setex(name, DAY, VALUES[number % len(VALUES)])
    assert len(store) == keys
    after_load = resident_kib()
    start = perf_counter_ns()
    stall, stale = await _change(store, names, operations)
    seconds = (perf_counter_ns() - start) / 1e9
    assert 0 < len(store) < keys
    return {
        "after_load_kib": after_load,
        "peak_kib": peak_kib(),
        "longest_stall_ms": stall / 1e6,
        "most_stale_per_live": stale,
        "seconds": seconds,
    }


async def _change(store: Any, names: list[str], operations: int) -> tuple[int, float]:
    chooser = random.Random(1)
    deletes = [chooser.random() < 1 / 3 for _ in range(KINDS)]
    setex, delete, clock, count = store.setex, store.delete, perf_counter_ns, len(names)
    longest, most_stale, last = 0, 0.0, perf_counter_ns()
    for number in range(operations):
        name = names[number * STRIDE % count]
        if deletes[number % KINDS]:
            await delete(name)
        else:
            await setex(name, DAY, VALUES[number % 1_024])
        if not number % TURN:
            most_stale = max(most_stale, stale_per_live(store))
            await asyncio.sleep(0)
        now = clock()
        if now - last > longest:
            longest = now - last
        last = now
    return longest, most_stale


def stale_per_live(store: Any) -> float:
    """Stale entries of the expiry index per live key; 0 for a store without such an index."""
    return getattr(store, "stale", 0) / max(1, len(store))


def resident_kib() -> float:
    """Memory of this process now; where the system does not tell, the most so far."""
    return _status("VmRSS") or peak_kib()


def peak_kib() -> float:
    """The most memory that this process had."""
    known = _status("VmHWM")
    if known:
        return known
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1024 if sys.platform == "darwin" else most


def _status(field: str) -> float:
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((float(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0.0)
