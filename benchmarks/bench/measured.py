"""What the pytest-benchmark cases of a run measured, by workload and loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.bench.goals import Results
from benchmarks.pages.units import NOTHING

LOOPS = ("asyncio", "uvloop")
Case = dict[str, Any]


class Run:
    """The figures of a run, in nanoseconds; None for what was not measured."""

    def __init__(self, results: Results) -> None:
        self._cases: dict[tuple[str, str], Case] = {
            (case["extra_info"]["workload"], case["extra_info"]["loop"]): case for case in results["cases"]
        }

    def __contains__(self, name: str) -> bool:
        return (name, "asyncio") in self._cases

    def ns(self, name: str, loop: str = "asyncio") -> float | None:
        """Of one operation in the median block."""
        return self._of(name, loop, lambda case: case["stats"]["median"] * 1e9 / case["extra_info"]["operations"])

    def latency(self, name: str, loop: str, what: str, rank: str) -> float | None:
        """A quantile of the pass with a clock around every operation."""
        return self._of(name, loop, lambda case: case["extra_info"]["latency_ns"][what][rank])

    def beside(self, name: str, loop: str) -> float | None:
        """Of the provider call that was measured in turns with this manager call."""
        return self._of(name, loop, lambda case: case["extra_info"]["beside_ns"])

    def spread(self, name: str, loop: str = "asyncio") -> str:
        """How far the processes lie apart, as text."""
        medians = self._cases.get((name, loop), {}).get("processes", [])
        return f"{max(medians) / min(medians) - 1:.0%}" if len(medians) > 1 else NOTHING

    def loops(self) -> tuple[str, ...]:
        """Those that this run has."""
        return tuple(loop for loop in LOOPS if any(case_loop == loop for _, case_loop in self._cases))

    def _of(self, name: str, loop: str, figure: Callable[[Case], float]) -> float | None:
        case = self._cases.get((name, loop))
        return None if case is None else figure(case)
