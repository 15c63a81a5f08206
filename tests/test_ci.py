"""What CI calls is there, so that a renamed session is noticed before it is pushed."""

from __future__ import annotations

import re

import pytest

from benchmarks.measure.processes import ROOT

SESSION = re.compile(r"nox (?:--non-interactive )?-s ((?:[a-z]\w*(?:-\d\.\d+)? ?)+)")


def sessions_of_the_noxfile() -> set[str]:
    """By the functions that it decorates; the test sessions have a name for each Python as well."""
    text = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    named = set(re.findall(r"@nox\.session.*\ndef (\w+)\(", text))
    return named | {f"tests-{python}" for python in pythons()}


def pythons() -> set[str]:
    """Those that the package says it runs on."""
    return set(re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text(encoding="utf-8")))


def workflow() -> str:
    return (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("script", [".ci/run", ".github/workflows/ci.yml"])
def test_every_session_that_is_called_exists(script: str) -> None:
    """In the noxfile, by that name."""
    text = (ROOT / script).read_text(encoding="utf-8").replace("${{ matrix.session }}", "tests")
    called = {name for line in SESSION.findall(text) for name in line.split()}
    assert {"lint", "types", "tests", "report", "gate", "count"} <= called
    assert called <= sessions_of_the_noxfile()


def test_every_python_of_the_classifiers_is_tested() -> None:
    """By the workflow, on that Python."""
    tested = set(re.findall(r'{ python: "(\d\.\d+)", session: tests-\1 }', workflow()))
    assert tested == pythons() >= {"3.11", "3.14", "3.15"}


def test_the_workflow_and_the_script_check_the_same() -> None:
    """The test sessions of the workflow's matrix included; the weekly gate has a base of its own."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for session in ("tests-3.13", "tests_62"):
        assert f"session: {session}" in workflow()
        assert session in script
    pairs = re.findall(r"[a-z]+-server@\d\.\d+", workflow())
    assert f"nox -s newest -- {' '.join(pairs)} " in script  # of the suite, what touches the server or the Python
    # What the script leaves to the default Python the workflow runs on each of them.
    assert script.count("and not repeated") == 2
    assert "repeated" not in workflow()
    assert {pair.partition("@")[2] for pair in pairs} <= pythons()
    assert "cron:" in workflow()
    assert "git describe --tags" in workflow()
