"""The README is one screen, and what it says can be done."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.support.pages import README, REPOSITORY, page


def nox_sessions() -> set[str]:
    command = [sys.executable, "-m", "nox", "--list", "--noxfile", str(REPOSITORY / "noxfile.py")]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True)
    return set(re.findall(r"^[*-] (\S+)", listed.stdout, flags=re.MULTILINE))


def test_first_screen_has_the_two_commands() -> None:
    """One block near the top, two lines: the benchmarks and the tests, each with what a fresh machine needs."""
    first = README.blocks("bash")[0]
    assert first.text.splitlines() == ["pip install nox && nox -s bench", "pip install nox && nox -s tests"]
    assert first.line < 20


def test_it_is_one_screen() -> None:
    """What is longer belongs into docs/."""
    assert len(README.text().splitlines()) <= 200


def test_all_nox_commands_exist() -> None:
    """And each has its row in the table of CONTRIBUTING.md; `nox` alone runs `quick`."""
    rows = " ".join(row[0] for row in page("CONTRIBUTING.md").table("The sessions of nox"))
    missing = {name for name in nox_sessions() if not re.search(rf"\b{name.partition('-')[0]}\b", rows)}
    assert missing <= {"quick"}
    mentioned = re.findall(r"nox -s ([\w.-]+(?: \w+)*)", README.text() + page("CONTRIBUTING.md").text())
    names = {name for group in mentioned for name in group.split()}
    assert {"bench", "tests"} <= names <= nox_sessions()
