"""The tables of a latency run."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from benchmarks.latency.run import SHARES
from benchmarks.measure import placement
from benchmarks.measure.timing import QUANTILES
from benchmarks.pages.markdown import Table
from benchmarks.pages.setting import setting
from benchmarks.pages.units import NOTHING, callers, duration, rate, store
from benchmarks.workloads.registry import WORKLOADS

PLACEMENT: placement.Placement = "apart"  # of results that do not say it
MODES = ("closed", *[f"open {share:.0%}" for share in SHARES])
METHOD = (
    "Exact ranks, no interpolation; each operation timed by itself, in nanoseconds, in a pass of its own. *Closed*: a "
    "caller sends its next operation when the last has ended. *Open*: operations are meant to begin at random times, "
    "at a share of the capacity, and are timed from then on, however late they really began: what a stall makes "
    "everybody wait is in the figures. Capacity is what the same number of callers reaches, each operation a task: of "
    "one caller on Redis it is what one connection does one by one, though in the open loop operations may overlap. A "
    "quantile is the median over fresh processes, *max* the worst of all. *Floor* is the same with an operation that "
    "does nothing."
)


def text(results: Mapping[str, Any]) -> str:
    """All rows."""
    return f"{setting(results)}\n\n{table(results)}\n"


def in_short(results: Mapping[str, Any]) -> str:
    """For docs/performance.md: without the rows of the slower loop."""
    loops = {run["workload"]: run["loop"] for run in results["runs"]}  # of each workload the one that comes last
    runs = [run for run in results["runs"] if loops[run["workload"]] == run["loop"]]
    return text(dict(results) | {"runs": runs})


def table(results: Mapping[str, Any]) -> Table:
    """For each workload and loop: the floor, the closed loop, the open loops."""
    rows = [_row(run, mode) for run in results["runs"] for mode in ("floor", *MODES)]
    where = placement.TEXT[results.get("placement", PLACEMENT)] if results["servers"] else ""
    return Table(
        "Percentiles", f"{METHOD} {where}".strip(), ("Store", "One operation", "Loop", "Offered", *QUANTILES), rows
    )


def _row(run: Mapping[str, Any], mode: str) -> tuple[str, ...]:
    workload = WORKLOADS[run["workload"]]
    many = f", {callers(workload.callers)}" if mode == "closed" and workload.callers > 1 else ""
    offered = rate(_share(mode) * typical(run, "capacity")) if mode.startswith("open") else NOTHING
    figures = [duration(rank(run, mode, name)) for name in QUANTILES]
    return (store(workload, run["loop"]), workload.operation, mode + many, offered, *figures)


def rank(run: Mapping[str, Any], mode: str, name: str) -> float:
    """A quantile: the median over processes; of ``max`` the worst of them, as nothing else is the longest wait."""
    figures: list[float] = [process[mode][name] for process in run["processes"]]
    return max(figures) if name == "max" else statistics.median(figures)


def typical(run: Mapping[str, Any], name: str) -> float:
    """A plain figure: the median over processes."""
    figures: list[float] = [process[name] for process in run["processes"]]
    return statistics.median(figures)


def _share(mode: str) -> float:
    return next(share for share in SHARES if mode == f"open {share:.0%}")
