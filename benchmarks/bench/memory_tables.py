"""The tables of memory: bytes per session and per item."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.bench import published
from benchmarks.bench.goals import Results
from benchmarks.pages.markdown import Table
from benchmarks.pages.units import NOTHING


def sessions(results: Results) -> list[Table]:
    """Bytes per stored session, where they were measured."""
    rows = [_session_row(name, figure) for name, figure in results.get("sessions", {}).items()]
    caption = (
        "A session with the quick start's user, role, department and permissions, and its place in the index of its "
        "user: sessions of one user share that, so they weigh less each. On memory it is what Python allocated "
        "(tracemalloc), caches of fixed size included; on the server its MEMORY USAGE with the default settings, which "
        "does not count the slots in the server's tables of keys and deadlines: by its used_memory those are some 100 "
        "bytes more."
    )
    header = ("Store", "Sessions", "Bytes per session", "Of them the id")
    return [Table("Memory per session", caption, header, rows)] if rows else []


def _session_row(name: str, figure: Mapping[str, Any]) -> tuple[str, ...]:
    store = f"Redis {figure['version']}" if name.startswith("redis") else "Memory"
    count = f"{figure['sessions']:,}"
    whose = f"{count} of one user" if figure.get("users", 1) == 1 else f"{count}, each of another user"
    own_id = f"{figure['id_bytes']:.0f} B" if "id_bytes" in figure else NOTHING
    return store, whose, f"{figure['bytes_per_session']:.0f} B", own_id


def footprint(results: Results) -> Table:
    """Bytes per item over item count."""
    rows = [
        (
            f"{run['items']:,}",
            f"{run['bytes_per_item']:.0f} B",
            f"{run['bytes_per_item'] - run['payload_bytes']:.0f} B",
            f"{run['items'] * run['bytes_per_item'] / 2**20:,.1f} MiB",
        )
        for run in results["footprint"]
    ]
    caption = (
        "Memory provider, keys of 16 and values of 100 characters, all different, a fresh process per row. Bytes as "
        "Python allocated them (tracemalloc); *the store's own* is without the key and value objects. Steps come from "
        f"the dict, which grows by doubling. Published: {published.FOOTPRINT.text}."
    )
    return Table("Memory per item", caption, ("Items", "Bytes per item", "The store's own", "In total"), rows)
