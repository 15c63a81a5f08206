"""The rule of the counts, and what was found as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from benchmarks.pages.markdown import Table
from benchmarks.pages.units import NOTHING, because
from benchmarks.workloads.registry import WORKLOADS

FAIL_OVER = 1.10
NOTE_OVER = 1.02


class Verdict(StrEnum):
    """What is said of a workload."""

    OK = "ok"
    NOTE = "note: more"
    MORE = "MORE"
    NEW = "new"


@dataclass(frozen=True, slots=True)
class Count:
    """Instructions per operation on both trees; None where the base cannot do it, and then ``why``."""

    workload: str
    base: float | None
    head: float
    why: str = ""

    @property
    def ratio(self) -> float | None:
        """Head over base."""
        return None if self.base is None else self.head / self.base

    @property
    def verdict(self) -> Verdict:
        """Over 10 % more fails, over 2 % is noted."""
        ratio = self.ratio
        if ratio is None:
            return Verdict.NEW
        return Verdict.MORE if ratio > FAIL_OVER else Verdict.NOTE if ratio > NOTE_OVER else Verdict.OK


def exit_code(counts: Sequence[Count]) -> int:
    """1 if anything needs over 10 % more instructions."""
    return int(any(count.verdict is Verdict.MORE for count in counts))


def table(counts: Sequence[Count], base: str, head: str) -> Table:
    """All counts."""
    caption = (
        f"Base {base}, head {head}. Instructions of one operation by callgrind: the last run of a program, without "
        "its start and its warm-up, PYTHONHASHSEED=0, garbage collector off. "
        f"Over {FAIL_OVER - 1:+.0%} fails, over {NOTE_OVER - 1:+.0%} is noted."
    )
    header = ("Workload", "One operation", "Base", "Head", "Change", "Verdict")
    return Table("Instructions per operation", caption, header, [_row(count) for count in counts])


def _row(count: Count) -> tuple[str, ...]:
    base = NOTHING if count.base is None else f"{count.base:,.0f}"
    change = NOTHING if count.ratio is None else f"{count.ratio - 1:+.1%}"
    operation, verdict = WORKLOADS[count.workload].operation, because(count.verdict, count.why)
    return count.workload, operation, base, f"{count.head:,.0f}", change, verdict
