"""The tables of a run: published beside measured, and the speed to reach."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.bench import published
from benchmarks.bench.floors import floors
from benchmarks.bench.goals import Results
from benchmarks.bench.measured import Run
from benchmarks.bench.memory_tables import footprint, sessions
from benchmarks.bench.published import Figure
from benchmarks.bench.speed_table import speed
from benchmarks.measure import placement
from benchmarks.pages.markdown import Table
from benchmarks.pages.setting import setting
from benchmarks.pages.units import NOTHING, callers, rate, store, time, times
from benchmarks.workloads.case import KINDS, Workload
from benchmarks.workloads.registry import SIZES, WORKLOADS

PUBLISHED = (
    f"*Published* is chuk-sessions 0.2 on {published.MACHINE}: another machine, so a ratio compares both at once."
)
BEST = (
    "*Measured* is the median block of the best of several fresh processes; *spread* is how far the slowest process's "
    "median lies above it."
)
RATIOS = "Ratios over 1 are better than published, or than the peer, unless a row says *at most*"
CALLERS = ("memory.cycle.5", "redis.cycle.5", "redis.get", "redis.get.5", "redis.get.50", "redis.get.500")
# The published sizes among others, smallest first, memory before Redis.
PAYLOADS = [
    f"{kind}.{call}"
    for kind in ("memory", "redis")
    for call in ("set-over", "get", *[f"{do}-{what}" for what in (*SIZES, "json") for do in ("set", "get")])
]


def text(results: Mapping[str, Any]) -> str:
    """All tables of ``nox -s bench``, and what the run was made on."""
    return "\n\n".join([setting(results, RATIOS), *map(str, tables(dict(results)))]) + "\n"


def tables(results: Results) -> list[Table]:
    """All tables, in the order in which they are read."""
    run = Run(results)
    return [
        providers(run, results),
        manager(run),
        concurrent(run),
        payloads(run),
        footprint(results),
        *sessions(results),
        speed(results),
        *floors(results),
    ]


def providers(run: Run, results: Results) -> Table:
    """Get, set and delete."""
    names = [name for name in WORKLOADS if name.split(".")[-1] in ("get", "set-new", "set-over", "delete")]
    names = sorted((name for name in names if name in run), key=_provider_order)
    loops = run.loops()
    rows = []
    for name in names:
        figure = published.PROVIDERS.get(name, Figure())
        cells = [KINDS[WORKLOADS[name].kind], _call(name), _ms(figure), rate(figure.throughput)]
        for loop in loops:
            ns = run.ns(name, loop)
            cells += [time(ns), rate(_per_second(ns)), times(_ratio(_per_second(ns), figure.throughput))]
            cells.append(run.spread(name, loop))
        rows.append(tuple(cells))
    servers = "; ".join(f"{KINDS[kind]}: {_server(server)}" for kind, server in results["servers"].items())
    caption = (
        "One operation is one call with a value of 100 bytes, on 1,000 keys, one caller. As the published figure is "
        "understood, 1,000 calls in a row are timed together; *one call* is a single call of them, in the median "
        f"of all blocks. On memory nothing suspends, so the loop does not matter. {BEST} {PUBLISHED}"
        + (f" {placement.TEXT[results['placement']]} Servers: {servers}." if servers else "")
    )
    header = ["Provider", "Operation", "Published, one call", "Published"]
    for loop in loops:
        header += [f"One call, {loop}", f"Measured, {loop}", "Ratio", "Spread"]
    return Table("Providers", caption, tuple(header), rows)


def manager(run: Run) -> Table:
    """What the session manager adds to a provider call."""
    rows = []
    for kind in ("memory", "redis"):
        for call in ("allocate", "validate", "update", "info"):
            name = f"manager.{kind}.{call}"
            for loop in run.loops():
                ns, base = run.ns(name, loop), run.beside(name, loop)
                if ns is None or base is None:
                    continue
                figure = published.OVERHEAD.get(call, Figure())
                where, cells = store(WORKLOADS[name], loop), _overhead(ns, base, figure)
                rows.append((where, call, figure.text or NOTHING, *cells, run.spread(name, loop)))
    path = run.ns("grid.artifact-key")
    if path is not None:
        gain, spread = times(_ratio(_ns(published.GRID_PATH), path)), run.spread("grid.artifact-key")
        rows.append((NOTHING, "grid path", published.GRID_PATH.text, time(path), NOTHING, NOTHING, f">{gain}", spread))
    caption = (
        "One operation is one call of SessionManager, on 1,000 sessions (250 on Redis) of user alice with the metadata "
        "of the quick start (role, department, permissions). *Overhead* is that call less one call of the provider on "
        "the same store, measured in turns with it (allocate: SET of a new key, update: SET over one, validate and "
        "info: GET, 100 bytes each). Validation writes the time of last access. Grid path: one generate_artifact_key, "
        f"its prefix cached. {BEST} {PUBLISHED}"
    )
    header = ("Store", "Call", "Published overhead", "Manager call", "Provider call", "Overhead", "Ratio", "Spread")
    return Table("Session manager", caption, header, rows)


def _overhead(ns: float, base: float, figure: Figure) -> tuple[str, ...]:
    over = ns - base
    text = time(over) if over >= 0 else f"-{time(-over)}"
    promised = _ns(figure)
    gain = times(promised / over) if promised and over > 0 else f">{times(promised / ns)}" if promised else NOTHING
    return time(ns), time(base), text, gain


def concurrent(run: Run) -> Table:
    """Five workers, as published; and more callers."""
    rows = []
    for name in CALLERS:
        workload = WORKLOADS[name]
        for loop in run.loops():
            ns = run.ns(name, loop)
            if ns is None:
                continue
            figure = published.CONCURRENT.get(name, Figure())
            is_cycle = workload.unit == "cycle"
            p95 = run.latency(name, loop, "cycle", "p95") if is_cycle else None
            single = run.latency(name, loop, "call", "p95") if is_cycle else None
            promised = _ns(figure)
            rows.append(
                (
                    store(workload, loop),
                    _callers(workload),
                    rate(figure.throughput),
                    rate(1e9 / ns),
                    times(_ratio(1e9 / ns, figure.throughput)),
                    time(promised),
                    time(p95),
                    times(promised / p95 if promised and p95 else None),
                    rate(3e9 / ns if is_cycle else 1e9 / ns),
                    time(single),
                    run.spread(name, loop),
                )
            )
    caption = (
        "One operation is one cycle of SET, GET and DELETE of a key of its own, 100 bytes, as the published figure is "
        "understood: 5 workers of 100 cycles. The last two columns count every call of a cycle for itself. Latencies "
        "come from a pass of their own with a clock around each operation, exact ranks. On memory nothing suspends: "
        f"the workers run one after the other. The rows of GET have no published figure. {BEST} {PUBLISHED}"
    )
    header = ("Provider", "Concurrent", "Published", "Measured", "Ratio", "Published P95", "P95", "Ratio")
    return Table("Concurrent access", caption, (*header, "Single calls", "Single call P95", "Spread"), rows)


def _callers(workload: Workload) -> str:
    if workload.unit == "cycle":
        return f"{workload.callers} x 100 cycles"
    return f"{callers(workload.callers)}, GET"


def payloads(run: Run) -> Table:
    """Values of all sizes, and objects."""
    rows = []
    for name in PAYLOADS:
        for loop in run.loops():
            ns = run.ns(name, loop)
            if ns is not None:
                figure = published.PAYLOADS.get(name, Figure())
                promised = _ns(figure)
                text = figure.text or _ms(figure)
                ratio = times(promised / ns if promised else None)
                operation = WORKLOADS[name].operation + (", 100 bytes" if name.endswith((".get", ".set-over")) else "")
                where = store(WORKLOADS[name], loop)
                rows.append((where, operation, text, time(ns), rate(1e9 / ns), ratio, run.spread(name, loop)))
    caption = (
        "One operation is what the second column says, on 1,000 keys (on Redis 500 of those over 100 bytes), one "
        f"caller. Memory keeps values as they are, whatever their size. {BEST} {PUBLISHED}"
    )
    header = ("Provider", "Operation", "Published", "Measured", "Throughput", "Ratio", "Spread")
    return Table("Values of all sizes, and JSON", caption, header, rows)


def _provider_order(name: str) -> tuple[int, int]:
    call = name.split(".")[1]
    return list(KINDS).index(WORKLOADS[name].kind), ("get", "set-new", "set-over", "delete").index(call)


def _call(name: str) -> str:
    return {"get": "GET", "set-new": "SET, new key", "set-over": "SET, over", "delete": "DELETE"}[name.split(".")[1]]


def _server(server: Mapping[str, Any]) -> str:
    settings = ", ".join(f"{name} {value or repr('')}" for name, value in server["settings"].items())
    return f"{server['version']} ({settings})"


def _ns(figure: Figure) -> float | None:
    return None if figure.latency_ms is None else figure.latency_ms * 1e6


def _ms(figure: Figure) -> str:
    return NOTHING if figure.latency_ms is None else f"{figure.latency_ms:.3f} ms"


def _per_second(ns: float | None) -> float | None:
    return None if ns is None else 1e9 / ns


def _ratio(measured: float | None, promised: float | None) -> float | None:
    return measured / promised if measured and promised else None
