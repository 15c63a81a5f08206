"""Results of every kind with a figure or two in each table, and an adapter that opens what it is given."""

from __future__ import annotations

import sys
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report
from benchmarks.compare.sides import OURS
from benchmarks.latency.page import MODES
from benchmarks.measure.scale import FULL, QUICK
from benchmarks.measure.timing import QUANTILES
from benchmarks.pages.publications import publication
from benchmarks.web import run as web
from benchmarks.web.sides import COUNTS, Duel
from benchmarks.workloads.case import Kind, Layer

ENVIRONMENT: dict[str, Any] = {
    "date": "2025-01-02T03:04:05+00:00",
    "commit": "0123456789abcdef",
    "dirty": True,
    "machine": {"processor": "Example CPU", "cores": 2, "memory_gib": 4.0, "system": "Linux 6"},
    "python": "CPython 3.11.7",
    "versions": {"chuk-sessions": "0.7.0", "redis": "8.1.0"},
    "timer_floor_ns": 37,
    "load": 0.1,
}
SHARED: dict[str, Any] = {
    "quick": False,
    "placement": "shared",
    "environment": ENVIRONMENT,
    "load_after": 0.2,
    "servers": {"redis": {"version": "7.0.15", "settings": {"save": "", "appendonly": "no"}}},
}


def case(workload: str, loop: str, seconds: float, operations: int, **extra: Any) -> dict[str, Any]:
    """One pytest-benchmark case, as far as the tables read it."""
    info = {"workload": workload, "loop": loop, "operations": operations, **extra}
    return {"extra_info": info, "stats": {"median": seconds}, "processes": [seconds, seconds * 1.25]}


def bench_results() -> dict[str, Any]:
    """A run with a figure or two in every table."""
    latency = {"cycle": {"p95": 1_000.0}, "call": {"p95": 400.0}}
    return {
        "schema": max(publication("bench").schemas),
        "scale": {"churn_keys": FULL.churn_keys, "churn_operations": FULL.churn_operations},
        **SHARED,
        "cases": [
            case("memory.get", "asyncio", 0.002, 10_000),
            case("redis.get", "asyncio", 0.02, 1_000),
            case("redis.get", "uvloop", 0.01, 1_000),
            case("manager.memory.validate", "asyncio", 0.003, 10_000, beside_ns=200.0),
            case("grid.artifact-key", "asyncio", 0.001, 10_000),
            case("memory.cycle.5", "asyncio", 0.005, 10_000, latency_ns=latency),
            case("memory.set-10kb", "asyncio", 0.003, 10_000),
        ],
        "peers": {
            "memory": {
                "ours": {"versions": {}, "workloads": {"memory.get": [[200.0], [210.0], [190.0]]}},
                "0.2": {"versions": {}, "workloads": {"memory.get": [[600.0], [630.0], [610.0]]}, "error": "no Redis"},
            }
        },
        "churn": {
            store: [{"after_load_kib": 1_024, "peak_kib": 2_048, "longest_stall_ms": 40.0, "most_stale_per_live": 1.5}]
            for store in ("memory", "dict")
        },
        "sessions": {
            "memory": {"sessions": 1_000, "bytes_per_session": 514.06, "id_bytes": 109},
            "redis": {"sessions": 20, "bytes_per_session": 328.0, "version": "7.0.15"},
            "redis, many users": {"sessions": 20, "users": 20, "bytes_per_session": 1_348.0, "version": "6.2.1"},
        },
        "footprint": [{"items": 1_000, "bytes_per_item": 345.4, "payload_bytes": 214}],
    }


def entry(workload: str, side: str, ns: float | None) -> dict[str, Any]:
    """What one side did; None of a time is a failure."""
    found = {"workload": workload, "loop": "uvloop", "side": side, "versions": {}}
    return found | ({"processes": [[ns]]} if ns else {"processes": [], "error": "MaxConnectionsError: Too many"})


def compare_results() -> dict[str, Any]:
    """Two libraries, of which one fails with 500 callers."""
    names = ("redis.get", "redis.get.5", "redis.get.50", "redis.get.500")
    ours = [entry(name, OURS, ns) for name, ns in zip(names, (20_000, 5_000, 2_500, 2_500), strict=True)]
    theirs = [entry(name, "redis-py", ns) for name, ns in zip(names, (40_000, 40_000, 40_000, None), strict=True)]
    return {"schema": 1, "contests": [*ours, *theirs], **SHARED}


def latency_results() -> dict[str, Any]:
    """One workload, every mode."""
    process = {mode: {name: 10.0 ** (place + 3) for place, name in enumerate(QUANTILES)} for mode in (*MODES, "floor")}
    run = {"workload": "redis.get.50", "loop": "uvloop", "processes": [process | {"capacity": 100_000.0}]}
    return {"schema": 1, "runs": [run], **SHARED}


def options(folder: Path, pages: Path | None = None) -> list[str]:
    """Of the program: results of that folder, and its own pages and README or those of another folder."""
    at = pages or folder
    pages_of = {"performance": "performance.md", "capacity": "capacity.md", "readme": "README.md"}
    given = {"--results": folder} | {f"--{option}": at / name for option, name in pages_of.items()}
    return [text for name, path in given.items() for text in (name, str(path))]


def report_on(folder: Path, *arguments: str) -> int:
    """The exit code of the program, on that folder with results, a page of performance and a README."""
    return report.main([*arguments, *options(folder)])


class Opener:
    """Opens one given store, whatever is asked for."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def open(self, layer: Layer, kind: Kind) -> AbstractAsyncContextManager[Any]:
        return nullcontext(self._store)


def figures_of(duel: Duel, url: str) -> None:
    """Run two blocks of requests to a library that is installed here, in a process of its own; it must have figures."""
    here, scale = {duel.library.requirements: sys.executable}, replace(QUICK, least_blocks=2, most_blocks=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(COUNTS, duel.store, 4)
        (found,) = web.play([duel], here, {"redis": url}, scale, "free")
    assert "error" not in found, found["error"]
    assert [len(found[name][0]) for name in ("ns", "p99")] == [2, 2]
