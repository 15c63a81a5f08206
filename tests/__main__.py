"""`python -m tests`: the whole suite as CI runs it; what is given is for pytest, such as `--redis --cov`.

First the tests marked `alone`, one after another; then all others side by side, each worker with servers of its own.
With `--cov` two parts come between, without it, as tracing doubles their time: the tests marked `tools`, which do not
run the package, and those marked `repeated`, which run the same lines on one more store. All parts are run, whatever
one of them finds. The coverage at the end, and the gate on it, is of all the others.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["TOOLS", "main", "parts"]

NO_TESTS = 5  # the exit status of pytest that has found none
# Three workers for each core, as tests wait as much as they compute; at most eight: each may start two dozen servers.
WORKERS = ("-n", str(min(8, 3 * (os.cpu_count() or 1))), "--dist", "worksteal")
HERE = Path(__file__).parent
TOOLS = ("bench", "docs", "newest", "package", "support", "test_ci.py", "test_main.py")  # marked `tools`


def parts(arguments: Sequence[str]) -> list[list[str]]:
    """The arguments of pytest for each of its runs. `-m` chooses among the tests of both."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-m", dest="chosen")
    known, others = parser.parse_known_args(arguments)
    also = f" and ({known.chosen})" if known.chosen else ""
    options = {argument.partition("=")[0] for argument in others}
    workers = [] if "--redis-url" in options else WORKERS  # a given server has one database for all tests
    if "--cov" not in options:
        return [[*others, "-m", f"alone{also}"], [*others, "-m", f"not alone{also}", *workers]]
    plain = [argument for argument in others if not argument.startswith("--cov")]
    return [
        [*others, "-m", f"alone{also}", "--cov-report=", "--cov-fail-under=0"],
        [*plain, "-m", f"not alone and tools{also}", *workers, *(str(HERE / each) for each in TOOLS)],
        [*plain, "-m", f"not alone and not tools and repeated{also}", *workers],
        [*others, "-m", f"not alone and not tools and not repeated{also}", *workers, "--cov-append"],
    ]


def main(arguments: Sequence[str]) -> int:
    """Run all parts; 0 if all tests pass. A choice of tests may leave a part without any."""
    command = [sys.executable, "-m", "pytest"]
    statuses = {subprocess.run([*command, *part], check=False).returncode for part in parts(arguments)}
    return int(bool(statuses - {0, NO_TESTS}) or statuses == {NO_TESTS})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
