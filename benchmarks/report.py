"""From ``results/*.json`` to pages and plots beside them, and to tables of docs/ and of the README.

``python -m benchmarks.report`` writes them all; with ``--check`` it writes nothing and fails if one differs from the
JSON that it is made of, or is made of none.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.bench import capacity
from benchmarks.bench.speed_table import in_six_rows
from benchmarks.measure.processes import RESULTS, ROOT
from benchmarks.pages.markdown import MarkersMissing, between_markers
from benchmarks.pages.publications import PUBLICATIONS, publication
from benchmarks.pages.results_file import ReportError, read

README = ROOT / "README.md"
PERFORMANCE = ROOT / "docs" / "performance.md"
CAPACITY = ROOT / "docs" / "operate" / "capacity.md"


def found_in(folder: Path) -> dict[str, dict[str, Any]]:
    """The results that are there, by name; those of the published tables have to be."""
    needed = folder / publication("bench").json_name
    if not needed.exists():
        raise ReportError(f"{needed} is missing: run nox -s bench first")
    return {
        kind.name: read(folder / kind.json_name, kind.schemas)
        for kind in PUBLICATIONS
        if (folder / kind.json_name).exists()
    }


def documents(folder: Path, performance: Path, capacities: Path, readme: Path) -> dict[Path, str]:
    """Every document and what it has to say."""
    results = found_in(folder)
    wanted = {
        folder / name: text
        for kind in PUBLICATIONS
        if kind.name in results
        for name, text in kind.documents(results[kind.name]).items()
    }
    parts = {kind.name: kind.part(results.get(kind.name)) for kind in PUBLICATIONS if kind.in_short is not None}
    wanted[performance] = filled(performance, parts)
    wanted[capacities] = filled(capacities, {"capacity": capacity.text(results["bench"], results.get("compare"))})
    wanted[readme] = filled(readme, {"speed": in_six_rows(results["bench"])})
    return wanted


def filled(page: Path, parts: dict[str, str]) -> str:
    """The page with each part between the markers of its name."""
    content = page.read_text(encoding="utf-8")
    for name, text in parts.items():
        try:
            content = between_markers(content, text, name)
        except MarkersMissing as error:
            raise ReportError(f"{page}: {error}") from error
    return content


def outdated(wanted: dict[Path, str]) -> list[Path]:
    """The documents that do not say it."""
    return [path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text]


def left_over(wanted: dict[Path, str], folder: Path) -> list[Path]:
    """Pages and plots that no results say any more."""
    made = sorted(path for suffix in ("md", "svg") for path in folder.glob(f"*.{suffix}"))
    return [path for path in made if path not in wanted]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write, or check; 0 when all is well."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a document differs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--performance", type=Path, default=PERFORMANCE, help="the page of performance")
    parser.add_argument("--capacity", type=Path, default=CAPACITY, help="the page of capacity")
    parser.add_argument("--readme", type=Path, default=README)
    options = parser.parse_args(arguments)
    try:
        wanted = documents(options.results, options.performance, options.capacity, options.readme)
    except ReportError as error:
        print(error, file=sys.stderr)
        return 2
    stale = outdated(wanted)
    for path in stale:
        if options.check:
            print(f"{path} differs from the results: run nox -s report")
        else:
            path.write_text(wanted[path], encoding="utf-8")
            print(f"{path} written")
    unfounded = left_over(wanted, options.results)
    for path in unfounded:
        print(f"{path} is made of no results that are here: run its session again, or remove it")
    return 1 if (stale or unfounded) and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
