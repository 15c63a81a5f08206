"""Two fresh processes, one on each tree, that run blocks of one workload in turns."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.gate.decision import Launch, Pair
from benchmarks.processes import ROOT, environment_without_ours

PAIRS = 25
END_SECONDS = 10.0
# As in benchmarks.processes: the root comes last, so that the tree's package is the one under test.
BOOT = "import sys; sys.path.append(sys.argv[1]); from benchmarks.gate.driven import main; main()"


class SideFailed(Exception):
    """A worker ended; the message holds its last words."""


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


class Side:
    """One worker."""

    def __init__(self, name: str, tree: Path, question: Question, hash_seed: int) -> None:
        self.name = name
        self._tree = tree
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", BOOT, str(ROOT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment_without_ours() | {"PYTHONPATH": str(tree), "PYTHONHASHSEED": str(hash_seed)},
            cwd=ROOT,
        )
        self._tell(json.dumps(asdict(question) | {"urls": dict(question.urls.get(name, {}))}))

    def wait_until_ready(self) -> None:
        """SideFailed if it cannot run the workload, or runs it on another package than its tree's."""
        found = self._reply()["ready"]
        if Path(found).resolve() != self._tree.resolve():
            raise SideFailed(f"its tree has no package: it found that of {found}")

    def block(self) -> float:
        """Nanoseconds of one block."""
        self._tell("block")
        ns: float = self._reply()["ns"]
        return ns

    def close(self) -> None:
        """End it, in order if it can."""
        try:
            self._process.communicate(timeout=END_SECONDS)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self._process.kill()
            self._process.communicate()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended: its reply says why

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            _, complaint = self._process.communicate()
            raise SideFailed((complaint.strip().splitlines() or ["it ended without a word"])[-1])
        reply: dict[str, Any] = json.loads(line)
        return reply


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
    head.wait_until_ready()
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
    """That many launches, one after the other."""
    found = []
    for number in range(count):
        say(f"{question.workload}, launch {number + 1} of {count}")
        found.append(launch(base, head, question, pairs))
    return found
