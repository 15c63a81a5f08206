"""On which processor cores the Redis server and its client run.

A lone caller and the server take turns. If they share a core, that costs 15-35 µs; if each has its own, every call
wakes a sleeping core twice, which on virtual machines costs 40 µs a time. A scheduler left alone moves between the two
within a run, so that a figure says more about it than about a library. Hence ``shared`` by default, for every library
alike; ``apart`` and ``free`` are there to compare. Only Linux lets a process choose; elsewhere it is always free.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

Placement = Literal["shared", "apart", "free"]
TEXT: dict[Placement, str] = {
    "shared": "The Redis server and its client share one processor core, whatever the library: what waking another "
    "core costs depends on the machine (`--placement apart` measures it).",
    "apart": "The Redis server and its client have a processor core each.",
    "free": "The scheduler chose the processor cores of the Redis server and its client.",
}
PLACEMENTS: tuple[Placement, ...] = get_args(Placement)


def possible(wanted: Placement) -> Placement:
    """What this system can do: only Linux lets a process choose, and of a single core nobody can be apart."""
    if sys.platform != "linux":
        return "free"
    return "shared" if wanted == "apart" and len(os.sched_getaffinity(0)) == 1 else wanted


def pin_server(pid: int, placement: Placement) -> None:
    """Keep the main thread of the server on the last core; its background threads (fsync) stay free."""
    if sys.platform == "linux" and placement != "free":
        os.sched_setaffinity(pid, {max(os.sched_getaffinity(0))})


@contextmanager
def placed(placement: Placement) -> Iterator[None]:
    """Run this process on the server's core, or on another, until the end of the block."""
    if sys.platform != "linux" or placement == "free":
        yield
        return
    cores = os.sched_getaffinity(0)
    chosen = max(cores) if placement == "shared" else min(cores)
    os.sched_setaffinity(0, {chosen})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
