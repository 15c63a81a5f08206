"""On what a run was made: machine, versions, date and commit, in a few lines of Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def setting(results: Mapping[str, Any], *more: str) -> str:
    """The lines; ``more`` are further ones, for what a reader of these results must know."""
    run = results["environment"]
    machine = run["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in run["versions"].items())
    servers = sorted({f"Redis server: {server['version']}" for server in results.get("servers", {}).values()})
    dirty = ", with uncommitted changes" if run["dirty"] else ""
    quick = ["**A quick run: it shows that everything works; its figures mean little.**"] * bool(results.get("quick"))
    lines = [
        *quick,
        f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}; load {run['load']} before, {results.get('load_after')} after",
        f"Python: {run['python']}",
        f"Versions: {versions}",
        *servers,
        f"Date: {run['date']}; commit {run['commit'][:12]}{dirty}",
        f"Reading the clock twice in a row measures {run['timer_floor_ns']} ns",
        *more,
    ]
    return "\n".join(f"* {line}" for line in lines)
