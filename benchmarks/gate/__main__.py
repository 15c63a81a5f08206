"""``python -m benchmarks.gate``: is this version slower than its base? See ``nox -s gate``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from benchmarks.against_base import exit_code_of, on_trees, parser_of, write
from benchmarks.gate.decision import exit_code
from benchmarks.gate.gate import Gate, as_json, servers_for, urls_by_side
from benchmarks.gate.pairs import PAIRS, BaseLacks
from benchmarks.gate.scenarios import Family, chosen
from benchmarks.gate.verdicts import summary, tables
from benchmarks.measure import servers
from benchmarks.measure.told import SideFailed
from benchmarks.measure.trees import NoBase, Trees, commit_of
from benchmarks.program import run_program, say
from tests.support.servers import ServerError

SCHEMA = 1
FAILURES = (NoBase, BaseLacks, SideFailed, ServerError, KeyError)


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = parser_of("gate", __doc__)
    parser.add_argument("--head", metavar="REV", help="default: what lies in the checkout, committed or not")
    parser.add_argument("--scenario", action="append", default=[], metavar="NAME", help="only this one; repeatable")
    parser.add_argument("--no-redis", action="store_true", help="memory only")
    parser.add_argument("--share", type=float, default=1.0, help="of the usual launches; below 1 to see that it works")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="pairs of blocks per launch")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """1 if a scenario became slower, 2 if the gate cannot be run, 0 otherwise."""
    options = options_of(arguments)
    return exit_code_of(lambda: run(options), FAILURES, "the gate cannot be run")


def run(options: argparse.Namespace) -> int:
    """The exit code; one of the failures if something that was asked for is not here."""
    families = [family for family in chosen(options.scenario) if not (options.no_redis and family.needs_server)]
    if not families:
        raise KeyError("with --no-redis nothing is left to measure of what --scenario names")
    if any(family.needs_server for family in families):
        servers.ensure(None)
    head = options.head and commit_of(options.head)
    if options.head and head is None:
        raise NoBase(f"{options.head} is no commit of this clone")
    return on_trees(options, lambda trees: compare(trees, families, options), head)


def compare(trees: Trees, families: Sequence[Family], options: argparse.Namespace) -> int:
    """Measure, print, write."""
    start = time.monotonic()
    with servers_for(families) as running:
        described = running.described()
        report = Gate(trees, say, urls_by_side(running), options.share, options.pairs).run(families)
    text = "\n\n".join([*map(str, tables(report, trees)), summary(report.scenarios)])
    print(f"\n{text}\n{time.monotonic() - start:.0f} s", flush=True)
    found = {"servers": described, "checks": as_json(report.checks), "scenarios": as_json(report.scenarios)}
    write("gate", SCHEMA, trees, text, options.out, found)
    return exit_code(finding.verdict for finding in report.scenarios)


if __name__ == "__main__":
    run_program(main)
