"""Measures the scenarios of the gate on two trees and says what it found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from benchmarks.gate.decision import Launch, Verdict, check_calm, decide, is_clear, is_clearly_calm
from benchmarks.gate.pairs import PAIRS, BaseLacks, Question, launches
from benchmarks.gate.scenarios import Family
from benchmarks.measure.placement import possible
from benchmarks.measure.servers import Running, running
from benchmarks.measure.told import SideFailed
from benchmarks.measure.trees import Trees

Say = Callable[[str], None]
Enough = Callable[[Sequence[Launch], float], bool]  # whether these launches, that share of all, are
SIDES = ("base", "head")  # in this order they have the databases 0 and 1
FEWEST = 3  # launches that are looked at


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of a scenario; the launches are those of the last measurement."""

    scenario: str
    verdict: Verdict
    launches: Sequence[Launch] = ()
    why: str = ""


@dataclass(slots=True)
class Report:
    """All of a run: the checks of the base against itself, then the scenarios."""

    checks: list[Finding] = field(default_factory=list)
    scenarios: list[Finding] = field(default_factory=list)


class Measure(Protocol):
    """Makes launches of two trees; ``pairs.launches`` does, and tests have their own."""

    def __call__(
        self, count: int, base: Path, head: Path, question: Question, pairs: int, say: Say, /
    ) -> list[Launch]: ...


@dataclass(frozen=True, slots=True)
class Gate:
    """How a run measures: a share of the launches (1 is what the limits were made for), pairs, and on what."""

    trees: Trees
    say: Say
    urls: Mapping[str, Mapping[str, str]]
    share: float = 1.0
    pairs: int = PAIRS
    measure: Measure = launches

    def run(self, families: Sequence[Family]) -> Report:
        """Every family: first whether the machine is calm enough, then its scenarios."""
        report = Report()
        for family in families:
            check = self._check(family)
            report.checks.append(check)
            for scenario in family.scenarios:
                report.scenarios.append(self._scenario(family, scenario, check))
        return report

    def _check(self, family: Family) -> Finding:
        """The base against itself, on the first scenario that it can do."""
        why = ""
        base, calm = self.trees.base, family.calm
        for scenario in family.scenarios:
            try:
                first = self._first(family, scenario, base, lambda some, share: is_clearly_calm(some, share, calm))
            except BaseLacks as error:
                why = str(error)
                continue
            verdict = check_calm(first, None, calm)
            if verdict is not Verdict.AGAIN:
                return Finding(scenario, verdict, first)
            second = self._again(family, scenario, base)
            return Finding(scenario, check_calm(first, second, calm), second)
        return Finding(family.scenarios[0], Verdict.NEW, why=why)

    def _scenario(self, family: Family, scenario: str, check: Finding) -> Finding:
        if check.verdict is Verdict.INCONCLUSIVE:
            return Finding(scenario, Verdict.INCONCLUSIVE, why="the base differs from itself: the machine is too noisy")
        head = self.trees.head
        try:
            first = self._first(family, scenario, head, is_clear)
        except BaseLacks as error:
            return Finding(scenario, Verdict.NEW, why=str(error))
        verdict = decide(first)
        if verdict is not Verdict.AGAIN:
            return Finding(scenario, verdict, first)
        second = self._again(family, scenario, head)
        return Finding(scenario, decide(first, second), second)

    def _first(self, family: Family, scenario: str, head: Path, are_enough: Enough) -> list[Launch]:
        """Launches until they are enough, or all of a measurement. BaseLacks comes from the first of them only."""
        every = launches_of(family, self.share)
        found: list[Launch] = []
        for count in looks(every):
            part = f"{len(found)} of {every} left it open: " if found else ""
            try:
                found += self._measure(family, scenario, count - len(found), head, part)
            except BaseLacks as error:
                if not found:
                    raise
                raise SideFailed(f"the base, which could do {scenario} before: {error}") from error
            if are_enough(found, count / every):
                break
        return found

    def _again(self, family: Family, scenario: str, head: Path) -> list[Launch]:
        return self._measure(family, scenario, 2 * launches_of(family, self.share), head, "again: ")

    def _measure(self, family: Family, scenario: str, count: int, head: Path, part: str = "") -> list[Launch]:
        against = "base against itself: " if head == self.trees.base else ""
        question = question_of(family, scenario, self.urls)
        pairs = max(1, round(self.pairs * family.pairs))
        return self.measure(count, self.trees.base, head, question, pairs, lambda text: self.say(against + part + text))


def looks(launches: int) -> list[int]:
    """After how many of so many launches the median is looked at: a quarter, half, and all of them.

    A quarter is at least FEWEST, unless that were more than half, as the median of one or two is not of much worth.
    """
    half = (launches + 1) // 2
    return sorted({max((launches + 3) // 4, min(FEWEST, half)), half, launches})


def launches_of(family: Family, share: float) -> int:
    """That share of its launches, but at least one."""
    return max(1, round(family.launches * share))


def question_of(family: Family, scenario: str, urls: Mapping[str, Mapping[str, str]]) -> Question:
    """What the workers are told of a scenario."""
    given = urls if family.needs_server else {}
    return Question(scenario, given, placement=possible(family.placement), clock=family.clock)


def servers_for(families: Sequence[Family]) -> AbstractContextManager[Running]:
    """A server of our own, if one is needed."""
    return running(possible("shared"), ["redis"] if any(family.needs_server for family in families) else [])


def urls_by_side(servers: Running) -> dict[str, dict[str, str]]:
    """A database of that server for each side."""
    return {
        side: {kind: server.url_for(db=number) for kind, server in servers.servers.items()}
        for number, side in enumerate(SIDES)
    }


def as_json(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """For results that can be read again: the pairs are nanoseconds of a block, base and head."""
    return [
        {
            "scenario": finding.scenario,
            "verdict": finding.verdict.value,
            "why": finding.why,
            "launches": [[[base, head] for base, head in launch] for launch in finding.launches],
        }
        for finding in findings
    ]
