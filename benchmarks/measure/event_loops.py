"""The kinds of event loop that are here, and those on which a workload is measured."""

from __future__ import annotations

from importlib.util import find_spec

from benchmarks.workloads.case import Workload

HERE = ("asyncio", "uvloop") if find_spec("uvloop") else ("asyncio",)


def loops_for(workload: Workload) -> tuple[str, ...]:
    """Memory never suspends, so its figures do not depend on the loop; Redis is measured on each that there is."""
    return HERE[:1] if workload.in_memory else HERE
