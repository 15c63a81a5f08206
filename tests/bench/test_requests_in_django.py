"""The Django projects whose requests are compared work, each in a process of its own."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("django", reason="Django is not installed")

from benchmarks.web import page
from benchmarks.web.sides import LIBRARIES, OURS_IN_DJANGO, Duel
from tests.bench.samples import figures_of
from tests.support.servers import Server

IN_DJANGO = [library for library in LIBRARIES if library.beside in OURS_IN_DJANGO.values()]


@pytest.mark.parametrize("library", IN_DJANGO, ids=lambda library: library.function)
def test_they_keep_their_sessions(library: Any, redis_server: Server) -> None:
    """It is checked that they were filled."""
    figures_of(Duel(library, "redis", "change", 1), redis_server.url)


def test_their_tables() -> None:
    """Are beside ours in Django, and not beside ours in Starlette."""
    entries = [
        {"side": library.name, "store": "redis", "clients": 1, "page": "read", "versions": {}}
        | {"ns": [[1e5 if library.name in OURS_IN_DJANGO.values() else 2e5]], "p99": [[1e5]]}
        for library in IN_DJANGO
    ]
    first, second = page.tables(entries, {})
    assert "on Redis, 1 client at once, in Django, WSGI" in first
    assert "| Django's cached sessions, WSGI | 5,000/s (0.50x), p99 100 µs |" in first
    assert "ASGI" in second
    assert "WSGI" not in second
