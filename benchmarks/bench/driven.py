"""A worker of the speed to reach: opens workloads, and runs a block of one of them whenever it is told to.

The lines that it gets are JSON (see ``measure.told``): first the question, answered with what is installed; then
``["open", [names]]``, answered when these workloads are open and warm, ``["block", name]``, answered with nanoseconds
of an operation, and ``["close"]``, which closes what is open.
"""

from __future__ import annotations

import asyncio
import gc
import json
import platform
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from benchmarks.adapters import adapter
from benchmarks.measure.placement import Placement, placed
from benchmarks.measure.timing import run_block
from benchmarks.worker import LIBRARIES, loop_factory, versions
from benchmarks.workloads.case import Adapter, Case, opened
from benchmarks.workloads.registry import WORKLOADS


def main() -> None:
    """Answer until the input ends."""
    serve(**json.loads(sys.stdin.readline()))


def serve(*, library: str, loop: str, urls: Mapping[str, str], placement: Placement, prefix: str) -> None:
    """The same, with a library on that loop."""
    opener = adapter(library, urls)
    _answer(versions=versions(LIBRARIES), python=platform.python_version())
    with placed(placement), asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        runner.run(_serve(opener, prefix))


async def _serve(opener: Adapter, prefix: str) -> None:
    cases: dict[str, Case] = {}
    async with AsyncExitStack() as stack:
        while line := sys.stdin.readline():
            word, *rest = json.loads(line)
            if word == "open":
                for name in rest[0]:
                    cases[name] = await stack.enter_async_context(opened(WORKLOADS[name], opener, prefix))
                    await _warm_up(cases[name])
                _answer(open=len(cases))
            elif word == "block":
                gc.collect()  # as in the gate
                await asyncio.sleep(0)  # timers that came due while others ran
                _answer(ns=round(await run_block(cases[rest[0]]) / WORKLOADS[rest[0]].operations, 2))
            else:
                await stack.aclose()
                cases.clear()
                _answer(open=0)


async def _warm_up(case: Case) -> None:
    """Connections are opened and code is warm before anything is timed."""
    if not case.workload.shuffled:  # else one run is so long that its beginning does not count
        await case.reset()
        await case.run()


def _answer(**reply: Any) -> None:
    print(json.dumps(reply), flush=True)
