"""The calls at scale beside the least Python that could do them: which goals are in reach of a faster program.

The least (see ``adapters.least_sessions``) plays in the same rounds as this version and 0.2. If it does not reach a
goal, a program in Python that keeps the whole promise does not either.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks.bench.goals import GOALS, Measured, Results, Speed
from benchmarks.pages.markdown import Table
from benchmarks.pages.units import NOTHING, times

CALLS = ("validate", "update", "allocate", "info")
REACH = {"ok": "in reach", "short": "out of reach", "inconclusive": "inconclusive"}
CAPTION = (
    "How much of a call is this version's to save. *The least* has the same data in objects with slots in one dict, "
    "looks at a session once, reads the same clocks, and copies metadata by orjson. It checks nothing, keeps "
    "deadlines to the second, removes nothing that expired, and knows no threads and no other ids. Its blocks took "
    "turns with those of this version and of 0.2, on 100,000 sessions, each of another user, in random order. *Time "
    "beside the least* is this version's. *Out of reach*: the least is itself slower than needed, with its whole "
    "interval."
)
HEADER = (
    *("Call", "Needed beside 0.2", "Measured", "The least beside 0.2", "Interval", ""),
    *("Time beside the least", "Interval", "Ours", "The least"),
)


@dataclass(frozen=True, slots=True)
class Floor:
    """A goal beside 0.2, the same of the least, and this version beside the least."""

    call: str
    goal: Speed
    least: Speed
    beside: Speed

    @property
    def compared(self) -> tuple[Speed, ...]:
        """What must take turns."""
        return self.least, self.beside

    def row(self, results: Results) -> tuple[str, ...] | None:
        """The cells; None if the least was not measured."""
        measured, ours, least = (each.measure(results) for each in (self.beside, self.goal, self.least))
        if measured is None:
            return None
        reach = NOTHING
        if least is not None:
            reach = "quick" if results["quick"] else REACH[self.least.mark(least)]
        return (
            self.call,
            f"{self.goal.needed:g}x",
            times(ours.ratio if ours else None),
            times(least.ratio if least else None),
            _between(least),
            reach,
            times(measured.ratio),
            _between(measured),
            measured.ours,
            measured.theirs,
        )


def _between(measured: Measured | None) -> str:
    if measured is None or measured.interval is None:
        return NOTHING
    return " - ".join(map(times, measured.interval))


def _floors() -> list[Floor]:
    goals = {goal.workload: goal for goal in GOALS if isinstance(goal, Speed) and goal.side == "0.2"}
    found = []
    for call in CALLS:
        goal = goals[f"manager.memory.{call}-of-100k"]
        found.append(Floor(call, goal, replace(goal, of="least"), replace(goal, side="least", at_most=True)))
    return found


FLOORS = _floors()


def floors(results: Results) -> list[Table]:
    """The table, if the run has the least."""
    rows = [row for row in (floor.row(results) for floor in FLOORS) if row is not None]
    return [Table("Beside the least that could do it", CAPTION, HEADER, rows)] if rows else []
