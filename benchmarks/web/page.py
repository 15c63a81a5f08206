"""The tables of requests, in COMPARE.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.compare.sides import OURS
from benchmarks.gate.decision import Launch, interval, median_ratio
from benchmarks.measure.timing import typical
from benchmarks.pages.markdown import Table
from benchmarks.pages.units import NOTHING, duration
from benchmarks.web.goals import pairs
from benchmarks.web.sides import CLIENTS, LIBRARIES, PAGES

ADDED = (
    "What the middleware of this version adds to a request of one client in memory, beside the same application with "
    "the same data in a plain dict, both taking turns in one process"
)
STORES = {"memory": "in memory", "redis": "on Redis"}


def tables(entries: Sequence[Mapping[str, Any]], added: Mapping[str, Sequence[Sequence[float]]]) -> list[str]:
    """One for each store and number of clients, and what ours adds to a request; none if nothing was measured."""
    found = [
        str(_table(entries, store, clients, ours))
        for ours in dict.fromkeys(library.beside for library in LIBRARIES)
        for store in STORES
        for clients in CLIENTS
        if any(
            (entry["store"], entry["clients"]) == (store, clients) and entry["side"] in _sides(ours)
            for entry in entries
        )
    ]
    told = "; ".join(f"{PAGES[page]}: {duration(typical(pairs))}" for page, pairs in added.items())
    return [*found, f"{ADDED}, {told}."] if told else found


def _sides(ours: str) -> list[str]:
    """The names of our side and of those that are compared with it."""
    return [library.name for library in LIBRARIES if library.beside == ours]


def _table(entries: Sequence[Mapping[str, Any]], store: str, clients: int, ours: str) -> Table:
    found = {
        (entry["side"], entry["page"]): entry
        for entry in entries
        if (entry["store"], entry["clients"]) == (store, clients) and entry["side"] in _sides(ours)
    }
    pages = [page for page in PAGES if any(page == each for _, each in found)]
    rows = [
        (name, *[_cell(found.get((name, page)), found.get((ours, page))) for page in pages])
        for name in _sides(ours)
        if any(name == side for side, _ in found)
    ]
    return Table(
        f"Requests with sessions {STORES[store]}, {clients} client{'s' * (clients > 1)} at once{_where(ours)}",
        f"Requests a second through an application of a few lines, in process{' over ASGI' * (ours == OURS)}; how many "
        "times ours that is, as the median of all pairs of blocks, and where this lies in 95 of 100 draws of launches; "
        "and the time that 99 of 100 do not exceed. The session has a cart of five.",
        ("Library", *[PAGES[page] for page in pages]),
        rows,
    )


def _where(ours: str) -> str:
    """What the title of a table says if the application is not one of Starlette or Litestar."""
    return "" if ours == OURS else f", {ours.removeprefix(OURS).strip()}"


def _cell(entry: Mapping[str, Any] | None, ours: Mapping[str, Any] | None) -> str:
    if entry is None:
        return NOTHING
    if "error" in entry:
        return str(entry["error"])[:60]
    beside = ""
    if ours is not None and ours["ns"] and entry["side"] != ours["side"]:
        beside = f" ({_ratio(pairs(entry, ours))})"
    return f"{1e9 / typical(entry['ns']):,.0f}/s{beside}, p99 {duration(typical(entry['p99']))}"


def _ratio(launches: Sequence[Launch]) -> str:
    """How many times as many requests the first side answers as the second, with the interval."""
    ratio = f"{median_ratio(launches):.2f}x"
    if len(launches) < 2:
        return ratio
    low, high = interval(launches)
    return f"{ratio}, {low:.2f} to {high:.2f}"
