"""``python -m benchmarks.gate.demonstration``: does the gate find 10 %, and does it leave honest code alone?

Slows one hot path of memory and one of Redis by 10 % in a scratch copy, which is never committed; runs the gate on
both scenarios ten times against the honest base and ten times honest against honest; writes ``results/gate.json`` and
``results/GATE.md``. Takes some 25 minutes on two cores; one that was interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.gate.decision import exit_code, interval, median_ratio
from benchmarks.gate.demonstration_page import text
from benchmarks.gate.gate import Finding, Gate, Report, launches_of, question_of, servers_for, urls_by_side
from benchmarks.gate.pairs import PAIRS, launches
from benchmarks.gate.scenarios import Family, chosen
from benchmarks.gate.slowed import HOT_PATHS, HotPath, slow_down
from benchmarks.measure import servers
from benchmarks.measure.environment import environment, load
from benchmarks.measure.processes import RESULTS, SCRATCH
from benchmarks.measure.trees import PACKAGE, Trees, side_by_side
from benchmarks.pages.publications import publish
from benchmarks.program import run_program, say, without_server
from tests.support.servers import ServerError

SCHEMA = 1
STATE = SCRATCH / "gate-demonstration.json"
SLOWER = 0.10
NEAR = 0.008
CALIBRATIONS = 5
TRIAL_STATEMENTS = {"memory.get": 7, "redis.get.50": 170}
KINDS = ("slowed", "honest")


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate.demonstration", description=__doc__)
    parser.add_argument("--runs", type=int, default=10, help="of each kind")
    parser.add_argument("--share", type=float, default=1.0, help="of the usual launches; below 1 to see that it works")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="pairs of blocks per launch")
    parser.add_argument("--no-redis", action="store_true", help="memory only")
    parser.add_argument("--fresh", action="store_true", help="begin anew, whatever an interrupted one has left")
    parser.add_argument("--state", type=Path, default=STATE, metavar="FILE", help="what an interrupted one leaves")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is left to run, and write."""
    options = options_of(arguments)
    hot_paths = [hot for hot in HOT_PATHS if not (options.no_redis and hot.scenario.startswith("redis"))]
    families = chosen([hot.scenario for hot in hot_paths])
    if not options.no_redis:
        try:
            servers.ensure(None)
        except ServerError as error:
            return without_server(error)
    with honest_and_slowed() as (honest, slowed), servers_for(families) as running:
        urls = urls_by_side(running)
        state = begin(options, honest)
        state["servers"] = running.described()
        calibrate(state, options, hot_paths, families, honest.base, urls)
        prepare(slowed, hot_paths, state["statements"])
        for number in range(options.runs):
            for kind in KINDS:
                trees = Trees(honest.base, slowed if kind == "slowed" else honest.head, honest.base_name, kind)
                one_run(state, options, families, trees, urls, kind, number)
    state["load_after"] = load()
    publish("gate", state, options.out)
    options.state.unlink()
    print(f"\n{text(state)}\nWritten to {options.out}.")
    return 0


@contextmanager
def honest_and_slowed() -> Iterator[tuple[Trees, Path]]:
    """HEAD twice, and a third copy to be slowed; its folder's name is as long as the others'."""
    with side_by_side("HEAD", "HEAD") as honest, tempfile.TemporaryDirectory(prefix="chuk-gate-") as folder:
        slowed = Path(folder, "slow")
        shutil.copytree(honest.base, slowed)
        yield honest, slowed


def begin(options: argparse.Namespace, honest: Trees) -> dict[str, Any]:
    """What an interrupted demonstration of the same package left, else a new one."""
    fingerprint = str(hash_of(honest.base))
    if options.state.exists() and not options.fresh:
        found: dict[str, Any] = json.loads(options.state.read_text(encoding="utf-8"))
        if found.get("package") == fingerprint and found.get("share") == options.share:
            print(f"going on after {len(found['runs'])} runs", flush=True)
            return found
    return {
        "schema": SCHEMA,
        "package": fingerprint,
        "share": options.share,
        "environment": environment(),
        "statements": {},
        "runs": [],
    }


def hash_of(tree: Path) -> str:
    """What tells one version of the package from another."""
    import hashlib

    digest = hashlib.sha256()
    for path in sorted(path for path in tree.rglob("*") if path.suffix in (".py", ".lua")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def calibrate(
    state: dict[str, Any],
    options: argparse.Namespace,
    hot_paths: Sequence[HotPath],
    families: Sequence[Family],
    honest: Path,
    urls: Mapping[str, Mapping[str, str]],
) -> None:
    """How many statements are 10 %: from a guess on, scaled until it is near enough."""
    for hot, family in zip(hot_paths, families, strict=True):
        if hot.scenario in state["statements"]:
            continue
        statements = TRIAL_STATEMENTS[hot.scenario]
        for _ in range(CALIBRATIONS):
            slower = added(options, hot, family, honest, urls, statements)
            say(f"calibration: {statements} statements are {slower:+.1%}")
            if abs(slower - SLOWER) <= NEAR:
                break
            statements = scaled(statements, slower)
        state["statements"][hot.scenario] = statements
        save(state, options)


def scaled(statements: int, slower: float) -> int:
    """How many would be 10 %, if each costs as much as these did; at least one more or less than before."""
    wanted = round(statements * SLOWER / max(slower, SLOWER / 4))
    if wanted == statements:
        wanted += 1 if slower < SLOWER else -1
    return max(1, wanted)


def added(
    options: argparse.Namespace,
    hot: HotPath,
    family: Family,
    honest: Path,
    urls: Mapping[str, Mapping[str, str]],
    statements: int,
) -> float:
    """By how much the scenario is slower with so many statements."""
    question, count = question_of(family, hot.scenario, urls), launches_of(family, options.share)
    with tempfile.TemporaryDirectory(prefix="chuk-gate-") as folder:
        trial = Path(folder, "slow")
        shutil.copytree(honest, trial)
        slow_down(trial, hot, statements)
        found = launches(count, honest, trial, question, options.pairs, lambda text: say(f"calibration: {text}"))
    return median_ratio(found) - 1


def prepare(slowed: Path, hot_paths: Sequence[HotPath], statements: Mapping[str, int]) -> None:
    """Slow down the scratch copy."""
    for hot in hot_paths:
        slow_down(slowed, hot, statements[hot.scenario])
    assert (slowed / PACKAGE).exists()


def one_run(
    state: dict[str, Any],
    options: argparse.Namespace,
    families: Sequence[Family],
    trees: Trees,
    urls: Mapping[str, Mapping[str, str]],
    kind: str,
    number: int,
) -> None:
    """One run of the gate, unless an earlier start has done it."""
    if any(run["kind"] == kind and run["number"] == number for run in state["runs"]):
        return
    label = f"{kind} run {number + 1} of {options.runs}"
    report = Gate(trees, lambda text: say(f"{label}: {text}"), urls, options.share, options.pairs).run(families)
    state["runs"].append({"kind": kind, "number": number, **_described(report)})
    save(state, options)


def _described(report: Report) -> dict[str, Any]:
    return {
        "exit_code": exit_code(finding.verdict for finding in report.scenarios),
        "checks": [_finding(finding) for finding in report.checks],
        "scenarios": [_finding(finding) for finding in report.scenarios],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    found: dict[str, Any] = {"scenario": finding.scenario, "verdict": finding.verdict.value}
    if finding.launches:
        found["ratio"] = round(median_ratio(finding.launches), 4)
        found["interval"] = [round(bound, 4) for bound in interval(finding.launches)]
        found["launches"] = len(finding.launches)
    return found


def save(state: Mapping[str, Any], options: argparse.Namespace) -> None:
    """So that an interruption costs one run at most."""
    options.state.parent.mkdir(parents=True, exist_ok=True)
    options.state.write_text(json.dumps(state), encoding="utf-8")


if __name__ == "__main__":
    run_program(main)
