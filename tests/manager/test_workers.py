"""One line of log where several workers of a web server keep sessions in their memory, each its own."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from chuk_sessions import provider_factory
from chuk_sessions.provider_factory import factory_for_env
from chuk_sessions.workers import number_of_workers

if TYPE_CHECKING:
    from pathlib import Path

# As uvicorn and hypercorn start their workers.
SERVER = """
import multiprocessing, sys
from types import SimpleNamespace

def work(config=None, **options):
    import logging
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    from chuk_sessions import SessionManager
    SessionManager("shop"), SessionManager("other")

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    arguments = {"config": SimpleNamespace(workers=int(sys.argv[2])), "sockets": []} if sys.argv[2:] else {}
    workers = [context.Process(target=work, kwargs=arguments) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
"""


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server, and nothing was said about it in this process yet."""
    for name in ("SERVER_SOFTWARE", "GUNICORN_CMD_ARGS", "WEB_CONCURRENCY", "SESSION_PROVIDER", "SESSION_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "argv", ["server"])
    provider_factory._warn_of_workers.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize("start", ["spawn", "fork"])
@pytest.mark.parametrize(("number", "lines"), [("3", 2), ("1", 0), (None, 0)])
def test_workers_that_multiprocessing_starts(tmp_path: Path, start: str, number: str | None, lines: int) -> None:
    """One line in each of the two that run here; none if there is one worker, or no server."""
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    command = [sys.executable, str(script), start, *([number] if number else [])]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert run.stderr.count("this is one of 3 workers") == lines
    assert len(run.stderr.splitlines()) == lines


@pytest.mark.parametrize(
    ("arguments", "more", "concurrency", "number"),
    [
        ("app:app -w 3", "", "", 3),
        ("app:app --workers=3", "-w 5", "7", 3),
        ("-w3 app:app", "", "", 3),
        ("app:app --workers 4 -w 3", "", "", 3),
        ("app:app", "--workers 5", "7", 5),
        ("app:app", "", "7", 7),
        ("app:app", "", "many", 1),
        ("app:app -w 1", "", "7", 1),
        ("app:app --worker-class w", "", "", 1),
        ("app:app", "", "", 1),
    ],
)
def test_workers_of_gunicorn(
    monkeypatch: pytest.MonkeyPatch, arguments: str, more: str, concurrency: str, number: int
) -> None:
    """By command line, variable or default. Without gunicorn these mean nothing."""
    monkeypatch.setattr(sys, "argv", ["gunicorn", *arguments.split()])
    monkeypatch.setenv("GUNICORN_CMD_ARGS", more)
    monkeypatch.setenv("WEB_CONCURRENCY", concurrency)
    assert number_of_workers() == 1
    monkeypatch.setenv("SERVER_SOFTWARE", "gunicorn/23.0.0")
    assert number_of_workers() == number


@pytest.mark.parametrize(("provider", "lines"), [(None, 1), ("memory", 1), ("MEM", 1), ("redis", 0)])
def test_the_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, provider: str | None, lines: int
) -> None:
    """Once, where the environment leads to memory; it says what to do."""
    monkeypatch.setenv("SERVER_SOFTWARE", "gunicorn/23.0.0")
    monkeypatch.setenv("WEB_CONCURRENCY", "3")
    if provider is not None:
        monkeypatch.setenv("SESSION_PROVIDER", provider)
    for _ in range(2):
        factory_for_env()
    found = [record for record in caplog.records if "workers" in record.message]
    assert [record.levelno for record in found] == [logging.WARNING] * lines
    assert all("one of 3 workers" in record.message and "SESSION_PROVIDER=redis" in record.message for record in found)
