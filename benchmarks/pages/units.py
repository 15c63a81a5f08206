"""Figures, and what they are of, as text."""

from __future__ import annotations

from benchmarks.workloads.case import KINDS, Workload

NOTHING = "-"


def time(ns: float | None) -> str:
    """A time, or the sign for none."""
    return NOTHING if ns is None else duration(ns)


def duration(ns: float) -> str:
    """A time in the unit that suits it."""
    if ns < 1_000:
        return f"{ns:.0f} ns"
    if ns < 1_000_000:
        return f"{ns / 1_000:.3g} µs" if ns < 100_000 else f"{ns / 1_000:.0f} µs"
    return f"{ns / 1_000_000:.3g} ms"


def rate(per_second: float | None) -> str:
    """Thousands of operations a second, as the published tables have it."""
    if per_second is None:
        return NOTHING
    thousands = per_second / 1_000
    return f"{thousands:,.0f}k/s" if thousands >= 10 else f"{thousands:.1f}k/s"


def times(ratio: float | None) -> str:
    """A ratio; over 1 is better than published."""
    if ratio is None:
        return NOTHING
    return f"{ratio:,.0f}x" if ratio >= 100 else f"{ratio:.1f}x" if ratio >= 10 else f"{ratio:.2f}x"


def store(workload: Workload, loop: str) -> str:
    """The kind of store and, where it matters, of loop."""
    return KINDS[workload.kind] + ("" if workload.in_memory else f", {loop}")


def callers(count: int) -> str:
    """So many concurrent ones."""
    return f"{count} caller{'s' * (count > 1)}"


def because(verdict: str, why: str) -> str:
    """A verdict, with the reason if there is one."""
    return f"{verdict}: {why[:80]}" if why else verdict
