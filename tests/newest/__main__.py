"""`python -m tests.newest SERVER@PYTHON ...`: the suite on each of these pairs, such as `valkey-server@3.15`.

What is no pair is an argument for pytest. With `--after FILE` everything is installed, FILE.ready made, and no suite
begun before FILE is there: what else the machine has to do can be done meanwhile. Where this cannot be done, the reason
goes to the file `--why-not`, and the exit status is 0; else it is 0 if all suites pass.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.newest.distribution import Distribution, Unavailable
from tests.newest.machine import why_not
from tests.newest.namespace import end_with_the_parent, run_in_namespaces

__all__ = ["main", "split"]

PAIRS = ("valkey-server@3.15", "redis-server@3.14")
PAIR = re.compile(r"(?:valkey|redis)-server@3\.\d+")


def split(arguments: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """The pairs of server and Python, or those that CI takes, and what is for pytest."""
    pairs = [argument for argument in arguments if PAIR.fullmatch(argument)]
    others = [argument for argument in arguments if argument not in pairs]
    return [split_pair(pair) for pair in pairs or PAIRS], others


def split_pair(pair: str) -> tuple[str, str]:
    """The package and program of the server, and the version of Python."""
    server, _, python = pair.partition("@")
    return server, python


def run_suites(
    folder: Path, pairs: Sequence[tuple[str, str]], arguments: Sequence[str], after: Path | None = None
) -> int:
    """Install the distribution there and run the suites, all of them even if one fails."""
    say("debootstrap unstable, with " + ", ".join(f"{server} and Python {python}" for server, python in pairs))
    distribution = Distribution(folder)
    distribution.install([server for server, _ in pairs], [python for _, python in pairs])
    failed = [f"{server}@{python}" for server, python in pairs if not distribution.prepare(python)]
    if after is not None:
        wait_for(after)
    for server, python in pairs:
        say(f"the suite on {server} and Python {python}")
        distribution.run([server, "--version"])
        pair = f"{server}@{python}"
        if pair not in failed and distribution.run_suite(server, python, arguments):
            failed.append(pair)
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
            return run_suites(options.inside, *split(rest), options.after)
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
