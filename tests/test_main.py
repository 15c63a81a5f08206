"""`python -m tests`: what is alone is alone, every test runs once, and no failure is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.__main__ import parts

REPOSITORY = Path(__file__).parents[1]

# Each test writes down which worker it ran on.
SUITE = """
import os, pytest

@pytest.fixture(autouse=True)
def diary(request):
    with open("diary", "a") as diary:
        diary.write(f"{request.node.name} {os.environ.get('PYTEST_XDIST_WORKER')}\\n")

@pytest.mark.alone
@pytest.mark.parametrize("n", range(3))
def test_alone(n):
    assert "alone" not in FAILING

@pytest.mark.parametrize("n", range(5))
def test_other(n):
    assert "other" not in FAILING
"""


@pytest.mark.slow
@pytest.mark.parametrize("failing", ["", "alone", "other"])
def test_both_parts_run_whatever_the_first_finds(tmp_path: Path, failing: str) -> None:
    """First the tests that are alone, in no worker; the exit status is that of the worse part."""
    (tmp_path / "test_some.py").write_text(f"FAILING = {failing!r}\n{SUITE}")
    options = ["-c", str(REPOSITORY / "pyproject.toml"), "--rootdir", str(tmp_path), "-p", "no:cacheprovider", "-q"]
    plugins = ["-p", "xdist.plugin", "-p", "pytest_asyncio.plugin"]  # those of the settings: each worker loads all
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    done = subprocess.run(
        [sys.executable, "-m", "tests", *options, *plugins, str(tmp_path)],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == bool(failing), done.stdout + done.stderr
    diary = [line.split() for line in (tmp_path / "diary").read_text().splitlines()]
    assert diary[:3] == [[f"test_alone[{n}]", "None"] for n in range(3)]
    assert sorted(name for name, _ in diary[3:]) == [f"test_other[{n}]" for n in range(5)]
    assert all(worker.startswith("gw") for _, worker in diary[3:])


def test_the_coverage_at_the_end_is_of_what_is_traced() -> None:
    """The first part only collects, and so cannot fail the gate; tools and repeated tests are not traced."""
    first, tools, repeated, last = parts(["--redis", "--cov"])
    assert {"--cov-report=", "--cov-fail-under=0"} <= set(first)
    assert tools[:3] == ["--redis", "-m", "not alone and tools"]
    assert repeated[:3] == ["--redis", "-m", "not alone and not tools and repeated"]
    assert last[:4] == ["--redis", "--cov", "-m", "not alone and not tools and not repeated"]
    assert "--cov-append" in last
    untraced = (*parts(["--redis"]), tools, repeated)
    assert not any(argument.startswith("--cov") for part in untraced for argument in part)


def test_a_choice_is_made_among_the_tests_of_both_parts() -> None:
    """By pytest's own option."""
    first, second = parts(["--redis", "-m", "redis or faults"])
    assert first == ["--redis", "-m", "alone and (redis or faults)"]
    assert second[:3] == ["--redis", "-m", "not alone and (redis or faults)"]


@pytest.mark.slow
def test_a_given_server_has_one_database_for_all_tests() -> None:
    """So they take turns, and pytest refuses workers."""
    url = "--redis-url=redis://localhost:1/0"
    assert not any("-n" in part for part in parts([url]))
    command = [sys.executable, "-m", "pytest", "-n", "2", url, "--collect-only", "-q", "tests/test_ci.py"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "leave -n out" in done.stderr
