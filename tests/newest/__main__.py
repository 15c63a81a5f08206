"""`python -m tests.newest SERVER@PYTHON ...`: the suite on each of these pairs, such as `valkey-server@3.15`.

What stands before the first pair is for pytest on each of them, what follows a pair for pytest on that one. With
`--after FILE` everything is installed, FILE.ready made, and no suite begun before FILE is there: what else the machine
has to do can be done meanwhile. Where this cannot be done, the reason goes to the file `--why-not`, and the exit status
is 0; else it is 0 if all suites pass.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.newest.distribution import Distribution, Unavailable
from tests.newest.machine import why_not
from tests.newest.namespace import end_with_the_parent, run_in_namespaces

__all__ = ["Suite", "main", "split"]

PAIRS = ("valkey-server@3.15", "redis-server@3.14")
PAIR = re.compile(r"(?:valkey|redis)-server@3\.\d+")


class Suite(NamedTuple):
    """A server, which is the name of its package and of its program, the version of Python, and what pytest is told."""

    server: str
    python: str
    arguments: Sequence[str]

    @property
    def pair(self) -> str:
        """As it is written on the command line."""
        return f"{self.server}@{self.python}"


def split(arguments: Sequence[str]) -> list[Suite]:
    """The suites that the arguments ask for; without a pair, those on the pairs that CI takes."""
    places = [place for place, argument in enumerate(arguments) if PAIR.fullmatch(argument)]
    if not places:
        return [suite_on(pair, arguments) for pair in PAIRS]
    for_all = arguments[: places[0]]
    ends = [*places[1:], len(arguments)]
    return [
        suite_on(arguments[place], [*for_all, *arguments[place + 1 : end]])
        for place, end in zip(places, ends, strict=True)
    ]


def suite_on(pair: str, arguments: Sequence[str]) -> Suite:
    """The suite on that pair, with those arguments."""
    server, _, python = pair.partition("@")
    return Suite(server, python, list(arguments))


def run_suites(folder: Path, suites: Sequence[Suite], after: Path | None = None) -> int:
    """Install the distribution there and run the suites, all of them even if one fails."""
    say("debootstrap unstable, with " + ", ".join(f"{suite.server} and Python {suite.python}" for suite in suites))
    distribution = Distribution(folder)
    distribution.install([suite.server for suite in suites], [suite.python for suite in suites])
    failed = [suite.pair for suite in suites if not distribution.prepare(suite.python)]
    if after is not None:
        wait_for(after)
    for suite in suites:
        say(f"the suite on {suite.server} and Python {suite.python}")
        distribution.run([suite.server, "--version"])
        if suite.pair not in failed and distribution.run_suite(*suite):
            failed.append(suite.pair)
    if failed:
        say(f"failed: {', '.join(failed)}")
    return bool(failed)


def wait_for(file: Path) -> None:
    """Say that all is ready, and wait."""
    Path(f"{file}.ready").touch()
    while not file.exists():
        time.sleep(0.2)


def say(text: str) -> None:
    """Print a headline."""
    print(f"\n==> {text}", flush=True)


def main(arguments: Sequence[str]) -> int:
    """Ask the machine, then call this program again in namespaces of its own."""
    parser = argparse.ArgumentParser(prog="python -m tests.newest", allow_abbrev=False)
    parser.add_argument("--why-not", type=Path, metavar="FILE", required=True, help="where the reason goes")
    parser.add_argument("--after", type=Path, metavar="FILE", help="begin the suites when that file is there")
    parser.add_argument("--inside", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    options, rest = parser.parse_known_args(arguments)
    reason = None
    if options.inside:
        try:
            return run_suites(options.inside, split(rest), options.after)
        except Unavailable as exc:
            reason = f"Debian's unstable distribution cannot be installed now: {exc}"
    else:
        reason = why_not()
    if reason is not None:
        options.why_not.write_text(reason, encoding="utf-8")
        return 0
    end_with_the_parent()
    with tempfile.TemporaryDirectory(prefix="chuk-newest-") as folder:
        return run_in_namespaces([sys.executable, "-m", "tests.newest", "--inside", folder, *arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
