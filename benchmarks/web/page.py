"""The tables of requests, in COMPARE.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.compare.sides import OURS
from benchmarks.measure.timing import typical
from benchmarks.pages.markdown import Table
from benchmarks.pages.units import NOTHING, duration
from benchmarks.web.sides import CLIENTS, LIBRARIES, PAGES

ADDED = (
    "What the middleware of this version adds to a request of one client in memory, beside the same application with "
    "the same data in a plain dict, both taking turns in one process"
)
STORES = {"memory": "in memory", "redis": "on Redis"}


def tables(entries: Sequence[Mapping[str, Any]], added: Mapping[str, Sequence[Sequence[float]]]) -> list[str]:
    """One for each store and number of clients, and what ours adds to a request; none if nothing was measured."""
    found = [
        str(_table(entries, store, clients))
        for store in STORES
        for clients in CLIENTS
        if any((entry["store"], entry["clients"]) == (store, clients) for entry in entries)
    ]
    told = "; ".join(f"{PAGES[page]}: {duration(typical(pairs))}" for page, pairs in added.items())
    return [*found, f"{ADDED}, {told}."] if told else found


def _table(entries: Sequence[Mapping[str, Any]], store: str, clients: int) -> Table:
    found = {
        (entry["side"], entry["page"]): entry
        for entry in entries
        if (entry["store"], entry["clients"]) == (store, clients)
    }
    pages = [page for page in PAGES if any(page == each for _, each in found)]
    rows = [
        (library.name, *[_cell(found.get((library.name, page)), found.get((OURS, page))) for page in pages])
        for library in LIBRARIES
        if any(library.name == side for side, _ in found)
    ]
    return Table(
        f"Requests with sessions {STORES[store]}, {clients} client{'s' * (clients > 1)} at once",
        "Requests a second through an application of a few lines, in process over ASGI; how many times ours that is; "
        "and the time that 99 of 100 do not exceed. The session has a cart of five.",
        ("Library", *[PAGES[page] for page in pages]),
        rows,
    )


def _cell(entry: Mapping[str, Any] | None, ours: Mapping[str, Any] | None) -> str:
    if entry is None:
        return NOTHING
    if "error" in entry:
        return str(entry["error"])[:60]
    beside = ""
    if ours is not None and ours["ns"] and entry["side"] != OURS:
        beside = f" ({typical(ours['ns']) / typical(entry['ns']):.2f}x)"
    return f"{1e9 / typical(entry['ns']):,.0f}/s{beside}, p99 {duration(typical(entry['p99']))}"
