"""The figures that chuk-sessions 0.2 published, from the section "Performance" of its README.

They were taken on a MacBook Pro M3 Max (16 cores, 128 GB), Python 3.11, local Redis. The benchmark behind them is
understood to have run 1,000 operations on values of 100 bytes, and 5 workers of 100 set + get + delete cycles, with one
cycle counted as one operation.
"""

from __future__ import annotations

from dataclasses import dataclass

MACHINE = "a MacBook Pro M3 Max with Python 3.11"


@dataclass(frozen=True, slots=True)
class Figure:
    """One published line; latency in milliseconds, throughput in operations a second, None where it gives none."""

    latency_ms: float | None = None
    throughput: float | None = None
    text: str = ""


PROVIDERS: dict[str, Figure] = {
    "memory.get": Figure(0.000, 1_818_000),
    "memory.set-new": Figure(0.001, 895_000),
    "memory.delete": Figure(0.000, 1_972_000),
    "redis.get": Figure(0.046, 22_000),
    "redis.set-new": Figure(0.060, 17_000),
    "redis.delete": Figure(0.045, 22_000),
}

# What the manager adds to a provider call.
OVERHEAD: dict[str, Figure] = {
    "allocate": Figure(0.1, text="~0.1 ms"),
    "validate": Figure(0.05, text="~0.05 ms"),
    "update": Figure(text="same as provider"),
}
GRID_PATH = Figure(0.001, text="sub-microsecond")

# The latency is the 95th percentile.
CONCURRENT: dict[str, Figure] = {
    "memory.cycle.5": Figure(0.002, 609_000),
    "redis.cycle.5": Figure(0.328, 16_000),
}

PAYLOADS: dict[str, Figure] = {
    "memory.set-10kb": Figure(0.001),
    "memory.get-10kb": Figure(0.001),
    "redis.set-10kb": Figure(0.09),
    "redis.get-10kb": Figure(0.09),
    "memory.set-json": Figure(text="excellent performance"),
    "memory.get-json": Figure(text="excellent performance"),
    "redis.set-json": Figure(text="excellent performance"),
    "redis.get-json": Figure(text="excellent performance"),
}
FOOTPRINT = Figure(text="linear growth with item count")
