"""The published tables, one test per table: see ``published.py`` for their figures."""

from __future__ import annotations

import pytest

from benchmarks.bench.conftest import Measure, cases
from benchmarks.bench.tables import PAYLOADS
from benchmarks.measure.timing import stopwatch


@pytest.mark.benchmark(group="providers", timer=stopwatch)
@cases(
    *[f"{kind}.{call}" for kind in ("memory", "redis") for call in ("get", "set-new", "set-over", "delete")],
    "redis-aof.set-new",
    "redis-aof.set-over",
)
def test_providers(measure: Measure, name: str, loop: str) -> None:
    """GET, SET and DELETE of 100 bytes, 1,000 keys, one caller."""
    measure(name, loop)


@pytest.mark.benchmark(group="manager", timer=stopwatch)
@cases(
    *[f"manager.{kind}.{call}" for kind in ("memory", "redis") for call in ("allocate", "validate", "update", "info")],
    "grid.artifact-key",
)
def test_manager(measure: Measure, name: str, loop: str) -> None:
    """The calls of a session manager, one caller."""
    measure(name, loop)


@pytest.mark.benchmark(group="concurrent", timer=stopwatch)
@cases("memory.cycle.5", "redis.cycle.5", "redis.get.5", "redis.get.50", "redis.get.500")
def test_concurrent(measure: Measure, name: str, loop: str) -> None:
    """Five workers, and more."""
    measure(name, loop)


@pytest.mark.benchmark(group="payloads", timer=stopwatch)
@cases(*[name for name in PAYLOADS if not name.endswith((".get", ".set-over"))])
def test_payloads(measure: Measure, name: str, loop: str) -> None:
    """Large values and objects."""
    measure(name, loop)
