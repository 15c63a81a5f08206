"""A worker of the gate: opens one workload of this version on one tree, then runs a block whenever it is told to.

It is told by lines on standard input and answers each by one line of JSON: first the question, answered when the case
is open and warm, then ``block``, answered with nanoseconds. The end of the input ends it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.adapters import adapter
from benchmarks.measure.placement import placed
from benchmarks.measure.timing import run_block
from benchmarks.worker import loop_factory
from benchmarks.workloads.case import opened
from benchmarks.workloads.registry import WORKLOADS

WARM_BLOCKS = 2
# A memory block is shorter than the 4 ms for which another program may take the core, and waits for nothing: the time
# that the processor worked on it is all there is to it. On Redis what counts is when the replies are here.
CLOCKS = {"processor": time.process_time_ns, "wall": time.perf_counter_ns}


def main() -> None:
    """Answer until the input ends."""
    question: dict[str, Any] = json.loads(sys.stdin.readline())
    with (
        placed(question["placement"]),
        asyncio.Runner(loop_factory=loop_factory(question["loop"])) as runner,
    ):
        runner.run(_serve(question))


async def _serve(question: dict[str, Any]) -> None:
    clock = CLOCKS[question["clock"]]
    async with opened(WORKLOADS[question["workload"]], adapter("chuk", question["urls"])) as case:
        for _ in range(WARM_BLOCKS):
            await run_block(case)
        _answer(ready=_tree())
        while sys.stdin.readline().strip() == "block":
            gc.collect()  # else a collection that earlier blocks made due falls into one of them, by chance
            await asyncio.sleep(0)  # timers that came due while we waited
            _answer(ns=await run_block(case, clock))


def _tree() -> str:
    """The folder that the package under test came from."""
    import chuk_sessions

    return str(Path(chuk_sessions.__file__).parents[1])


def _answer(**reply: Any) -> None:
    print(json.dumps(reply), flush=True)
