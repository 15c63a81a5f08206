"""README.md beside this file: every helper has a row, and an example that uses it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROW = re.compile(r"\| `(\w+)` \| ([^|]+) \| (.+) \|")


def modules() -> dict[str, Path]:
    """The modules and packages of the folder, by name; without tests."""
    files = {path.stem: path for path in HERE.glob("*.py") if path.stem != "__init__"}
    folders = {path.parent.name: path for path in HERE.glob("*/__init__.py")}
    return {name: path for name, path in (files | folders).items() if not name.startswith("test_")}


def rows() -> dict[str, str]:
    """The examples, by the name of the module."""
    lines = [line for line in (HERE / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    found = [ROW.fullmatch(line) for line in lines[2:]]
    assert all(found), lines
    return {match[1]: match[3] for match in found if match}


def public_names(path: Path) -> set[str]:
    """What a module defines at its top level; of a package, what any of its modules does."""
    files = path.parent.glob("*.py") if path.name == "__init__.py" else [path]
    names: set[str] = set()
    for statement in (each for file in files for each in ast.parse(file.read_text(encoding="utf-8")).body):
        assigned = [*getattr(statement, "targets", ()), getattr(statement, "target", None)]
        names |= {getattr(statement, "name", "_"), *(getattr(target, "id", "_") for target in assigned)}
    return {name for name in names if not name.startswith("_")}


def test_every_helper_has_a_row_and_every_row_a_helper() -> None:
    """In the order of the alphabet."""
    assert list(rows()) == sorted(modules())


@pytest.mark.parametrize("name", sorted(modules()))
def test_an_example_uses_what_the_helper_defines(name: str) -> None:
    """Under the name that it has now."""
    example = rows()[name]
    used = set(re.findall(r"\w+", example)) & public_names(modules()[name])
    assert used or example.startswith(f"`python -m tests.support.{name} ")
