"""How much is run: all of it for published figures, little of it to see that everything works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes of a run. Blocks are the same at any scale, there are only fewer of them."""

    processes: int  # fresh ones, of the published tables; they scatter more than rounds do
    memory_rounds: int  # blocks per pytest-benchmark case and process
    redis_rounds: int
    latency_runs: int  # runs with a clock around every operation
    launches: int  # fresh processes per side, for every comparison
    slow_launches: int  # the same where one block of chuk-sessions 0.2 takes seconds
    least_blocks: int  # per workload and process
    most_blocks: int
    seconds: float  # per workload and process; begun blocks are finished
    churn_keys: int
    churn_operations: int
    churn_launches: int
    footprint_items: tuple[int, ...]
    footprint_sessions: int


FULL = Scale(
    processes=5,
    memory_rounds=25,
    redis_rounds=10,
    latency_runs=10,
    launches=5,
    slow_launches=3,
    least_blocks=3,
    most_blocks=40,
    seconds=0.7,
    churn_keys=1_000_000,
    churn_operations=10_000_000,
    churn_launches=3,
    footprint_items=(1_000, 10_000, 100_000, 1_000_000),
    footprint_sessions=10_000,
)

QUICK = Scale(
    processes=1,
    memory_rounds=3,
    redis_rounds=2,
    latency_runs=2,
    launches=1,
    slow_launches=1,
    least_blocks=1,
    most_blocks=5,
    seconds=0.03,
    churn_keys=50_000,
    churn_operations=200_000,
    churn_launches=1,
    footprint_items=(1_000, 10_000),
    footprint_sessions=1_000,
)
