"""The applications of Flask whose requests are compared work, each in a process of its own."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

pytest.importorskip("flask", reason="Flask is not installed")

from benchmarks.web import page
from benchmarks.web.sides import LIBRARIES, OURS_IN_FLASK, duels
from tests.bench.samples import figures_of
from tests.support.servers import Server

IN_FLASK = [library for library in LIBRARIES if library.beside == OURS_IN_FLASK]
RUNS = [duel for duel in duels() if duel.library in IN_FLASK and (duel.page != "read" or duel.store == "redis")]


@pytest.mark.parametrize("duel", RUNS, ids=lambda duel: f"{duel.library.function}-{duel.store}-{duel.page}")
def test_they_keep_their_sessions(duel: Any, redis_server: Server) -> None:
    """It is checked that they were filled."""
    if duel.library.function.startswith("flask_session") and importlib.util.find_spec("flask_session") is None:
        pytest.skip("Flask-Session is installed for the comparison only")
    figures_of(duel, redis_server.url)


def test_their_table() -> None:
    """Is beside ours in Flask."""
    entries = [
        {"side": library.name, "store": "redis", "clients": 1, "page": "read", "versions": {}}
        | {"ns": [[1e5 if library.name == OURS_IN_FLASK else 2e5]], "p99": [[1e5]]}
        for library in IN_FLASK
        if "redis" in library.stores
    ]
    (table,) = page.tables(entries, {})
    assert "on Redis, 1 client at once, in Flask" in table
    assert "| Flask-Session, not permanent | 5,000/s (0.50x), p99 100 µs |" in " ".join(table.split())
