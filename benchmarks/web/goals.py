"""The speed to reach for requests: needed beside measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.bench.goals import Goal, Measured
from benchmarks.compare.sides import OURS
from benchmarks.gate.decision import Launch, interval, median_ratio
from benchmarks.measure.timing import typical
from benchmarks.pages.markdown import Table
from benchmarks.pages.units import NOTHING, duration, times
from benchmarks.web.sides import OURS_IN_DJANGO, OURS_IN_FLASK, PAGES

Entry = Mapping[str, Any]

CAPTION = (
    "Requests of one client on Redis: how many times as many as with the other library. Blocks of both took turns; a "
    "ratio is the median of all pairs of blocks, and *interval* is where it lies in 95 of 100 draws of launches. A row "
    "is *short* only if all of the interval is; otherwise the machine was too noisy: *inconclusive*."
)
HEADER = ("Page", "Beside", "Needed", "Measured", "Interval", "", "Ours", "Theirs")


@dataclass(frozen=True, slots=True)
class Faster(Goal):
    """At least so many times the requests of a library, on one page."""

    ours: str = OURS
    page: str = "read"

    def measure(self, results: Mapping[str, Any]) -> Measured | None:
        found = {
            entry["side"]: entry
            for entry in results.get("web", ())
            if (entry["store"], entry["page"], entry["clients"]) == ("redis", self.page, 1) and "error" not in entry
        }
        ours, theirs = found.get(self.ours), found.get(self.peer)
        if ours is None or theirs is None:
            return None
        launches = pairs(ours, theirs)
        between = interval(launches) if len(launches) > 1 else None
        times_of_both = duration(typical(ours["ns"])), duration(typical(theirs["ns"]))
        return Measured(median_ratio(launches), *times_of_both, interval=between)


def pairs(first: Entry, second: Entry) -> list[Launch]:
    """Nanoseconds of a request of each, by launch and round."""
    return [list(zip(*blocks, strict=False)) for blocks in zip(first["ns"], second["ns"], strict=False)]


def _goals() -> list[Faster]:
    beside = {
        "starsessions": (OURS, 1.5, 1.5),
        "Flask-Session": (OURS_IN_FLASK, 1.0, 1.2),
        **{f"Django's cached sessions, {mode}": (ours, 1.0, 1.2) for mode, ours in OURS_IN_DJANGO.items()},
    }
    return [
        Faster(PAGES[page], peer, needed, ours=ours, page=page)
        for peer, (ours, *both) in beside.items()
        for page, needed in zip(("read", "change"), both, strict=True)
    ]


GOALS = _goals()


def speed(results: Mapping[str, Any]) -> list[Table]:
    """The table, if requests were measured.

    It is not made of results without ``web_turns``: those are from before blocks took turns.
    """
    if "web_turns" not in results:
        return []
    measured = [(goal, found) for goal in GOALS if (found := goal.measure(results)) is not None]
    rows = [_row(goal, found, results["quick"]) for goal, found in measured]
    return [Table("Speed to reach, requests", CAPTION, HEADER, rows)] if rows else []


def _row(goal: Faster, found: Measured, quick: bool) -> tuple[str, ...]:
    between = NOTHING if found.interval is None else " - ".join(map(times, found.interval))
    mark = "quick" if quick else goal.mark(found)
    return (
        goal.work,
        goal.peer,
        f"at least {goal.needed:g}x",
        times(found.ratio),
        between,
        mark,
        found.ours,
        found.theirs,
    )
