"""Two fresh processes, one on each tree, that run blocks of one workload in turns."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.gate.decision import Launch, Pair
from benchmarks.measure.processes import command_of, environment_on
from benchmarks.measure.told import SideFailed, Told

PAIRS = 25
# Of a whole launch, whose blocks are milliseconds: only a worker that hangs needs as long.
LAUNCH_SECONDS = 300.0


class BaseLacks(Exception):
    """The base cannot do this workload, and the head can; the message says what it lacks."""


@dataclass(frozen=True, slots=True)
class Question:
    """What both workers of a launch are told; each side has its own database, so that none sees the other's keys."""

    workload: str
    urls: Mapping[str, Mapping[str, str]]  # by side, then by kind of store
    loop: str = "asyncio"
    placement: str = "free"
    clock: str = "wall"


class Side(Told):
    """One worker; killed if it has not been closed in time."""

    def __init__(
        self, name: str, tree: Path, question: Question, hash_seed: int, seconds: float = LAUNCH_SECONDS
    ) -> None:
        super().__init__(command_of("benchmarks.gate.driven"), environment_on(tree, hash_seed), seconds)
        self.name = name
        self.tree = tree
        self.tell(json.dumps(asdict(question) | {"urls": dict(question.urls.get(name, {}))}))

    def wait_until_ready(self) -> None:
        """SideFailed if it cannot run the workload, or runs it on another package than its tree's."""
        found = self.reply()["ready"]
        if Path(found).resolve() != self.tree.resolve():
            raise SideFailed(f"its tree has no package: it found that of {found}")

    def block(self) -> float:
        """Nanoseconds of one block."""
        self.tell("block")
        ns: float = self.reply()["ns"]
        return ns


def launch(base: Path, head: Path, question: Question, pairs: int = PAIRS) -> Launch:
    """The pairs of one launch: which side goes first alternates, so that a drift of the machine cancels out."""
    seed = random.SystemRandom().randrange(1, 2**32)
    with ExitStack() as stack:
        sides = []
        for name, tree in (("base", base), ("head", head)):
            side = Side(name, tree, question, seed)
            stack.callback(side.close)
            sides.append(side)
        _wait_until_ready(*sides)
        return [_pair(*sides, base_first=number % 2 == 0) for number in range(pairs)]


def _wait_until_ready(base: Side, head: Side) -> None:
    try:
        head.wait_until_ready()
    except SideFailed as error:
        if head.tree == base.tree:  # the base against itself: none of the two is the head
            raise BaseLacks(str(error)) from error
        raise
    try:
        base.wait_until_ready()
    except SideFailed as error:
        raise BaseLacks(str(error)) from error


def _pair(base: Side, head: Side, *, base_first: bool) -> Pair:
    if base_first:
        before = base.block()
        return before, head.block()
    after = head.block()
    return base.block(), after


def launches(
    count: int, base: Path, head: Path, question: Question, pairs: int, say: Callable[[str], None]
) -> list[Launch]:
    """That many launches, one after the other.

    BaseLacks comes from the first or not at all: a base that fails after it could do the workload is SideFailed.
    """
    found: list[Launch] = []
    for number in range(count):
        say(f"{question.workload}, launch {number + 1} of {count}")
        try:
            found.append(launch(base, head, question, pairs))
        except BaseLacks as error:
            if not found:
                raise
            raise SideFailed(f"the base, which could do {question.workload} before: {error}") from error
    return found
