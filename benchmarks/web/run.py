"""Letting the libraries whose requests are compared take turns, each in fresh processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.compare.run import short
from benchmarks.measure.placement import Placement, possible
from benchmarks.measure.processes import WorkerFailed, ask, interpreter, turns
from benchmarks.measure.scale import Scale
from benchmarks.program import say
from benchmarks.web.sides import ADDED_COUNT, COUNTS, PAGES, Duel


def play(
    chosen: Sequence[Duel],
    pythons: Mapping[tuple[str, ...], str],
    urls: Mapping[str, str],
    scale: Scale,
    placement: Placement,
) -> list[dict[str, Any]]:
    """Nanoseconds a request and the 99th percentile, of every block of every process; or an error."""
    found: list[dict[str, Any]] = [
        {"side": duel.library.name, "store": duel.store, "page": duel.page, "clients": duel.clients}
        | {"versions": {}, "ns": [], "p99": []}
        for duel in chosen
    ]
    for launch, _, (duel, entry) in turns(scale.launches, list(zip(chosen, found, strict=True))):
        say(f"launch {launch} of {scale.launches}: {duel.page}, {duel.store}, {duel.library.name}")
        if "error" not in entry:
            _launch(duel, entry, pythons, urls, scale, placement)
    return found


def _launch(
    duel: Duel,
    entry: dict[str, Any],
    pythons: Mapping[tuple[str, ...], str],
    urls: Mapping[str, str],
    scale: Scale,
    placement: Placement,
) -> None:
    on_redis = duel.store == "redis"
    try:
        reply = ask(
            "requests",
            interpreter(duel.library.requirements, pythons),
            library=duel.library.function,
            path=f"/{duel.page}",
            clients=duel.clients,
            url=urls["redis"] if on_redis else None,
            loop="asyncio",
            placement=possible(placement) if on_redis else "free",
            count=COUNTS[duel.store],
            least=scale.least_blocks,
            most=scale.most_blocks,
            seconds=scale.seconds,
        )
    except WorkerFailed as error:
        entry["error"] = short(str(error))
        return
    entry["versions"] = reply["versions"]
    for name in ("ns", "p99"):
        entry[name].append(reply["answer"][name])


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
