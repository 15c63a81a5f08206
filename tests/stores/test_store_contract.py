"""`StoreContract` finds what it claims to find: stores that break one promise each fail the tests that are about it.

And what an author meets before the first test runs: what is loaded, what must be installed, what a failure shows.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from tests.api.test_imports import run_python
from tests.support.broken.base import FOUND_BY
from tests.support.broken.run import CORRECT, names_of_the_contract
from tests.support.pages import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

RUN = REPOSITORY / "tests" / "support" / "broken" / "run.py"
# As in a project of others: strict mode, where what is not marked does not run; and not this project's fixtures.
SETTINGS = "[pytest]\nasyncio_mode = strict\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"


class Outcome:
    """What became of the tests of each store: names of tests by result, and the texts of their failures."""

    def __init__(self, report: Path) -> None:
        self.failed: dict[str, set[str]] = defaultdict(set)
        self.passed: dict[str, set[str]] = defaultdict(set)
        self.skipped: set[str] = set()
        self.messages: dict[tuple[str, str], str] = {}
        for case in ElementTree.parse(report).iter("testcase"):
            store = str(case.get("classname")).rsplit(".Test", 1)[-1]
            test = str(case.get("name")).split("[")[0]
            problem = case.find("failure")
            if (skipped := case.find("skipped")) is not None:
                self.skipped.add(str(skipped.get("message")))
            elif problem is None and case.find("error") is None:
                self.passed[store].add(test)
            else:
                self.failed[store].add(test)
                self.messages[store, test] = "" if problem is None else str(problem.get("message"))


def run_all(folder: Path) -> Outcome:
    """Run the tests of all these stores in a process of their own."""
    (folder / "pytest.ini").write_text(SETTINGS)
    command: list[str | Path] = [
        *(sys.executable, "-m", "pytest", "-c", folder / "pytest.ini", "--rootdir", REPOSITORY),
        *("--confcutdir", RUN.parent, "-p", "no:cacheprovider", "-q", "--tb=native"),
        *(f"--junitxml={folder / 'report.xml'}", RUN),
    ]
    # Without coverage: what these stores run is not the package's.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    run = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stdout + run.stderr
    return Outcome(folder / "report.xml")


@pytest.mark.slow
def test_every_broken_store_is_found(tmp_path: Path) -> None:
    """By each test that claims so; the stores that they are made of pass everything, in strict mode too."""
    correct = [store.__name__ for store in CORRECT]
    claims = {store.__name__: tests for store, tests in FOUND_BY.items()}
    outcome = run_all(tmp_path)

    missed = {store: left for store, tests in claims.items() if (left := set(tests) - outcome.failed[store])}
    assert missed == {}
    assert [outcome.failed[store] for store in correct] == [set()] * len(correct)
    assert set().union(*(outcome.passed[store] for store in correct)) == names_of_the_contract()
    capabilities = {f"the store is not {name}" for name in ("UserIndexed", "Renewable", "Walkable", "InProcess")}
    assert outcome.skipped == capabilities | {"the fixture make_unreadable is not given"}
    assert "assert 7 == -4" in outcome.messages["CountsByOne", "test_counting"], "a failure must show its values"


def test_every_test_of_the_contract_can_fail() -> None:
    """For each there is a store that it finds, as the run above shows."""
    assert names_of_the_contract() == {test for tests in FOUND_BY.values() for test in tests}


@pytest.mark.slow
def test_a_class_without_a_store(tmp_path: Path) -> None:
    """It is told what to write."""
    (tmp_path / "test_mine.py").write_text(
        "from chuk_sessions.testing import StoreContract\nclass TestMine(StoreContract):\n    pass\n"
    )
    (tmp_path / "pytest.ini").write_text(SETTINGS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "test_touch_interval_comes"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert "TestMine lacks the fixture open_store" in run.stdout


def test_nothing_is_loaded_before_it_is_asked_for() -> None:
    """The package never loads its part for tests, and that loads pytest for the contract alone."""
    run_python("""
import sys, chuk_sessions, chuk_sessions.stores, chuk_sessions.providers.redis, chuk_sessions.cli.main
assert "chuk_sessions.testing" not in sys.modules
from chuk_sessions.testing import Clock
clock = Clock(5)
clock.move(2.5)
assert clock() == 7.5 and repr(clock) == "Clock(7.5)"
import chuk_sessions.testing
assert not hasattr(chuk_sessions.testing, "Other")
assert "pytest" not in sys.modules
from chuk_sessions.testing import StoreContract
assert "pytest" in sys.modules
""")


@pytest.mark.parametrize("missing", ["pytest", "pytest_asyncio"])
def test_what_must_be_installed(missing: str) -> None:
    """It is named, with the command that installs it."""
    run_python(f"""
import sys
sys.modules["{missing}"] = None
try:
    from chuk_sessions.testing import StoreContract
except ImportError as error:
    assert "{missing} cannot be imported: pip install pytest pytest-asyncio" in str(error), error
else:
    raise AssertionError("no error")
""")
