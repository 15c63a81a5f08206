"""The gate around its rule: what is measured when, and what is printed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.gate import pairs as pairs_of_processes
from benchmarks.gate.__main__ import main
from benchmarks.gate.decision import Launch, Verdict
from benchmarks.gate.gate import Gate, Say, urls_by_side
from benchmarks.gate.pairs import BaseLacks, Question, Side, launch, launches
from benchmarks.gate.scenarios import FAMILIES, chosen
from benchmarks.gate.verdicts import summary, tables
from benchmarks.measure import trees
from benchmarks.measure.processes import ROOT
from benchmarks.measure.servers import Running
from benchmarks.measure.told import SideFailed
from benchmarks.measure.trees import NothingBefore, Trees, copy_package
from benchmarks.workloads.registry import WORKLOADS
from tests.support.servers import Server

MEMORY = FAMILIES[0]
LAZY = "class ExpiringMap:\n    pass\n"


# -- measuring ----------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path) -> Callable[[str], Path]:
    """Makes copies of the package of this checkout."""

    def make(name: str) -> Path:
        copy_package(ROOT, tmp_path / name)
        return tmp_path / name

    return make


@pytest.mark.slow
def test_a_launch_runs_each_side_on_its_own_tree(here: Callable[[str], Path]) -> None:
    """Two processes, pairs of them, and times over zero; the workers check which package they got."""
    found = launch(here("base"), here("head"), Question("memory.get", {}, clock="processor"), pairs=3)
    assert len(found) == 3
    assert all(base > 0 and head > 0 for base, head in found)


@pytest.mark.slow
def test_a_base_that_cannot_do_it_is_told_from_a_head_that_fails(here: Callable[[str], Path]) -> None:
    """The first is a new scenario, the second a fault."""
    good, bad = here("good"), here("bad")
    (bad / trees.PACKAGE / "providers/memory/expiring_map.py").write_text(LAZY)
    question = Question("memory.get", {}, clock="processor")
    with pytest.raises(BaseLacks, match="ImportError"):
        launch(bad, good, question, pairs=1)
    with pytest.raises(SideFailed, match="ImportError"):
        launch(good, bad, question, pairs=1)


@pytest.mark.slow
def test_a_base_without_the_package_lacks_everything(here: Callable[[str], Path], tmp_path: Path) -> None:
    """An installed package must not stand in for it."""
    (tmp_path / "nothing").mkdir()
    with pytest.raises(BaseLacks, match="its tree has no package"):
        launch(tmp_path / "nothing", here("head"), Question("memory.get", {}, clock="processor"), pairs=1)


@pytest.mark.slow
def test_a_base_that_lacks_the_scenario_of_the_check_is_checked_by_another(here: Callable[[str], Path]) -> None:
    """With real processes, whose times do not matter: the base fails on both sides, which is no fault of the head."""

    def timeless(count: int, base: Path, head: Path, question: Question, pairs: int, say: Say) -> list[Launch]:
        return [[(1.0, 1.0) for _ in found] for found in launches(count, base, head, question, pairs, say)]

    base, head = here("base"), here("head")
    (base / trees.PACKAGE / "grid.py").write_text("from chuk_sessions.nowhere import x\n")
    (base / trees.PACKAGE / "__init__.py").write_text("")
    family = replace(MEMORY, scenarios=("manager.memory.validate", "memory.get"))
    gate = Gate(Trees(base, head, "a", "b"), lambda text: None, {}, share=0.1, pairs=1, measure=timeless)
    report = gate.run([family])
    assert [finding.scenario for finding in report.checks] == ["memory.get"]
    assert [finding.verdict for finding in report.scenarios] == [Verdict.NEW, Verdict.OK]


def test_a_base_that_fails_later_is_not_called_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """It could do the workload in the launch before."""
    answers: list[Launch | Exception] = [[(1.0, 1.0)], BaseLacks("Connection refused")]

    def launched(*arguments: object) -> Launch:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(pairs_of_processes, "launch", launched)
    with pytest.raises(SideFailed, match="which could do memory"):
        launches(3, Path("base"), Path("head"), Question("memory.get", {}), 1, lambda text: None)


def test_a_worker_that_hangs_is_killed(here: Callable[[str], Path]) -> None:
    """The gate does not wait for it for ever."""
    tree = here("hangs")
    (tree / trees.PACKAGE / "__init__.py").write_text("import time\ntime.sleep(600)\n")
    side = Side("head", tree, Question("memory.get", {}, clock="processor"), 1, seconds=0.5)
    with pytest.raises(SideFailed, match="ended without a word, with -"):
        side.wait_until_ready()
    side.close()


@pytest.mark.slow
def test_a_package_that_prints_is_a_worker_that_fails(here: Callable[[str], Path]) -> None:
    """What it printed is in the message; it is not taken for an answer."""
    tree = here("prints")
    source = tree / trees.PACKAGE / "__init__.py"
    source.write_text(source.read_text() + "\nprint('debugging')\n")
    with pytest.raises(SideFailed, match="printed 'debugging"):
        launch(here("base"), tree, Question("memory.get", {}, clock="processor"), pairs=1)


class Measured:
    """In the place of real launches: ratios by scenario and side, one after the other; the last one stays."""

    def __init__(self, head: dict[str, list[float]], base: list[float]) -> None:
        self.head = head
        self.base = base
        self.asked: list[tuple[str, int]] = []

    def __call__(self, count: int, base: Path, head: Path, question: Question, pairs: int, say: Say) -> list[Launch]:
        against = base == head
        self.asked.append(("base" if against else question.workload, count))
        answers = self.base if against else self.head.get(question.workload, [1.0])
        ratio = answers.pop(0) if len(answers) > 1 else answers[0]
        if not ratio:
            raise BaseLacks("AttributeError: no such thing")
        return [[(1e6, 1e6 * ratio)] * pairs] * count


def run(measured: Measured) -> list[tuple[str, Verdict]]:
    """The memory scenarios, with these measurements."""
    gate = Gate(Trees(Path("base"), Path("head"), "a", "b"), lambda text: None, {}, measure=measured)
    report = gate.run([MEMORY])
    texts = [str(table) for table in tables(report, gate.trees)]
    assert all(finding.scenario in texts[1] for finding in report.scenarios)
    return [(finding.scenario, finding.verdict) for finding in report.scenarios]


def test_one_check_a_family_and_three_launches_a_scenario() -> None:
    """What is calm and fast is clear from a quarter of a measurement."""
    measured = Measured({}, [1.0])
    assert {verdict for _, verdict in run(measured)} == {Verdict.OK}
    assert measured.asked == [("base", 3), *[(name, 3) for name in MEMORY.scenarios]]


def test_what_some_of_the_launches_leave_open_is_measured_with_more() -> None:
    """First with half, then with all; the verdict is on all of them, as it is on a machine that is not clearly calm."""
    measured = Measured({"memory.get": [1.03], "memory.delete": [1.10, 1.10, 1.0], "memory.expiry": [1.015]}, [1.02])
    found = dict(run(measured))
    assert set(found.values()) == {Verdict.OK}
    asked = {name: [count for each, count in measured.asked if each == name] for name, _ in measured.asked}
    assert asked["base"] == asked["memory.get"] == asked["memory.delete"] == [3, 2, 5]
    assert asked["memory.expiry"] == [3, 2]


def test_a_base_that_fails_in_a_later_part_is_not_called_new() -> None:
    """It could do the workload in the quarter before."""
    with pytest.raises(SideFailed, match=r"which could do memory\.get before: AttributeError"):
        run(Measured({"memory.get": [1.03, 0.0]}, [1.0]))


def test_over_the_limit_is_measured_again_with_twice_the_launches() -> None:
    """And only then called slower; a second look may also acquit."""
    measured = Measured({"memory.get": [1.1], "memory.delete": [1.1, 1.1, 1.1, 1.01]}, [1.0])
    found = dict(run(measured))
    assert found["memory.get"] is Verdict.SLOWER
    assert found["memory.delete"] is Verdict.OK
    assert [count for name, count in measured.asked if name == "memory.get"] == [3, 2, 5, 20]


def test_a_restless_machine_is_inconclusive_and_nothing_is_measured_on_it() -> None:
    """After one retry of the base against itself."""
    measured = Measured({"memory.get": [1.5]}, [1.05])
    assert {verdict for _, verdict in run(measured)} == {Verdict.INCONCLUSIVE}
    assert measured.asked == [("base", 3), ("base", 2), ("base", 5), ("base", 20)]
    assert {verdict for _, verdict in run(Measured({}, [1.05, 1.05, 1.05, 1.0]))} == {Verdict.OK}


def test_what_the_base_does_not_have_is_new() -> None:
    """The check then takes the next scenario that it has."""
    measured = Measured({"memory.get": [0.0]}, [0.0, 1.0])
    found = dict(run(measured))
    assert found.pop("memory.get") is Verdict.NEW
    assert set(found.values()) == {Verdict.OK}
    assert {verdict for _, verdict in run(Measured({}, [0.0]))} == {Verdict.OK}


def test_the_last_line_says_what_matters() -> None:
    """What became slower comes before what is not known."""
    gate = Gate(Trees(Path("base"), Path("head"), "a", "b"), lambda text: None, {}, measure=Measured({}, [1.05]))
    assert summary(gate.run([MEMORY]).scenarios).startswith("WARNING: inconclusive")
    slow = Gate(gate.trees, gate.say, {}, measure=Measured({"memory.get": [1.2]}, [1.0]))
    assert summary(slow.run([MEMORY]).scenarios) == "SLOWER: memory.get"
    fine = Gate(gate.trees, gate.say, {}, measure=Measured({}, [1.0]))
    assert summary(fine.run([MEMORY]).scenarios) == "Nothing became slower."


def test_the_scenarios_are_of_the_registry() -> None:
    """Memory get, set, delete and expiry, the manager's four calls, and Redis at 50 callers."""
    names = [name for family in FAMILIES for name in family.scenarios]
    assert len(names) >= 10
    assert set(names) <= set(WORKLOADS)
    assert [family.scenarios for family in chosen(["redis.get.50", "memory.expiry"])] == [
        ("memory.expiry",),
        ("redis.get.50",),
    ]
    with pytest.raises(KeyError, match="no scenario of the gate"):
        chosen(["nonsense"])


# -- the program --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_unchanged_package_is_not_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """It cannot have become slower."""
    assert main(["--base", "HEAD", "--head", "HEAD", "--no-redis"]) == 0
    assert "nothing to measure" in capsys.readouterr().out


@pytest.mark.slow
def test_a_small_run_prints_and_writes_its_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One launch of one pair: it works, whatever it finds."""
    arguments = ["--base", "HEAD", "--scenario", "memory.expiry", "--even-if-same", "--share", "0.1", "--pairs", "1"]
    assert main([*arguments, "--out", str(tmp_path)]) in (0, 1)
    printed = capsys.readouterr().out
    assert "memory.expiry, launch 1 of 1" in printed
    found = json.loads((tmp_path / "gate.json").read_text())
    assert [finding["scenario"] for finding in found["scenarios"]] == ["memory.expiry"]
    assert found["environment"]["commit"]
    assert (tmp_path / "gate.md").read_text().startswith("# Gate\n")


def test_without_a_base_there_is_nothing_to_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A first commit or a shallow clone is no slowdown."""

    def nothing_before(asked: str | None) -> str:
        raise NothingBefore("this is the first commit")

    monkeypatch.setattr("benchmarks.against_base.choose_base", nothing_before)
    assert main(["--no-redis"]) == 0
    assert "first commit" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["--base", "v99"], ["--head", "v99"], ["--scenario", "nonsense"], ["--scenario", "redis.get.50"]]
)
def test_a_gate_that_cannot_be_run_says_so(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With an exit code of its own and no traceback."""
    assert main(["--base", "HEAD", *arguments, "--no-redis"]) == 2
    assert "the gate cannot be run" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal")
def test_a_gate_that_is_ended_leaves_nothing(tmp_path: Path) -> None:
    """As CI does, in the middle of a measurement: neither its copies of the package nor a worktree."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    command = [sys.executable, "-m", "benchmarks.gate", "--base", "HEAD", "--even-if-same", "--scenario", "memory.get"]
    environment = os.environ | {"TMPDIR": str(folder)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as gate:
        assert gate.stdout is not None
        assert any("launch 2 of" in line for line in gate.stdout)
        assert list(folder.iterdir())
        gate.send_signal(signal.SIGTERM)
        gate.stdout.read()
    assert gate.returncode == 128 + signal.SIGTERM
    assert not list(folder.iterdir())
    assert str(folder) not in trees.git("worktree", "list")


def test_the_server_is_in_the_findings(redis_server: Server) -> None:
    """Its version matters as much as the machine; each side has a database of its own."""
    servers = Running({"redis": redis_server})
    assert servers.described()["redis"]["version"] == redis_server.version
    assert set(urls_by_side(servers)["base"].values()).isdisjoint(urls_by_side(servers)["head"].values())
    assert Running({}).described() == {}
