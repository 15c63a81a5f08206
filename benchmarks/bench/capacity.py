"""The tables of docs/operate/capacity.md: what a session takes, and what follows for very many of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from benchmarks.bench.measured import Run
from benchmarks.bench.memory_tables import sessions
from benchmarks.compare.sides import OURS
from benchmarks.measure.timing import typical
from benchmarks.pages.markdown import Table
from benchmarks.pages.units import NOTHING, callers, rate, time
from benchmarks.workloads.case import KINDS
from benchmarks.workloads.registry import WORKLOADS

PLANNED = (1_000_000, 100_000_000)  # sessions
TABLES_OF_THE_SERVER = 100  # bytes of a session in the server's tables of keys and deadlines
MASTER = 16e9  # bytes of sessions on a master
EVERY = 60  # seconds between two validations of a session
LIFETIME = 86_400  # seconds
VALIDATE_BYTES, REPLY_BYTES = 162, 19  # on the wire, without the headers of TCP
BUSY = 0.5  # the part of a core that is planned
CALLS = ("manager.{}.validate", "manager.{}.info", "manager.{}.update", "manager.{}.allocate")
TOGETHER = (
    "manager.redis.validate.50",
    "manager.redis-cluster.validate.50",
)  # in a cluster most keys are in other slots
LOOP = "uvloop"  # on Redis


def text(bench: Mapping[str, Any], compare: Mapping[str, Any] | None) -> str:
    """The tables, of the results of ``nox -s bench`` and of ``nox -s compare``."""
    together = {name: ns for name in TOGETHER if (ns := _of_contest(compare or {}, name)) is not None}
    made = bench["environment"]
    run = f"`results/bench.json` of {made['date'][:10]}, commit {made['commit'][:12]}"
    tables = [*sessions(dict(bench)), calls(Run(dict(bench)), together), *planned(bench, together)]
    sections = [str(table).replace("### ", "## ", 1) for table in tables]  # the page has no section above them
    return "\n\n".join([f"Measured on: {made['machine']['processor']}. Source: {run}.", *sections]) + "\n"


def calls(run: Run, together: Mapping[str, float]) -> Table:
    """How many calls one processor core serves, on memory and on Redis."""
    names = [name.format(kind) for kind in ("memory", "redis") for name in CALLS]
    rows = [_row(name, run.ns(name, LOOP if "redis" in name else "asyncio")) for name in names]
    caption = (
        "One call after the other from a lone caller; of 50 concurrent callers the calls are sent together. On Redis, "
        "with uvloop, the one core serves application and server. Source: `results/bench.json`, for 50 callers "
        "`results/compare.json`."
    )
    header = ("Store", "Call", "Callers", "Time of one", "Calls of a core")
    return Table("Calls a second", caption, header, [*rows, *(_row(name, ns) for name, ns in together.items())])


def _row(name: str, ns: float | None) -> tuple[str, ...]:
    workload = WORKLOADS[name]
    per_second = None if ns is None else 1e9 / ns
    call = name.split(".")[2]
    return KINDS[workload.kind], call, callers(workload.callers), time(ns), rate(per_second)


def planned(bench: Mapping[str, Any], together: Mapping[str, float]) -> list[Table]:
    """What so many sessions need on a cluster; no table if their bytes were not measured."""
    measured = bench.get("sessions", {}).get("redis, many users")
    if measured is None:
        return []
    each = measured["bytes_per_session"] + TABLES_OF_THE_SERVER
    slowest = max(together.values(), default=None)
    rows = [
        ("Memory of sessions and indexes", *(_gigabytes(each * count) for count in PLANNED)),
        ("Memory of the masters, with as much free", *(_gigabytes(2 * each * count) for count in PLANNED)),
        ("Masters, by memory", *(f"{math.ceil(each * count / MASTER)}" for count in PLANNED)),
        ("Validations a second", *(f"{count / EVERY:,.0f}" for count in PLANNED)),
        ("Logins a second", *(f"{count / LIFETIME:,.0f}" for count in PLANNED)),
        ("Cores, application and masters together", *(_cores(count / EVERY, slowest) for count in PLANNED)),
        ("Network, to and from the masters", *(_network(count / EVERY) for count in PLANNED)),
    ]
    caption = (
        f"{each:,.0f} bytes a session: {measured['bytes_per_session']:,.0f} if each is the only one of its user (the "
        f"table above), and {TABLES_OF_THE_SERVER} for the server's tables. A master holds {MASTER / 1e9:.0f} GB of "
        f"them and has as much memory free. A session is validated once in {EVERY} seconds and lives a day. A core is "
        f"busy {BUSY:.0%} of the time, with the slowest calls of 50 callers of the table above. A validation has "
        f"{VALIDATE_BYTES} bytes on the wire and {REPLY_BYTES} back (`tests/redis/test_exact_costs.py`, "
        "`tests/bench/test_capacity.py`); sent together they have fewer. Replicas are not counted."
    )
    return [Table("On a cluster", caption, ("", *(f"{count:,} sessions" for count in PLANNED)), rows)]


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:,.1f} GB"


def _cores(per_second: float, ns: float | None) -> str:
    return NOTHING if ns is None else f"{math.ceil(per_second * ns / 1e9 / BUSY):,}"


def _network(per_second: float) -> str:
    return f"{per_second * (VALIDATE_BYTES + REPLY_BYTES) * 8 / 1e6:,.0f} Mbit/s"


def _of_contest(compare: Mapping[str, Any], workload: str) -> float | None:
    """Nanoseconds of one call; None if it was not measured."""
    for entry in compare.get("contests", ()):
        if (entry["workload"], entry["side"], entry["loop"]) == (workload, OURS, LOOP) and entry["processes"]:
            return typical(entry["processes"])
    return None
