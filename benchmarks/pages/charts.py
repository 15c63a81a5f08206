"""The plots of each kind of results: a file name and its SVG."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.compare.sides import GROUPS, OURS
from benchmarks.latency.page import MODES, rank
from benchmarks.measure.timing import QUANTILES, typical
from benchmarks.pages.line_chart import COLOURS, Axis, Chart, Line, decades
from benchmarks.pages.line_chart import OURS as OURS_COLOUR
from benchmarks.pages.units import duration
from benchmarks.workloads.case import KINDS
from benchmarks.workloads.registry import WORKLOADS

RATES = {10.0**power: text for power, text in zip(range(2, 8), ("100", "1k", "10k", "100k", "1M", "10M"), strict=True)}
TIMES = {10.0**power: duration(10.0**power) for power in range(1, 9)} | {1e9: "1 s", 1e10: "10 s"}
GET = next(group for group in GROUPS if group.title == "GET on Redis")
LATENCIES = {  # which are shown, and in which colour
    "memory.get": COLOURS[1],
    "redis.get.50": OURS_COLOUR,
    "manager.redis.validate.50": COLOURS[0],
}


def of_bench(results: Mapping[str, Any]) -> dict[str, str]:
    """Bytes per item over the number of items."""
    runs = results["footprint"]
    total = [(run["items"], run["bytes_per_item"]) for run in runs]
    own = [(run["items"], run["bytes_per_item"] - run["payload_bytes"]) for run in runs]
    most = max(figure for _, figure in total)
    ticks = [(float(bytes_), f"{bytes_} B") for bytes_ in range(0, int(most // 100 + 2) * 100, 100)]
    chart = Chart(
        "Memory per item, from a thousand items to a million",
        "Memory provider, keys of 16 and values of 100 characters, every byte that Python allocated",
        Axis("items", [(float(run["items"]), f"{run['items']:,}") for run in runs], logarithmic=True),
        Axis("bytes per item", ticks),
        [Line("key, value and store", total, strong=True), Line("the store's own part", own)],
    )
    return {"bytes.svg": chart.svg()} if len(runs) > 1 else {}


def of_compare(results: Mapping[str, Any]) -> dict[str, str]:
    """Throughput by concurrency, a plot for each loop."""
    return {f"throughput-{loop}.svg": throughput(results, loop) for loop in GET.loops if _has_ours(results, loop)}


def _has_ours(results: Mapping[str, Any], loop: str) -> bool:
    return bool(_points(results, loop, OURS))


def throughput(results: Mapping[str, Any], loop: str) -> str:
    """GET on Redis: operations a second over callers, of every library."""
    series = [(side, _points(results, loop, side)) for side in GET.sides]
    lines = [
        Line(side + _end(results, loop, side), points, side == OURS, "(floor)" in side)
        for side, points in series
        if points
    ]
    callers = [WORKLOADS[name].callers for name in GET.workloads]
    return Chart(
        f"GET on Redis by number of concurrent callers, {loop}",
        "One process, one server on the same machine, values of 100 bytes; more is better",
        Axis("concurrent callers", [(float(count), str(count)) for count in callers], logarithmic=True),
        Axis("operations a second", decades([y for line in lines for _, y in line.points], RATES), logarithmic=True),
        lines,
    ).svg()


def _end(results: Mapping[str, Any], loop: str, side: str) -> str:
    """With how many callers it fails, if it does."""
    for entry in results["contests"]:
        if entry["side"] == side and entry["loop"] == loop and entry["workload"] in GET.workloads and "error" in entry:
            return f" (fails at {WORKLOADS[entry['workload']].callers})"
    return ""


def _points(results: Mapping[str, Any], loop: str, side: str) -> list[tuple[float, float]]:
    """What a side reached; a failure ends its line."""
    found = {
        entry["workload"]: entry["processes"]
        for entry in results["contests"]
        if entry["side"] == side and entry["loop"] == loop and entry["processes"] and "error" not in entry
    }
    return [(float(WORKLOADS[name].callers), 1e9 / typical(found[name])) for name in GET.workloads if name in found]


def of_latency(results: Mapping[str, Any]) -> dict[str, str]:
    """Percentiles, closed and open, of each workload on the faster loop, which comes last."""
    lines = []
    loops = {run["loop"] for run in results["runs"] if not WORKLOADS[run["workload"]].in_memory}
    where = f"Redis on {max(loops)}; exact ranks" if loops else "Exact ranks"
    for run in {run["workload"]: run for run in results["runs"]}.values():
        if run["workload"] in LATENCIES:
            for mode in MODES:
                points = [(float(place), rank(run, mode, name)) for place, name in enumerate(QUANTILES)]
                name = f"{_short(run['workload'])}, {mode}"
                lines.append(Line(name, points, mode == "closed", mode != "closed", LATENCIES[run["workload"]]))
    if not lines:
        return {}
    chart = Chart(
        "Latency percentiles: closed loop, and open loop at 50 % and 80 % of capacity",
        f"{where}; the open loop counts from the intended start; less is better",
        Axis("percentile", [(float(place), name) for place, name in enumerate(QUANTILES)]),
        Axis("time", decades([y for line in lines for _, y in line.points], TIMES), logarithmic=True),
        lines,
    )
    return {"latency.svg": chart.svg()}


def _short(name: str) -> str:
    workload = WORKLOADS[name]
    call = "validate" if "validate" in name else "get"
    callers = f", {workload.callers} callers" if workload.callers > 1 else ""
    return f"{KINDS[workload.kind]} {call}{callers}"
