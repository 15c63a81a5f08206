"""``python -m benchmarks.gate``: is this version slower than its base? See ``nox -s gate``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gate.decision import exit_code
from benchmarks.gate.gate import Gate, Report, as_json, described_servers, server_urls
from benchmarks.gate.pairs import PAIRS, BaseLacks, SideFailed
from benchmarks.gate.scenarios import Family, chosen
from benchmarks.gate.verdicts import summary, tables
from benchmarks.measure import servers
from benchmarks.measure.environment import environment
from benchmarks.measure.processes import ROOT, run_program
from benchmarks.measure.trees import NoBase, NothingBefore, Trees, choose_base, commit_of, side_by_side
from benchmarks.pages.results_file import dumped
from tests.support.servers import ServerError

FOLDER = ROOT / ".benchmarks" / "gate"
SCHEMA = 1


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description=__doc__)
    parser.add_argument("--base", metavar="REV", help="default: where this line of work left main, else HEAD^")
    parser.add_argument("--head", metavar="REV", help="default: what lies in the checkout, committed or not")
    parser.add_argument("--scenario", action="append", default=[], metavar="NAME", help="only this one; repeatable")
    parser.add_argument("--no-redis", action="store_true", help="memory only")
    parser.add_argument("--even-if-same", action="store_true", help="measure, though the package did not change")
    parser.add_argument("--share", type=float, default=1.0, help="of the usual launches; below 1 to see that it works")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="pairs of blocks per launch")
    parser.add_argument("--out", type=Path, default=FOLDER, metavar="FOLDER", help="where the findings are written")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """1 if a scenario became slower, 2 if the gate cannot be run, 0 otherwise."""
    options = options_of(arguments)
    try:
        families = [family for family in chosen(options.scenario) if not (options.no_redis and family.needs_server)]
        if not families:
            raise KeyError("with --no-redis nothing is left to measure of what --scenario names")
        if any(family.needs_server for family in families):
            servers.ensure(None)
        base = choose_base(options.base)
        if options.head and commit_of(options.head) is None:
            raise NoBase(f"{options.head} is no commit of this clone")
        with side_by_side(base, options.head and commit_of(options.head)) as trees:
            return compare(trees, families, options)
    except NothingBefore as error:
        print(f"nothing to compare with: {error}")
        return 0
    except (NoBase, BaseLacks, SideFailed, ServerError, KeyError) as error:
        print(f"the gate cannot be run: {error.args[0] if error.args else error}", file=sys.stderr)
        return 2


def compare(trees: Trees, families: Sequence[Family], options: argparse.Namespace) -> int:
    """Measure, print, write."""
    print(f"base {trees.base_name}, head {trees.head_name}", flush=True)
    if trees.same and not options.even_if_same:
        print("The package is the same in both: nothing to measure.")
        return 0
    start = time.monotonic()
    with server_urls(families) as urls:
        described = described_servers(urls)
        report = Gate(trees, say, urls, options.share, options.pairs).run(families)
    text = "\n\n".join(str(table) for table in tables(report, trees))
    print(f"\n{text}\n\n{summary(report.scenarios)}\n{time.monotonic() - start:.0f} s", flush=True)
    write(report, trees, text, options.out, described)
    return exit_code(finding.verdict for finding in report.scenarios)


def say(text: str) -> None:
    """One line of progress."""
    print(f"  {text}", flush=True)


def write(report: Report, trees: Trees, text: str, folder: Path, described: Mapping[str, Any]) -> None:
    """The findings for a machine and for a reader."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {
        "schema": SCHEMA,
        "base": trees.base_name,
        "head": trees.head_name,
        "environment": environment(),
        "servers": described,
        "checks": [as_json(finding) for finding in report.checks],
        "scenarios": [as_json(finding) for finding in report.scenarios],
    }
    (folder / "gate.json").write_text(dumped(found), encoding="utf-8")
    (folder / "gate.md").write_text(f"# Gate\n\n{text}\n\n{summary(report.scenarios)}\n", encoding="utf-8")


if __name__ == "__main__":
    run_program(main)
