"""Bytes per item in the memory provider, exact to the byte by tracemalloc.

Resident memory would be noisy for a thousand items, which fit into what the allocator has in reserve. tracemalloc
counts what Python asked for: keys, values, entries, the dict and the expiry index.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from sys import getsizeof

from chuk_sessions.providers.memory import MemoryStore

TTL = 3600


def footprint(items: int) -> dict[str, float]:
    """Bytes per item: in total, and of key and value alone, which any store would hold."""
    return asyncio.run(_footprint(items))


async def _footprint(items: int) -> dict[str, float]:
    tracemalloc.start()
    store = MemoryStore().values
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(items):
        await store.setex(f"bench:{number:010d}", TTL, f"{number:0100d}")
    gc.collect()
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert len(store) == items
    payload = getsizeof(f"bench:{0:010d}") + getsizeof(f"{0:0100d}")
    return {"items": items, "bytes_per_item": held / items, "payload_bytes": payload}
