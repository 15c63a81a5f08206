"""The processes of one launch, a side each, and the blocks that they run in turns."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.measure.placement import Placement
from benchmarks.measure.processes import SECONDS, command_of, environment_without_ours, must_be_this_python
from benchmarks.measure.scale import Scale
from benchmarks.measure.told import SideFailed, Told
from benchmarks.workloads.registry import WORKLOADS

QUICK, MORE = 0.25, 5  # of the time of the slowest: who takes less runs so many blocks more in a round

Member = tuple[Any, str]  # a side and a workload
Blocks = dict[Member, list[float]]


@dataclass(frozen=True, slots=True)
class Player:
    """What the process of a side is, and what it is told first; see ``driven``."""

    library: str
    loop: str
    urls: Mapping[str, str]
    placement: Placement
    python: str | None = None


class Launch:
    """Processes that are running; a side that fails is left out from then on, with its error in ``errors``."""

    def __init__(self, workers: Mapping[Any, Told]) -> None:
        self._workers = workers
        self.versions: dict[Any, dict[str, str]] = {}
        self.errors: dict[Any, SideFailed] = {}
        for side in workers:
            if (reply := self._reply(side)) is not None:
                must_be_this_python(reply["python"])
                self.versions[side] = reply["versions"]

    def in_turns(self, members: Sequence[Member], scale: Scale, launch: int = 0) -> Blocks:
        """Blocks of all of these, one of each in a round, every other round backwards.

        The first one is if the number of the launch is even: of what takes seconds, a launch may have one round only.
        Then a block of a quick side sees another second of the machine than that of a slow one, which sees many. So the
        quick sides run some more in that round, in turns, and the figure of a side is the median of its blocks.
        """
        blocks: Blocks = {member: [] for member in members}
        self._open(members)
        shuffled = any(WORKLOADS[name].shuffled for _, name in members)
        least, seconds = 1 if shuffled else scale.least_blocks, scale.seconds * len(members)
        rounds, start = 0, time.monotonic()
        while rounds < least or (rounds < scale.most_blocks and time.monotonic() - start < seconds):
            order = members if (rounds + launch) % 2 else members[::-1]
            times = self._blocks(order)
            if shuffled and times:
                slowest = max(found[0] for found in times.values())
                quick = [member for member in order if member in times and times[member][0] < QUICK * slowest]
                for _ in range(MORE):
                    for member, more in self._blocks(quick).items():
                        times[member] += more
            for member, found in times.items():
                blocks[member].append(statistics.median(found))
            rounds += 1
        for side in {side for side, _ in members}:
            self._ask(side, "close")
        return {member: found for member, found in blocks.items() if member[0] not in self.errors}

    def _blocks(self, members: Sequence[Member]) -> Blocks:
        """A block of each, one after another; of those that have not failed."""
        replies = {(side, name): self._ask(side, "block", name) for side, name in members}
        return {member: [reply["ns"]] for member, reply in replies.items() if reply is not None}

    def _open(self, members: Sequence[Member]) -> None:
        sides = dict.fromkeys(side for side, _ in members)
        for side in sides:
            self._workers[side].give(SECONDS)
            self._tell(side, "open", [name for member, name in members if member == side])
        for side in sides:
            self._reply(side)

    def _ask(self, side: Any, *words: object) -> dict[str, Any] | None:
        self._tell(side, *words)
        return self._reply(side)

    def _tell(self, side: Any, *words: object) -> None:
        if side not in self.errors:
            self._workers[side].tell(json.dumps(words))

    def _reply(self, side: Any) -> dict[str, Any] | None:
        if side in self.errors:
            return None
        try:
            return self._workers[side].reply()
        except SideFailed as error:
            self.errors[side] = error
            return None


@contextmanager
def launched(players: Mapping[Any, Player]) -> Iterator[Launch]:
    """A process for each side, until the end of the block."""
    with ExitStack() as stack:
        workers: dict[Any, Told] = {}
        for number, (side, player) in enumerate(players.items()):
            question = asdict(player) | {"prefix": f"side{number}"}  # as long as that of others
            command = command_of("benchmarks.bench.driven", python=question.pop("python"))
            workers[side] = Told(command, environment_without_ours(), SECONDS)
            stack.callback(workers[side].close)
            workers[side].tell(json.dumps(question))
        yield Launch(workers)
