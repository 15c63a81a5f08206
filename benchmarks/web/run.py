"""Letting the libraries whose requests are compared take turns, block by block, each in fresh processes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks.compare.run import short
from benchmarks.measure.placement import Placement, possible
from benchmarks.measure.processes import (
    SECONDS,
    WorkerFailed,
    ask,
    command_of,
    environment_without_ours,
    interpreter,
    must_be_this_python,
)
from benchmarks.measure.scale import Scale
from benchmarks.measure.told import SideFailed, Told
from benchmarks.program import say
from benchmarks.web.sides import ADDED_COUNT, COUNTS, PAGES, Duel

Entry = dict[str, Any]


def play(
    chosen: Sequence[Duel],
    pythons: Mapping[tuple[str, ...], str],
    urls: Mapping[str, str],
    scale: Scale,
    placement: Placement,
) -> list[Entry]:
    """Nanoseconds a request and the 99th percentile, of every block of every process; or an error.

    The blocks of those that are compared took turns: the first block of a process and the first blocks of the others
    in that launch are of one round, and so on.
    """
    found: list[Entry] = [
        {"side": duel.library.name, "store": duel.store, "page": duel.page, "clients": duel.clients}
        | {"versions": {}, "ns": [], "p99": []}
        for duel in chosen
    ]
    for launch in range(1, scale.launches + 1):
        for members in _compared(chosen, found):
            duel = members[0][0]
            say(f"launch {launch} of {scale.launches}: {duel.page}, {duel.store}, {duel.library.name} and others")
            _launch(members, launch, pythons, urls, scale, placement)
    return found


def _compared(chosen: Sequence[Duel], found: Sequence[Entry]) -> Iterator[list[tuple[Duel, Entry]]]:
    """Those that are compared with one another and have not failed."""
    groups: dict[tuple[object, ...], list[tuple[Duel, Entry]]] = {}
    for duel, entry in zip(chosen, found, strict=True):
        if "error" not in entry:
            groups.setdefault((duel.library.beside, duel.store, duel.page, duel.clients), []).append((duel, entry))
    yield from groups.values()


def _launch(
    members: Sequence[tuple[Duel, Entry]],
    launch: int,
    pythons: Mapping[tuple[str, ...], str],
    urls: Mapping[str, str],
    scale: Scale,
    placement: Placement,
) -> None:
    """One process of each, until they have run as many blocks as the scale says. Every other round goes backwards."""
    with ExitStack() as stack:
        sides = []
        for duel, entry in members:
            side = _Side(duel, entry, pythons, urls, placement)
            stack.callback(side.close)
            sides.append(side)
        for side in sides:
            side.wait_until_ready()
        rounds, end = 0, time.monotonic() + scale.seconds * len(sides)
        while rounds < scale.least_blocks or (rounds < scale.most_blocks and time.monotonic() < end):
            for side in sides if (rounds + launch) % 2 else reversed(sides):
                side.block()
            rounds += 1


class _Side:
    """The process of one library in one launch. If it fails, its entry has the error, and it does nothing any more."""

    def __init__(
        self,
        duel: Duel,
        entry: Entry,
        pythons: Mapping[tuple[str, ...], str],
        urls: Mapping[str, str],
        placement: Placement,
    ) -> None:
        self._entry = entry
        self._worker: Told | None = None
        on_redis = duel.store == "redis"
        question = {
            "library": duel.library.function,
            "path": f"/{duel.page}",
            "clients": duel.clients,
            "count": COUNTS[duel.store],
            "url": urls["redis"] if on_redis else None,
            "loop": "asyncio",
            "placement": possible(placement) if on_redis else "free",
        }
        try:
            command = command_of("benchmarks.web.driven", python=interpreter(duel.library.requirements, pythons))
        except WorkerFailed as error:
            self._fail(error)
            return
        self._worker = Told(command, environment_without_ours(), SECONDS)
        self._worker.tell(json.dumps(question))
        for name in ("ns", "p99"):
            entry[name].append([])

    def close(self) -> None:
        """End the process."""
        if self._worker is not None:
            self._worker.close()

    def wait_until_ready(self) -> None:
        """Note what the process has."""
        if (reply := self._reply()) is not None:
            self._entry["versions"] = reply["versions"]
            try:
                must_be_this_python(reply["python"])
            except WorkerFailed as error:
                self._fail(error)

    def block(self) -> None:
        """Note the figures of a block."""
        if "error" not in self._entry and self._worker is not None:
            self._worker.tell("block")
            for name, figure in (self._reply() or {}).items():
                self._entry[name][-1].append(figure)

    def _reply(self) -> dict[str, Any] | None:
        if self._worker is None:
            return None
        try:
            return self._worker.reply()
        except SideFailed as error:
            self._fail(error)
            return None

    def _fail(self, error: Exception) -> None:
        self._entry["error"] = short(str(error))


def added(scale: Scale) -> dict[str, list[list[float]]]:
    """By page, what our middleware adds to a request: nanoseconds of each pair of blocks of each process."""
    found: dict[str, list[list[float]]] = {page: [] for page in PAGES}
    for launch in range(scale.launches):
        for page in PAGES:
            say(f"launch {launch + 1} of {scale.launches}: what the middleware adds, {page}")
            options = {"least": scale.least_blocks, "most": scale.most_blocks, "seconds": scale.seconds}
            found[page].append(
                ask("added", None, page=page, loop="asyncio", count=ADDED_COUNT, **options)["answer"]["ns"]
            )
    return found
