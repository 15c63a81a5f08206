"""`python -m tests.compat NAME=PYTHON ...`: run the table in each environment and compare with the last of them.

Then sessions that the others stored are taken over. With `--write` the table in docs/upgrade/differences.md is made
anew; without, an old one is a failure too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from tests.compat.report import Outcomes, columns, problems, read_differences, table_of, with_table
from tests.compat.rollover import roll_over
from tests.compat.rows import ROWS
from tests.support.servers import RedisServer

ROOT = Path(__file__).parents[2]
PROBE = Path(__file__).with_name("probe.py")
PAGE = ROOT / "docs" / "upgrade" / "differences.md"
SECONDS = 120.0


def probe(python: str, url: str | None) -> dict[str, str]:
    """The outcomes of all rows in the environment of that Python."""
    command = [python, str(PROBE), *([url] if url else [])]
    result = subprocess.run(
        command, input=json.dumps(ROWS), capture_output=True, text=True, timeout=SECONDS, check=False
    )
    if result.returncode:
        raise SystemExit(f"{' '.join(command[:2])} failed:\n{result.stderr}")
    outcomes: dict[str, str] = json.loads(result.stdout)
    return outcomes


def measure(python: str) -> Outcomes:
    """On memory, and on a server of its own."""
    with RedisServer() as server:
        return {"memory": probe(python, None), "redis": probe(python, server.url)}


def roll_all_over(pythons: dict[str, str]) -> list[str]:
    """What goes wrong with sessions of the published versions."""
    with RedisServer() as server:
        return [line for name, python in pythons.items() for line in roll_over(name, python, server)]


def check_page(write: bool) -> list[str]:
    """Make the table of the page anew, or say that it has to be."""
    old = PAGE.read_text()
    new = with_table(old, table_of(read_differences()))
    if write:
        PAGE.write_text(new)
    if write or new == old:
        return []
    return [f"{PAGE.name} does not have the table of differences.toml: nox -s compat -- --write"]


def main() -> int:
    """Print the columns, then what is wrong; 1 if anything is."""
    parser = argparse.ArgumentParser(prog="python -m tests.compat", description=__doc__)
    parser.add_argument("environments", nargs="+", metavar="NAME=PYTHON")
    parser.add_argument("--write", action="store_true", help="write the table in docs/upgrade/differences.md")
    options = parser.parse_args()
    pythons = dict(text.split("=", 1) for text in options.environments)
    versions = {name: measure(python) for name, python in pythons.items()}
    ours = list(pythons)[-1]
    differences = read_differences()
    print(columns(versions))
    found = problems(versions, ours, differences) + check_page(options.write)
    found += roll_all_over({name: python for name, python in pythons.items() if name != ours})
    listed = sum(len(entry.rows) for entry in differences)
    print(
        f"\n{len(ROWS)} rows in {len(versions)} versions, on memory and on Redis: {listed} differ, all listed", end=""
    )
    print(f" except for:\n{chr(10).join(found)}" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
