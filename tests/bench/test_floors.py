"""The table of the least that could do a call: what it says of a goal, and when it is there at all."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.bench.floors import FLOORS, floors
from benchmarks.bench.peers import MATCHES
from benchmarks.bench.tables import text
from tests.bench.samples import bench_results

TITLE = "Beside the least that could do it"


def results_of(least: list[float], quick: bool = False) -> dict[str, Any]:
    """Validation takes 0.2 45 microseconds and this version one and a half; the least took so long in each launch."""
    times = {"ours": [1_500.0] * len(least), "0.2": [45_000.0] * len(least), "least": least}
    name = "manager.memory.validate-of-100k"
    sides = {side: {"versions": {}, "workloads": {name: [[ns] for ns in taken]}} for side, taken in times.items()}
    return bench_results() | {"peers": {"memory at scale": sides}, "quick": quick}


@pytest.mark.parametrize(
    ("least", "beside_old", "between", "mark"),
    [
        ([900.0, 900.0], "50.0x", "50.0x - 50.0x", "in reach"),
        ([1_250.0, 1_250.0], "36.0x", "36.0x - 36.0x", "out of reach"),
        ([900.0, 1_250.0, 1_250.0], "36.0x", "36.0x - 50.0x", "inconclusive"),
    ],
)
def test_a_goal_that_the_least_misses_is_out_of_reach(
    least: list[float], beside_old: str, between: str, mark: str
) -> None:
    """At least 45 times 0.2 is needed; this version has 30 whatever the least does."""
    (table,) = floors(results_of(least))
    (row,) = table.rows
    assert row[:6] == ("validate", "45x", "30.0x", beside_old, between, mark)
    assert row[8:] == ("1.5 µs", "900 ns" if mark == "in reach" else "1.25 µs")


def test_the_time_beside_the_least_is_of_this_version() -> None:
    """Over 1 is more."""
    (table,) = floors(results_of([1_000.0, 1_000.0]))
    assert table.rows[0][6:8] == ("1.50x", "1.50x - 1.50x")
    assert len(table.rows[0]) == len(table.header)


def test_a_quick_run_and_one_without_0_2_tell_nothing_of_reach() -> None:
    """Of one launch there is no interval, either."""
    (table,) = floors(results_of([1_000.0], quick=True))
    assert table.rows[0][4:8] == ("-", "quick", "1.50x", "-")
    results = results_of([1_000.0])
    del results["peers"]["memory at scale"]["0.2"]
    (table,) = floors(results)
    assert table.rows[0][2:7] == ("-", "-", "-", "-", "1.50x")


def test_results_without_the_least_have_no_table() -> None:
    """Those of before can still be read."""
    assert floors(bench_results()) == []
    assert TITLE not in text(bench_results())
    assert TITLE in text(results_of([1_000.0, 1_000.0]))


def test_the_least_is_played_for_every_row_and_for_no_other() -> None:
    """Together with this version and 0.2: see ``test_peers``."""
    (match,) = [match for match in MATCHES if "least" in match.workloads]
    assert {floor.goal.match for floor in FLOORS} == {match.name}
    assert match.workloads["least"] == [floor.goal.workload for floor in FLOORS]
