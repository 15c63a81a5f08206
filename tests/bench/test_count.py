"""Instruction counts: what is counted is one run of a workload, and more of them is what fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.count import __main__ as program
from benchmarks.count import callgrind
from benchmarks.count.__main__ import COUNTED, count_all, main
from benchmarks.count.callgrind import (
    CountFailed,
    has_valgrind,
    instructions,
    last_between_markers,
    per_operation,
    rehearse,
)
from benchmarks.count.changes import Count, Verdict, exit_code, table
from benchmarks.measure.processes import ROOT
from benchmarks.measure.trees import PACKAGE, Trees, copy_package
from benchmarks.workloads.registry import WORKLOADS

needs_valgrind = pytest.mark.skipif(not has_valgrind(), reason="needs valgrind")


@pytest.mark.parametrize(
    ("head", "verdict"),
    [(900, Verdict.OK), (1_020, Verdict.OK), (1_021, Verdict.NOTE), (1_100, Verdict.NOTE), (1_101, Verdict.MORE)],
)
def test_over_two_per_cent_is_noted_over_ten_fails(head: float, verdict: Verdict) -> None:
    """The bounds themselves pass."""
    assert Count("memory.get", 1_000, head).verdict is verdict
    assert exit_code([Count("memory.get", 1_000, head)]) == (verdict is Verdict.MORE)


def test_what_the_base_lacks_is_new_and_fails_nothing() -> None:
    """With the reason in its row."""
    count = Count("memory.get", None, 100, "AttributeError: no such thing")
    assert count.verdict is Verdict.NEW
    assert exit_code([count]) == 0
    assert "new: AttributeError" in str(table([count], "a", "b"))


def test_what_is_counted_is_one_run_of_the_block() -> None:
    """Not its repeats."""
    assert WORKLOADS["memory.get"].operations == 10_000
    assert per_operation("memory.get", 2_000_000) == 2_000


def test_the_run_is_what_lies_between_the_last_two_markers(tmp_path: Path) -> None:
    """The tenth file comes after the ninth; the one without a number is of what came after the run."""
    output = tmp_path / "callgrind.out"
    output.write_text("summary: 7\n")
    for number in range(1, 11):
        (tmp_path / f"callgrind.out.{number}").write_text(f"desc: Trigger\n\nsummary: {number}000\n")
    assert last_between_markers(output) == 10_000


def test_a_program_without_markers_is_not_counted(tmp_path: Path) -> None:
    """The C library may have no function of that name: better no count than that of something else."""
    output = tmp_path / "callgrind.out"
    output.write_text("summary: 7\n")
    (tmp_path / "callgrind.out.1").write_text("summary: 1\n")
    with pytest.raises(CountFailed, match="saw 1 calls of getppid"):
        last_between_markers(output)


def test_every_point_is_counted_once_and_put_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two trees; only the head's of what the base lacks."""
    asked = []

    def counted(tree: Path, workload: str) -> int:
        asked.append((tree.name, workload))
        return 100_000 if tree.name == "base" else 120_000

    def rehearsed(tree: Path, workload: str) -> None:
        if (tree.name, workload) == ("base", "memory.delete"):
            raise CountFailed("KeyError: 'x'")

    monkeypatch.setattr(program, "instructions", counted)
    monkeypatch.setattr(program, "rehearse", rehearsed)
    trees = Trees(tmp_path / "base", tmp_path / "head", "a", "b")
    counts = count_all(trees, ["memory.get", "memory.delete"], 2)
    assert counts == [Count("memory.get", 100, 120), Count("memory.delete", None, 120, "KeyError: 'x'")]
    assert len(asked) == len(set(asked)) == 3


def test_without_valgrind_there_is_a_notice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And no failure."""
    monkeypatch.setattr(program, "has_valgrind", lambda: False)
    assert main([]) == 0
    assert "NOTICE: valgrind is not here" in capsys.readouterr().out


def test_what_is_counted_is_in_the_registry() -> None:
    """Memory and manager: nothing that waits for a server."""
    assert len(COUNTED) >= 8
    assert all(WORKLOADS[name].in_memory for name in COUNTED)


@pytest.mark.parametrize("name", COUNTED)
def test_every_counted_program_runs_to_its_end(name: str) -> None:
    """Uncounted, on this checkout."""
    rehearse(ROOT, name)


def test_a_program_that_fails_says_why(tmp_path: Path) -> None:
    """Its last line."""
    copy_package(ROOT, tmp_path / "tree")
    (tmp_path / "tree" / PACKAGE / "grid.py").write_text("1 / 0\n")
    with pytest.raises(CountFailed, match="ZeroDivisionError"):
        rehearse(tmp_path / "tree", "grid.artifact-key")


def test_a_program_that_hangs_is_one_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends, and not with the exit code of more instructions."""
    monkeypatch.setattr(callgrind, "SECONDS", 0.5)
    copy_package(ROOT, tmp_path / "tree")
    (tmp_path / "tree" / PACKAGE / "__init__.py").write_text("import threading\nthreading.Event().wait()\n")
    with pytest.raises(CountFailed, match="not done within"):
        rehearse(tmp_path / "tree", "grid.artifact-key")


@pytest.mark.slow
@needs_valgrind
def test_callgrind_counts_the_run() -> None:
    """A path costs some hundreds or thousands of instructions; start-up is not among them."""
    assert 100 < per_operation("grid.artifact-key", instructions(ROOT, "grid.artifact-key")) < 20_000


@pytest.mark.slow
def test_the_program_prints_and_writes_its_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table for the reader, numbers for the next program, and 1 for over ten per cent more."""
    monkeypatch.setattr(program, "has_valgrind", lambda: True)
    totals = {"base": 1_000_000, "head": 1_200_000}
    monkeypatch.setattr(program, "instructions", lambda tree, workload: totals[tree.name])
    arguments = ["--base", "HEAD", "--workload", "memory.get", "--out", str(tmp_path)]
    assert main([*arguments, "--even-if-same"]) == 1
    assert "2 of 2: memory.get on the head" in capsys.readouterr().out
    found = json.loads((tmp_path / "count.json").read_text())["counts"]
    assert [one["workload"] for one in found] == ["memory.get"]
    assert (found[0]["base"], found[0]["head"]) == (1_000, 1_200)
    assert (tmp_path / "count.md").read_text().startswith("# Count\n")
