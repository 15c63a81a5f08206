"""What the gate and the counts share: a base to compare with, both versions side by side, and findings to write."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.measure.environment import environment
from benchmarks.measure.processes import SCRATCH
from benchmarks.measure.trees import NothingBefore, Trees, choose_base, side_by_side
from benchmarks.pages.results_file import dumped


def parser_of(name: str, about: str | None) -> argparse.ArgumentParser:
    """The options that both have."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=about)
    parser.add_argument("--base", metavar="REV", help="default: where this line of work left main, else HEAD^")
    parser.add_argument("--even-if-same", action="store_true", help="go on, though the package did not change")
    parser.add_argument(
        "--out", type=Path, default=SCRATCH / name, metavar="FOLDER", help="where the findings are written"
    )
    return parser


def on_trees(options: argparse.Namespace, compare: Callable[[Trees], int], head: str | None = None) -> int:
    """The exit code of ``compare`` on both versions; 0 if they are the same."""
    with side_by_side(choose_base(options.base), head) as trees:
        print(f"base {trees.base_name}, head {trees.head_name}", flush=True)
        if trees.same and not options.even_if_same:
            print("The package is the same in both: nothing to measure.")
            return 0
        return compare(trees)


def exit_code_of(run: Callable[[], int], failures: tuple[type[Exception], ...], cannot: str) -> int:
    """That of ``run``; 0 if there is no earlier commit, 2 and a message if it raises a failure."""
    try:
        return run()
    except NothingBefore as error:
        print(f"nothing to compare with: {error}")
        return 0
    except failures as error:
        print(f"{cannot}: {error.args[0] if error.args else error}", file=sys.stderr)
        return 2


def write(name: str, schema: int, trees: Trees, text: str, folder: Path, found: Mapping[str, Any]) -> None:
    """The findings, for a machine and for a reader."""
    folder.mkdir(parents=True, exist_ok=True)
    head = {"schema": schema, "base": trees.base_name, "head": trees.head_name, "environment": environment()}
    (folder / f"{name}.json").write_text(dumped(head | dict(found)), encoding="utf-8")
    (folder / f"{name}.md").write_text(f"# {name.capitalize()}\n\n{text}\n", encoding="utf-8")
