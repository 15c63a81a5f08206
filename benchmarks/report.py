"""From ``results/bench.json`` to Markdown: ``results/BENCH.md`` and the tables between the README's markers.

``python -m benchmarks.report`` writes both; with ``--check`` it writes nothing and fails if one differs from the JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.goals import Results
from benchmarks.markdown import MarkersMissing, between_markers
from benchmarks.processes import ROOT
from benchmarks.setting import setting
from benchmarks.tables import tables

SCHEMA = 2
READABLE = (1, SCHEMA)  # 1 has one process per case and no sessions
JSON_NAME = "bench.json"
MARKDOWN_NAME = "BENCH.md"
README = ROOT / "README.md"
RATIOS = "Ratios over 1 are better than published, or than the peer, unless a row says *at most*"


class ReportError(Exception):
    """The results cannot be read, or the documents cannot take them."""


def read(folder: Path) -> Results:
    """The results of a run."""
    path = folder / JSON_NAME
    if not path.exists():
        raise ReportError(f"{path} is missing: run nox -s bench first")
    results: Results = json.loads(path.read_text(encoding="utf-8"))
    if results.get("schema") not in READABLE:
        raise ReportError(f"{path} has schema {results.get('schema')!r}, this program reads {SCHEMA}")
    return results


def dumped(results: Results) -> str:
    """The JSON, with a list of figures on one line."""
    readable = json.dumps(results, indent=1)
    return re.sub(r"\[\n[-+.\de,\s]+\]", lambda found: re.sub(r"\s+", "", found[0]), readable) + "\n"


def text(results: Results) -> str:
    """All tables, and what the run was made on."""
    parts = [setting(results, RATIOS), *[str(table) for table in tables(results)]]
    return "\n\n".join(parts) + "\n"


def document(results: Results) -> str:
    """BENCH.md."""
    return f"# Benchmarks\n\nMade from {JSON_NAME} by `python -m benchmarks.report`; do not edit.\n\n{text(results)}"


def outdated(results: Results, folder: Path, readme: Path) -> list[Path]:
    """The documents that do not say what the results say."""
    wanted = {folder / MARKDOWN_NAME: document(results), readme: _with_tables(readme, results)}
    return [path for path, content in wanted.items() if not path.exists() or path.read_text("utf-8") != content]


def write(results: Results, folder: Path, readme: Path) -> None:
    """Bring both documents up to date."""
    (folder / MARKDOWN_NAME).write_text(document(results), encoding="utf-8")
    readme.write_text(_with_tables(readme, results), encoding="utf-8")


def _with_tables(readme: Path, results: Results) -> str:
    try:
        return between_markers(readme.read_text(encoding="utf-8"), text(results))
    except MarkersMissing as error:
        raise ReportError(f"{readme}: {error}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Write, or check; 0 when all is well."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a document differs")
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="folder of bench.json")
    parser.add_argument("--readme", type=Path, default=README)
    options = parser.parse_args(arguments)
    try:
        results = read(options.results)
        if options.check:
            stale = outdated(results, options.results, options.readme)
            for path in stale:
                print(f"{path} differs from {JSON_NAME}: run python -m benchmarks.report")
            return 1 if stale else 0
        write(results, options.results, options.readme)
    except ReportError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
