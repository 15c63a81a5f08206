"""The demonstration of the gate: what is slowed is what is said, and an interrupted one goes on."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from benchmarks.gate import demonstration
from benchmarks.gate.demonstration_page import text as page_text
from benchmarks.gate.slowed import HOT_PATHS, IDLE, HotPath, slow_down
from benchmarks.measure.processes import ROOT
from benchmarks.measure.trees import PACKAGE, copy_package
from tests.bench.samples import ENVIRONMENT


@pytest.mark.parametrize("hot", HOT_PATHS, ids=str)
def test_a_hot_path_begins_with_idle_statements(hot: HotPath, tmp_path: Path) -> None:
    """One line more, in that method alone, after its docstring; the rest stays as it was."""
    copy_package(ROOT, tmp_path / "tree")
    slow_down(tmp_path / "tree", hot, 7)
    before = (ROOT / PACKAGE / hot.file).read_text().splitlines()
    after = (tmp_path / "tree" / PACKAGE / hot.file).read_text().splitlines()
    added = [line for line in after if IDLE in line]
    assert [line.strip() for line in added] == ["; ".join([IDLE] * 7)]
    assert [line for line in after if line not in added] == before
    method = next(
        node
        for node in ast.walk(ast.parse("\n".join(after)))
        if isinstance(node, ast.AsyncFunctionDef) and ast.unparse(node.body[1]) == IDLE
    )
    assert method.name == hot.method
    assert ast.get_docstring(method)


def test_a_hot_path_that_is_gone_is_said(tmp_path: Path) -> None:
    """Rather than slowing nothing and calling it not found."""
    copy_package(ROOT, tmp_path / "tree")
    with pytest.raises(LookupError, match=r"there is no ExpiringMap\.fetch"):
        slow_down(
            tmp_path / "tree", HotPath("memory.get", "providers/memory/expiring_map.py", "ExpiringMap", "fetch"), 1
        )


@pytest.mark.parametrize(
    ("statements", "slower", "expected"),
    [(20, 0.2, 10), (5, 0.08, 6), (10, 0.105, 9), (10, 0.095, 11), (10, -0.5, 40), (1, 0.5, 1)],
)
def test_calibration_scales_and_always_moves(statements: int, slower: float, expected: int) -> None:
    """In proportion, at least by one, at most fourfold, never to none."""
    assert demonstration.scaled(statements, slower) == expected


@pytest.mark.slow
def test_an_interrupted_demonstration_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was run is not run again; the page has every run, and the state is gone at the end."""
    state, out = tmp_path / "state.json", tmp_path / "out"
    small = ["--no-redis", "--share", "0.1", "--pairs", "1", "--state", str(state), "--out", str(out)]
    assert demonstration.main([*small, "--runs", "1"]) == 0
    first = json.loads((out / "gate.json").read_text())
    state.write_text(json.dumps(first))
    capsys.readouterr()
    assert demonstration.main([*small, "--runs", "2"]) == 0
    printed = capsys.readouterr().out
    assert "going on after 2 runs" in printed
    assert "slowed run 1 of 2" not in printed
    assert "honest run 2 of 2: base against itself: memory.get, launch 1 of 1" in printed
    assert not state.exists()
    found = json.loads((out / "gate.json").read_text())
    assert found["runs"][:2] == first["runs"]
    assert [(run["kind"], run["number"]) for run in found["runs"]] == [
        ("slowed", 0),
        ("honest", 0),
        ("slowed", 1),
        ("honest", 1),
    ]


def test_versions_are_told_apart_by_what_runs(tmp_path: Path) -> None:
    """By the Python and by the Lua."""
    tree = tmp_path / "tree"
    copy_package(ROOT, tree)
    seen = {demonstration.hash_of(tree)}
    for name in ("scripts.py", "lua/touch.lua", "lua/include/look.lua"):
        path = tree / PACKAGE / "providers" / "redis" / name
        path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
        seen.add(demonstration.hash_of(tree))
    assert len(seen) == 4


def test_the_page_counts_what_was_found() -> None:
    """Both counts, and what could not be told."""

    def run(kind: str, number: int, verdict: str) -> dict[str, object]:
        found = {"scenario": "memory.get", "verdict": verdict, "ratio": 1.1, "interval": [1.09, 1.11], "launches": 20}
        return {"kind": kind, "number": number, "exit_code": 0, "checks": [found], "scenarios": [found]}

    runs = [run("slowed", 0, "slower"), run("slowed", 1, "inconclusive"), run("honest", 0, "ok")]
    state = {"runs": runs, "statements": {"memory.get": 12}, "environment": ENVIRONMENT, "load_after": 0.2}
    text = page_text(state)
    assert "Redis" not in text.split("###")[0].split("* Machine")[1]
    assert "* Redis server: 7.0.15\n" in page_text(state | {"servers": {"redis": {"version": "7.0.15"}}})
    assert "`ExpiringMap.get` begins with 12 times `idle = 0`" in text
    assert "1.090 to 1.110" in text
    assert "**1 of 2 slower scenarios were found** (1 inconclusive)" in text
    assert "**0 of 1 honest ones were called slower**" in text


def test_without_a_server_it_says_so_before_it_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the way out, and no traceback."""
    monkeypatch.setenv("CHUK_TEST_REDIS_SERVER", "/nonexistent")
    assert demonstration.main([]) == 2
    assert "--no-redis" in capsys.readouterr().err
