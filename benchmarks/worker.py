"""A fresh process that measures something and prints JSON.

It reads one JSON object from standard input: ``task`` and what that task is given. It runs in any environment that
has the library under test, and reports which one it really had.
"""

from __future__ import annotations

import asyncio
import json
import platform
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from benchmarks.adapters import adapter
from benchmarks.measure.placement import Placement, placed
from benchmarks.measure.timing import run_block
from benchmarks.workloads.case import Adapter, Workload, opened
from benchmarks.workloads.registry import WORKLOADS

LIBRARIES = (
    *("chuk-sessions", "redis", "hiredis", "orjson", "uvloop"),
    *(
        "aiocache",
        "cachetools",
        "cashews",
        "coredis",
        "litestar",
        "moka-py",
        "starlette",
        "starsessions",
        "valkey-glide",
    ),
)
TASKS = {  # by name the module and the function, loaded when asked for
    "blocks": (__name__, "blocks"),
    "churn": ("benchmarks.bench.churn", "churn"),
    "footprint": ("benchmarks.bench.footprint", "of_items"),
    "session_footprint": ("benchmarks.bench.footprint", "of_sessions"),
    "latency": ("benchmarks.latency.run", "latency"),
    "added": ("benchmarks.web.driven", "added"),
}


def main() -> None:
    """Answer the one question on standard input."""
    question: dict[str, Any] = json.load(sys.stdin)
    module, function = TASKS[question.pop("task")]
    answer = getattr(import_module(module), function)(**question)
    json.dump({"answer": answer, "versions": versions(LIBRARIES), "python": platform.python_version()}, sys.stdout)


def versions(names: tuple[str, ...]) -> dict[str, str]:
    """Installed versions; a library that is not installed is left out."""
    found = {}
    for name in names:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Makes event loops of that kind: ``asyncio`` or ``uvloop``."""
    module = asyncio if name == "asyncio" else import_module(name)
    new_event_loop: Callable[[], asyncio.AbstractEventLoop] = module.new_event_loop
    return new_event_loop


def blocks(
    *,
    library: str,
    workloads: list[str],
    loop: str,
    urls: Mapping[str, str],
    placement: Placement,
    least: int,
    most: int,
    seconds: float,
) -> dict[str, list[float]]:
    """Nanoseconds per operation of every block, by workload."""
    opener = adapter(library, urls)
    with placed(placement), asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        return {
            name: runner.run(_blocks(WORKLOADS[name], opener, least, most, time.monotonic() + seconds))
            for name in workloads
        }


async def _blocks(workload: Workload, opener: Adapter, least: int, most: int, deadline: float) -> list[float]:
    times: list[float] = []
    least = 1 if workload.shuffled else least
    async with opened(workload, opener) as case:
        if not workload.shuffled:  # else one run is so long that its beginning does not count
            await case.reset()
            await case.run()  # connections are opened and code is warm before anything is timed
        while len(times) < least or (len(times) < most and time.monotonic() < deadline):
            times.append(round(await run_block(case) / workload.operations, 2))
    return times
