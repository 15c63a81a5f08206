"""The program that is counted: a workload, whose last run is between two calls of ``getppid``.

Callgrind knows that function, and so tells the run from start-up, preparation, reset and warm-up. What chance decides
is taken out: the garbage collector is off, since one collection more or less would be some per cent of a run; clocks
stand still, since keys are filed by the second of their deadline, and a count that passes into the next one came out
8 % higher (measured); and session ids are not random.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import sys
import time
from itertools import repeat

from benchmarks.adapters import adapter
from benchmarks.workloads.case import Case
from benchmarks.workloads.registry import WORKLOADS

WARM_RUNS = 5  # by then the interpreter has specialised the code


def take_out_chance() -> None:
    """Before the package is imported, which keeps references to what is replaced here."""
    # Iterators over one value: as cheap as the real clocks, where a lambda would add to every count.
    time.monotonic = repeat(1_000.5).__next__
    time.time = repeat(1_750_000_000.5).__next__
    os.urandom = random.Random(1).randbytes


async def count(workload: str) -> None:
    """Never returns."""
    counted = WORKLOADS[workload]
    async with adapter("chuk", {}).open(counted.layer, counted.kind) as store:
        case = Case(counted, store)
        await case.prepare()
        for _ in range(WARM_RUNS):
            await case.reset()
            await case.run()
            await case.check()
        await case.reset()
        gc.collect()
        gc.disable()
        os.getppid()
        await case.run()
        os.getppid()
        os._exit(0)  # no need to wait for what comes after the run


def main() -> None:
    """The argument after the root of the path is the workload."""
    take_out_chance()
    asyncio.run(count(sys.argv[2]))
