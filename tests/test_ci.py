"""What CI calls is there, so that a renamed session is noticed before it is pushed."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from benchmarks.measure.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path

NOXFILE = (ROOT / "noxfile.py").read_text(encoding="utf-8")
SESSION = re.compile(r"nox (?:--non-interactive )?-s ((?:[a-z]\w*(?:-\d\.\d+)? ?)+)")


def sessions_of_the_noxfile() -> set[str]:
    """By the functions that it decorates; the test sessions have a name for each Python as well."""
    named = set(re.findall(r"@nox\.session.*\ndef (\w+)\(", NOXFILE))
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
    for session in ("tests", "tests-3.13", "tests_62"):
        assert f"session: {session} }}" in workflow()
        assert session in script
    pairs = re.findall(r"[a-z]+-server@\d\.\d+", workflow())
    assert re.findall(r"^ +(\w+-server@\d\.\d+)", script, re.MULTILINE) == pairs
    touching = re.search(rf'{pairs[0]} -m "\$elsewhere"[ \\\n]*((?:tests/\w+[ \\\n]*)+)', script)
    assert touching is not None  # of the suite, what touches the server or the Python
    folders = re.findall(r"tests/\w+", touching[1])
    assert {"tests/redis", "tests/client", "tests/near", "tests/sealed"} <= set(folders)
    assert all((ROOT / folder).is_dir() for folder in folders)
    # What the script leaves to the default Python the workflow runs on each of them.
    assert script.count("and not repeated") == 1
    assert "repeated" not in workflow()
    assert {pair.partition("@")[2] for pair in pairs} <= pythons()
    assert "cron:" in workflow()
    assert "git describe --tags" in workflow()


@pytest.mark.parametrize("installed", [True, False])
def test_coverage_is_taken_once(tmp_path: Path, installed: bool) -> None:
    """By the whole suite on Python 3.14, where that was installed, else on the default one; then 3.13 runs all too."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.search(r'redis-server@3\.14 -m "\$elsewhere" --cov\n', script)
    assert '--after "$work/go"' in script  # FILE.ready says that all is installed
    (choice,) = re.findall(r"^elsewhere=.*\n", script, re.MULTILINE)
    (ready,) = re.findall(r"^newest=\n(?:.*\n)+?nox -s tests .*\n", script, re.MULTILINE)
    (newer,) = re.findall(r"on_newer -s tests-3\.13 -- .*\n", script)
    if installed:
        (tmp_path / "go.ready").touch()
    print_arguments = 'say() { :; }; nox() { printf "%s|" "$@"; echo; }; on_newer() { nox "$@"; }\n'
    lines = f"set -eu; work=$0\n{print_arguments}{choice}{ready}{newer}"
    done = subprocess.run(["bash", "-c", lines, tmp_path], capture_output=True, text=True, check=True, timeout=30)
    tests, others = done.stdout.splitlines()
    assert tests == ("-s|tests|--|--no-cov|" if installed else "-s|tests|")
    all_others = "-m|not alone and not tools and not repeated"
    assert others.endswith(f"{all_others} and redis|" if installed else f"{all_others}|")


def test_all_faults_are_run_and_what_they_need_is_installed_before_them() -> None:
    """A Prometheus, whose tests would be skipped without a word of it; uWSGI comes with the packages of the tests."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert 0 < script.index("apt_install prometheus") < script.index("nox -s faults -- ")
    assert re.findall(r"^begin .* nox -s faults -- (.*)$", script, re.MULTILINE) == [
        '-m "faults and not alone"',
        '-m "faults and alone"',
    ]
    (job,) = [each for each in workflow().split("\n\n") if "-s faults" in each]
    assert 0 < job.index("redis-server prometheus\n") < job.index("-s faults")
    assert "pyuwsgi" in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r"^def faults\(.*\n.*\n +session\.run\(install_dev\(session\)", NOXFILE, re.MULTILINE)


APT_GET = """#!/bin/sh
case "$1" in update | install) ;; *) exit 1 ;; esac
status=0
"$POLICY" || status=$?
echo "$1 $status" >>"$TOLD"
"""


def test_an_installed_service_does_not_start(tmp_path: Path) -> None:
    """Whenever the script calls apt-get, the policy for services is there and forbids it; lists are fetched once.

    The end removes a policy that was made in the background too.
    """
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (ending,) = re.findall(r"^remove_policy\(\) .*\n", script, re.MULTILINE)
    (function,) = re.findall(r"^apt_install\(\) \{\n.*?^\}\n", script, re.MULTILINE | re.DOTALL)
    assert re.findall(r"apt-get \w", script) == re.findall(r"apt-get \w", function)
    program, told = tmp_path / "apt-get", tmp_path / "told"
    program.write_text(APT_GET, encoding="utf-8")
    program.chmod(0o755)
    begin = "set -eu; say() { :; }; policy=$POLICY made_policy=$POLICY.made updated=\n"
    lines = f"{begin}{function}{ending}(apt_install one; apt_install two)\nremove_policy\n"
    variables = {"PATH": f"{tmp_path}:{os.defpath}", "POLICY": str(tmp_path / "policy"), "TOLD": str(told)}
    subprocess.run(["bash", "-c", lines], env=variables, check=True, timeout=30)
    assert told.read_text(encoding="utf-8").splitlines() == ["update 101", "install 101", "install 101"]
    assert not list(tmp_path.glob("policy*"))
