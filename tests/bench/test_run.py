"""The whole benchmark program, once, as small as it goes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.bench.__main__ import main
from benchmarks.measure.processes import ROOT, WorkerFailed, ask


@pytest.mark.slow
def test_a_quick_run_on_memory_writes_and_prints_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All stages in order, results that can be read again, and tables on the terminal; variables do not count."""
    monkeypatch.setenv("SESSION_MEMORY_MAX_ITEMS", "10")
    command = [sys.executable, "-m", "benchmarks", "--quick", "--no-redis", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("[1 of 4]", "case  1 of", "[4 of 4]", "### Providers", "### Speed to reach", "not measured"):
        assert words in done.stdout
    results = json.loads((tmp_path / "bench.json").read_text())
    measured = {case["extra_info"]["workload"]: case["stats"]["median"] for case in results["cases"]}
    assert {"memory.get", "manager.memory.allocate", "grid.artifact-key", "memory.cycle.5"} <= set(measured)
    assert min(measured.values()) > 0
    assert results["environment"]["commit"]
    assert (tmp_path / "BENCH.md").read_text().startswith("# Benchmarks\n")


def test_without_a_server_it_says_so_before_it_starts(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing has been measured then, and the message names the way out."""
    assert main(["--quick", "--redis-url", "redis://127.0.0.1:1/0"]) == 2
    assert "--no-redis" in capsys.readouterr().err


def test_a_worker_that_fails_says_why() -> None:
    """Its last words are in the error."""
    with pytest.raises(WorkerFailed, match="KeyError: 'nonsense'"):
        ask("nonsense")


@pytest.mark.slow
def test_a_worker_on_another_python_is_no_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two versions of Python differ by more than most libraries."""
    monkeypatch.setattr("platform.python_version", lambda: "3.99.1")
    with pytest.raises(WorkerFailed, match=r"this version on 3\.99\.1"):
        ask("footprint", items=10)
