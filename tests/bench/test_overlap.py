"""Requests of one session that overlap, as the pages on Django and Flask count them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.web.overlap import COUNT
from tests.support.servers import Server


@pytest.mark.parametrize(("module", "library"), [("flask", "flask_chuk"), ("django", "django_chuk_wsgi")])
def test_all_keys_are_kept(module: str, library: str, redis_server: Server) -> None:
    """A process each, as the settings of Django are global."""
    pytest.importorskip(module, reason=f"{module} is not installed")
    command = [sys.executable, "-m", "benchmarks.web.overlap", library, redis_server.url]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (run.stdout, run.returncode) == (f"{library}: {COUNT} of {COUNT}\n", 0), run.stderr
