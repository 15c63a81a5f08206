"""The rule of the gate: from timings to a verdict, without a clock, a process or a file.

A *pair* is the time of one block on the base and of one on the head, taken in turns. A *launch* is the pairs of two
fresh processes: what differs between processes (addresses, hash seeds) scatters more than what differs within one,
so launches are what is counted, and what the bootstrap draws from.

The statistic is the median of all head / base. A limit of 6 % on it, asked twice, lets noise pass and finds 10 %:
see the tests, and ``results/GATE.md`` for the same on a real machine, where all launches were taken. A quarter of a
measurement is looked at first, then half of it: what is far from the limit already needs no more. That can only
acquit, and of a scenario that is 10 % slower a quarter of the launches would have to be wrong by 9 %, half of them by
8 %, where single launches scatter by 1 or 2.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

Pair = tuple[float, float]  # nanoseconds on the base, on the head
Launch = Sequence[Pair]

LIMIT = 1.06
CLEAR = 0.04  # over 1, times the share of the launches that was looked at: 1.01 for a quarter, 1.02 for half of them
RESAMPLES = 1_000
INTERVAL = 0.95


class Verdict(StrEnum):
    """What is said of a scenario."""

    OK = "ok"
    SLOWER = "slower"
    INCONCLUSIVE = "inconclusive"
    NEW = "new"
    AGAIN = "measure again"


@dataclass(frozen=True, slots=True)
class Calm:
    """How near to 1 the base must be to itself, before anything is said of the head."""

    low: float
    high: float


MEMORY_CALM = Calm(0.97, 1.03)
REDIS_CALM = Calm(0.96, 1.04)


def ratios(launches: Iterable[Launch]) -> list[float]:
    """Head over base, of every pair."""
    return [head / base for launch in launches for base, head in launch]


def median_ratio(launches: Sequence[Launch]) -> float:
    """The statistic: over 1 the head is slower."""
    return statistics.median(ratios(launches))


def interval(launches: Sequence[Launch], seed: int = 0) -> tuple[float, float]:
    """Bootstrap interval of the statistic; whole launches are drawn, since pairs within one resemble each other."""
    chooser = random.Random(seed)
    groups = [sorted(ratios([launch])) for launch in launches]  # which are sorted sooner when they are put together
    medians = sorted(
        statistics.median([ratio for group in chooser.choices(groups, k=len(groups)) for ratio in group])
        for _ in range(RESAMPLES)
    )
    outside = (1 - INTERVAL) / 2
    return medians[int(outside * RESAMPLES)], medians[int((1 - outside) * RESAMPLES) - 1]


def clear_up_to(share: float) -> float:
    """The median up to which that share of the launches is enough: fewer of them have to be further from the limit."""
    return 1 + CLEAR * share


def is_clear(some: Sequence[Launch], share: float) -> bool:
    """Whether these launches, that share of all, are enough to say that a scenario is not slower."""
    return median_ratio(some) <= clear_up_to(share)


def is_clearly_calm(some: Sequence[Launch], share: float, calm: Calm) -> bool:
    """Whether these launches, that share of all, are enough to call the machine calm.

    From a quarter of them the base has to be four times as near to itself as from all, from half of them twice.
    """
    return 1 + (calm.low - 1) * share <= median_ratio(some) <= 1 + (calm.high - 1) * share


def decide(first: Sequence[Launch], second: Sequence[Launch] | None = None) -> Verdict:
    """The verdict on a scenario; AGAIN asks for a second measurement, with twice the launches.

    Slower is only what is over the limit twice, and whose interval then leaves 1 out: when even the second one
    scatters so much that no change at all would explain it, the machine was too noisy to tell.
    """
    if median_ratio(first) <= LIMIT:
        return Verdict.OK
    if second is None:
        return Verdict.AGAIN
    if median_ratio(second) <= LIMIT:
        return Verdict.OK
    return Verdict.SLOWER if interval(second)[0] > 1 else Verdict.INCONCLUSIVE


def check_calm(first: Sequence[Launch], second: Sequence[Launch] | None, calm: Calm) -> Verdict:
    """The verdict on the machine, from launches of the base against itself: OK, AGAIN, or INCONCLUSIVE."""
    latest = first if second is None else second
    if calm.low <= median_ratio(latest) <= calm.high:
        return Verdict.OK
    return Verdict.AGAIN if second is None else Verdict.INCONCLUSIVE


def exit_code(verdicts: Iterable[Verdict]) -> int:
    """1 if anything became slower; what is inconclusive or new fails nothing."""
    return int(Verdict.SLOWER in verdicts)
