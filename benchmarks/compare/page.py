"""COMPARE.md, and the tables of peers in docs/performance.md."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from benchmarks.compare.sides import GROUPS, OURS, Group
from benchmarks.measure import placement
from benchmarks.measure.timing import spread, typical
from benchmarks.pages.markdown import WIDTH, Table
from benchmarks.pages.setting import setting
from benchmarks.pages.units import NOTHING, callers, duration
from benchmarks.web import page as web
from benchmarks.web.goals import speed
from benchmarks.workloads.registry import WORKLOADS

METHOD = (
    "Time of one operation, and how many times that of this version it is. Every side runs in an environment of its "
    "own; fresh processes take turns; a figure is the median over processes of their median blocks. Where an argument "
    "order differs, a call goes through one plain function; libraries that are not asynchronous are called behind "
    "`async def`. Words in the place of a figure say what happened."
)


def in_short(results: Mapping[str, Any]) -> str:
    """For docs/performance.md: each table on one loop, uvloop where there is a choice."""
    return text(results, every_loop=False)


def text(results: Mapping[str, Any], every_loop: bool = True) -> str:
    """All tables."""
    tables = []
    for group in GROUPS:
        loops = [loop for loop in group.loops if _played(group, loop, results)]
        tables += [str(table(group, loop, results)) for loop in (loops if every_loop else loops[-1:])]
    if every_loop:
        tables += map(str, speed(results))
        tables += web.tables(results.get("web", ()), results.get("web_added", {}))
    where = [placement.TEXT[results["placement"]]] if results["servers"] else []
    words = textwrap.fill(" ".join([METHOD, *where]), WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n\n".join([setting(results, _versions(results)), words, *tables]) + "\n"


def _played(group: Group, loop: str, results: Mapping[str, Any]) -> bool:
    return any(entry["workload"] in group.workloads and entry["loop"] == loop for entry in results["contests"])


def table(group: Group, loop: str, results: Mapping[str, Any]) -> Table:
    """A row for each side."""
    entries = {(entry["workload"], entry["side"]): entry for entry in results["contests"] if entry["loop"] == loop}
    rows = [
        (side, *[cell(entries.get((workload, side)), entries.get((workload, OURS))) for workload in group.workloads])
        for side in group.sides
        if any((workload, side) in entries for workload in group.workloads)
    ]
    where = "" if group.kind == "memory" else f", {loop}"
    calls = {_call(name): WORKLOADS[name].operation for name in group.workloads}
    operations = "; ".join(f"{call}: {operation}" for call, operation in calls.items())
    return Table(
        group.title + where, f"One operation, {operations}.", ("Library", *map(_column, group.workloads)), rows
    )


def _call(name: str) -> str:
    return name.removeprefix("manager.").split(".")[1]


def _column(name: str) -> str:
    workload = WORKLOADS[name]
    return _call(name) + ("" if workload.in_memory else f", {callers(workload.callers)}")


def cell(entry: Mapping[str, Any] | None, ours: Mapping[str, Any] | None) -> str:
    """A time and its multiple of ours, or what happened instead."""
    if entry is None:
        return NOTHING
    if "error" in entry:
        return str(entry["error"])[:60]
    if not entry["processes"]:
        return NOTHING
    ns = typical(entry["processes"])
    if ours is None or not ours["processes"]:
        return duration(ns)
    if entry["side"] == OURS:
        return f"{duration(ns)} (±{spread(entry['processes']) / 2:.0%})"
    return f"{duration(ns)} ({ns / typical(ours['processes']):.1f}x)"


def _versions(results: Mapping[str, Any]) -> str:
    """What the sides really had."""
    found: dict[str, str] = {}
    for entry in (*results["contests"], *results.get("web", ())):
        found |= {name: version for name, version in entry["versions"].items() if name != "chuk-sessions"}
    return "Compared: " + ", ".join(f"{name} {version}" for name, version in sorted(found.items()))
