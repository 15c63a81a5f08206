"""A histogram of plain integers, for times that are counted as they pass and read by whoever collects metrics."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

__all__ = ["BOUNDS", "Histogram", "merged"]

# Seconds. A round trip to a server in the same room takes a tenth of a millisecond, a command times out after seconds.
BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Histogram:
    """Counts times by the bound that each is not above; the last count is of the times above all bounds.

    Attributes:
        counts: For each of ``BOUNDS``, how many times are at most that long and longer than the bound before; and one
            more for the rest. Not cumulative.
        sum: All times together, in seconds.
    """

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def __repr__(self) -> str:
        return f"<Histogram of {sum(self.counts)} times, {self.sum:.6f} s>"

    def add(self, seconds: float) -> None:
        """Count one time."""
        place = bisect_left(BOUNDS, seconds)
        self.counts[place] += 1
        self.sum += seconds

    def cumulative(self) -> list[tuple[str, int]]:
        """Return for each bound as text, ``+Inf`` last, how many times are at most that long."""
        total, rows = 0, []
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), list(self.counts), strict=True):
            total += count
            rows.append((bound, total))
        return rows


def merged(several: Iterable[Histogram]) -> Histogram:
    """Return a new histogram of all their times."""
    result = Histogram()
    for each in several:
        result.counts = [mine + theirs for mine, theirs in zip(result.counts, each.counts, strict=True)]
        result.sum += each.sum
    return result
