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
# A function of the C library that the program calls right before its last run and right after it, and that nothing
# calls meanwhile: callgrind then writes what it has counted since the call before, to a numbered file.
MARKER = "getppid"


class CountFailed(Exception):
    """The program or valgrind ended with an error; the message holds its last words."""


def has_valgrind() -> bool:
    """Whether anything can be counted here."""
    return shutil.which("valgrind") is not None


def rehearse(tree: Path, workload: str) -> None:
    """Run it uncounted: CountFailed if the tree cannot do it. Also leaves compiled files, so that no count compiles."""
    _run([], tree, workload)


def instructions(tree: Path, workload: str) -> int:
    """Of the last run alone: start-up, preparation and warm-up come before its first marker."""
    with tempfile.TemporaryDirectory(prefix="chuk-count-") as folder:
        output = Path(folder, "callgrind.out")
        tool = ["valgrind", "--tool=callgrind", f"--dump-before={MARKER}", f"--callgrind-out-file={output}"]
        _run(tool, tree, workload)
        return last_between_markers(output)


def last_between_markers(output: Path) -> int:
    """The total of the last numbered file beside that one, which has what came after the last marker."""
    parts = sorted(output.parent.glob(f"{output.name}.*"), key=lambda part: int(part.suffix[1:]))
    if len(parts) < 2:
        raise CountFailed(f"callgrind saw {len(parts)} calls of {MARKER}, which the program calls twice")
    found = TOTAL.search(parts[-1].read_text(encoding="utf-8", errors="replace"))
    if found is None:
        raise CountFailed("callgrind gave no total")
    return int(found[1])


def per_operation(workload: str, counted: int) -> float:
    """The instructions of a run, for each of its operations."""
    block = WORKLOADS[workload]
    return counted / (block.operations / block.repeats)


def _run(tool: list[str], tree: Path, workload: str) -> None:
    try:
        done = subprocess.run(
            [*tool, *command_of("benchmarks.count.counted", workload)],
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
