"""The counts of a run of ``migrate``, for its progress and its report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chuk_sessions.cli.stored import Problem

__all__ = ["MAX_PROBLEMS", "Counts"]

MAX_PROBLEMS = 1000  # kept for the report; all are counted


@dataclass
class Counts:
    """The counts of a run. ``problems`` are keys that were left in place; ``left_behind`` counts all of them."""

    seen: int = 0  # keys
    moved: int = 0
    merged: int = 0  # moved sessions that were merged with a session at the target
    here: int = 0  # sessions already in the layout of this version, where source and target are one database
    other_sandbox: int = 0
    aliases: int = 0  # old ids of renewed sessions that were moved
    ended: int = 0  # sessions deleted or expired before they could be moved
    left_behind: int = 0
    problems: list[Problem] = field(default_factory=list)
    to_move: Counter[str] = field(default_factory=Counter)  # in a dry run: sessions by sandbox

    def summary(self) -> str:
        """See ``Progress``."""
        return f"moved {self.moved}, ended {self.ended}, left in place {self.left_behind}"

    def add_problem(self, problem: Problem) -> None:
        """Count a problem, and keep it if there are not too many."""
        self.left_behind += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)
