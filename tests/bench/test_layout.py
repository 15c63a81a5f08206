"""What the README of the benchmarks says is where is there, and what a worker may import is all that it imports."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter

import pytest

from benchmarks.compare.sides import SIDES
from benchmarks.measure.processes import ROOT, command_of
from benchmarks.worker import LIBRARIES

FOLDER = ROOT / "benchmarks"
README = (FOLDER / "README.md").read_text(encoding="utf-8")


def listed() -> Counter[str]:
    """The files in the first columns of the tables, under the folder of their heading."""
    found: Counter[str] = Counter()
    for section in re.split(r"^### ", README, flags=re.MULTILINE)[1:]:
        heading = re.match(r"`(\w+)/`\n", section)
        assert heading, section[:40]
        folder = "" if heading[1] == "benchmarks" else f"{heading[1]}/"
        first_columns = re.findall(r"^\| (`[^|]+)", section, flags=re.MULTILINE)
        found.update(folder + name for cell in first_columns for name in re.findall(r"`([^`]+)`", cell))
    return found


def test_the_readme_lists_every_file_once() -> None:
    """A new file has a line there; one that is gone has none."""
    files = {str(path.relative_to(FOLDER).as_posix()) for path in FOLDER.rglob("*.py") if path.name != "__init__.py"}
    assert sorted(listed().elements()) == sorted(files)


def test_what_the_readme_names_is_there() -> None:
    """The files that the instructions name, and the tables in them to which a line is added."""
    paths = {path for path in re.findall(r"`([\w/]+\.py)`", README) if "/" in path}
    assert len(paths) > 10
    assert [path for path in paths if not (FOLDER / path).exists()] == []
    tables = re.findall(r"`([A-Z]+)`(?: or `[A-Z]+`)? (?:of|in)\s+`([\w/]+\.py)`", README)
    assert {"SIDES", "FAMILIES", "GOALS", "PUBLICATIONS", "LIBRARIES"} <= {name for name, _ in tables}
    for name, path in tables:
        assert re.search(rf"^{name}\b.* = ", (FOLDER / path).read_text(encoding="utf-8"), re.MULTILINE), (name, path)


def test_every_session_of_a_program_is_named_with_its_folder() -> None:
    """The programs are the folders that can be run."""
    programs = {path.parent.name for path in FOLDER.glob("*/__main__.py")}
    assert set(re.findall(r"^\| `nox -s (\w+)` +\| `\1/`", README, flags=re.MULTILINE)) == programs


def test_a_worker_reports_the_version_of_every_library_that_is_compared() -> None:
    """Else its figures are of nobody knows what."""
    required = {re.split(r"[\[=]", line)[0] for side in SIDES.values() for line in side.requirements}
    assert required <= set(LIBRARIES)


@pytest.mark.parametrize(
    "module",
    ["worker", "gate.driven", "bench.driven", "count.counted", "compare.sides", "report"],
)
def test_the_standard_library_is_enough(module: str) -> None:
    """A worker starts in an environment that holds only the library under test, on any version of the package.

    nox asks ``compare.sides`` what to install before it has installed anything, and installs little for ``report``.
    """
    names = "{name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)"
    before, after = f"import sys; before = {names}; ", f"import benchmarks.{module}; print(*sorted({names} - before))"
    *command, _, root = command_of(f"benchmarks.{module}")
    boot = f"import sys; sys.path.append(sys.argv[1]); {before}{after}"
    done = subprocess.run([*command, boot, root], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["benchmarks"]
    assert command[0] == sys.executable
