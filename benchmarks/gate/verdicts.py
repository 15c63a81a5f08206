"""What the gate found, as text and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.gate.decision import LIMIT, Verdict, clear_up_to, interval, median_ratio
from benchmarks.gate.gate import Finding, Report
from benchmarks.measure.trees import Trees
from benchmarks.pages.markdown import Table
from benchmarks.pages.units import NOTHING, because, duration
from benchmarks.workloads.registry import WORKLOADS

HEADER = ("Scenario", "One operation", "Base", "Head", "Ratio", "95 % interval", "Launches", "Verdict")


def tables(report: Report, trees: Trees) -> list[Table]:
    """The checks of the machine, then the scenarios."""
    names = f"Base {trees.base_name}, head {trees.head_name}."
    checks = Table(
        "The base against itself",
        f"{names} Whether this machine is calm enough to tell anything.",
        HEADER,
        [row(finding) for finding in report.checks],
    )
    scenarios = Table(
        "The head against the base",
        f"{names} Ratio: the median of all head / base, over 1 is slower; up to {clear_up_to(1 / 4):g} a quarter of "
        f"the launches was enough, up to {clear_up_to(1 / 2):g} half of them, over {LIMIT:g} it was measured again "
        "with twice the launches, and those are shown. The interval is a bootstrap over launches.",
        HEADER,
        [row(finding) for finding in report.scenarios],
    )
    return [checks, scenarios]


def row(finding: Finding) -> tuple[str, ...]:
    """One finding."""
    figures = _figures(finding) if finding.launches else (NOTHING,) * 5
    what = WORKLOADS[finding.scenario].operation
    return finding.scenario, what, *figures, because(finding.verdict, finding.why)


def _figures(finding: Finding) -> tuple[str, ...]:
    base, head = (_time(finding, side) for side in (0, 1))
    low, high = interval(finding.launches)
    ratio, launches = f"{median_ratio(finding.launches):.3f}", str(len(finding.launches))
    return base, head, ratio, f"{low:.3f} to {high:.3f}", launches


def _time(finding: Finding, side: int) -> str:
    times = [pair[side] for launch in finding.launches for pair in launch]
    return duration(statistics.median(times) / WORKLOADS[finding.scenario].operations)


def summary(findings: Sequence[Finding]) -> str:
    """One line: what matters of it all."""
    slower = [finding.scenario for finding in findings if finding.verdict is Verdict.SLOWER]
    unsure = [finding.scenario for finding in findings if finding.verdict is Verdict.INCONCLUSIVE]
    if slower:
        return f"SLOWER: {', '.join(slower)}"
    if unsure:
        return f"WARNING: inconclusive, this machine is too noisy now to tell: {', '.join(unsure)}"
    return "Nothing became slower."
