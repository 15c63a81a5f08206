"""Counting the instructions of a workload on a tree."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from benchmarks.measure.processes import ROOT, command_of, environment_on
from benchmarks.workloads.registry import WORKLOADS

TOTAL = re.compile(r"^(?:summary|totals): (\d+)", re.MULTILINE)
SECONDS = 600.0
# Of one length, as are the folders of the trees: what lies before the stack moves the stack, and with it what start-up
# copies. That was worth 8 % of a count (measured).
ARGUMENT = {"with": "with_run", "without": "no_run__"}


class CountFailed(Exception):
    """The program or valgrind ended with an error; the message holds its last words."""


def has_valgrind() -> bool:
    """Whether anything can be counted here."""
    return shutil.which("valgrind") is not None


def rehearse(tree: Path, workload: str) -> None:
    """Run it uncounted: CountFailed if the tree cannot do it. Also leaves compiled files, so that no count compiles."""
    _run([], tree, workload, "with")


def instructions(tree: Path, workload: str, which: str) -> int:
    """Of the whole program, with or without the last run."""
    with tempfile.TemporaryDirectory(prefix="chuk-count-") as folder:
        output = Path(folder, "callgrind.out")
        _run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={output}"], tree, workload, which)
        found = TOTAL.search(output.read_text(encoding="utf-8", errors="replace"))
    if found is None:
        raise CountFailed("callgrind gave no total")
    return int(found[1])


def per_operation(workload: str, without: int, with_run: int) -> float:
    """The difference of the two points, for each operation of the run."""
    block = WORKLOADS[workload]
    return (with_run - without) / (block.operations / block.repeats)


def _run(tool: list[str], tree: Path, workload: str, which: str) -> None:
    try:
        done = subprocess.run(
            [*tool, *command_of("benchmarks.count.counted", workload, ARGUMENT[which])],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env=environment_on(tree, hash_seed=0),
            cwd=ROOT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CountFailed(f"{workload} was not done within {SECONDS:.0f} s") from error
    if done.returncode:
        raise CountFailed((done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1])
