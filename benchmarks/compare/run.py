"""Letting the sides of every contest take turns, each in a fresh process of its own environment."""

from __future__ import annotations

import csv
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.compare.sides import TOOL, Contest
from benchmarks.measure.placement import Placement, placed, possible
from benchmarks.measure.processes import WorkerFailed, ask_for_blocks, interpreter, turns
from benchmarks.measure.scale import Scale
from benchmarks.program import say
from benchmarks.workloads.bodies import TTL
from benchmarks.workloads.registry import VALUE, WORKLOADS

TOOL_REQUESTS = {True: 5_000, False: 100_000}
PIPELINED = 16
TOOL_KEY = "bench:000:000000"
TOOL_SECONDS = 300.0


def play(
    contests: Sequence[Contest],
    pythons: Mapping[tuple[str, ...], str],
    urls: Mapping[str, str],
    scale: Scale,
    placement: Placement,
) -> list[dict[str, Any]]:
    """What each side did in each contest: its versions, and blocks in nanoseconds per operation for every process.

    Every other launch goes through the contests backwards. A side that fails has its error, and is not tried again.
    What is at scale has the number of slow launches: one block of it is 100,000 calls.
    """
    found: list[dict[str, Any]] = [
        {"workload": one.workload, "loop": one.loop, "side": one.side.name, "versions": {}, "processes": []}
        for one in contests
    ]
    order = list(zip(contests, found, strict=True))
    for launch, number, (contest, entry) in turns(scale.launches, order):
        say(
            f"launch {launch} of {scale.launches}, {number} of {len(order)}: "
            f"{contest.workload} on {contest.loop}, {contest.side.name}"
        )
        launches = scale.slow_launches if WORKLOADS[contest.workload].shuffled else scale.launches
        if "error" not in entry and launch <= launches:
            _launch(contest, entry, pythons, urls, scale, placement)
    return found


def _launch(
    contest: Contest,
    entry: dict[str, Any],
    pythons: Mapping[tuple[str, ...], str],
    urls: Mapping[str, str],
    scale: Scale,
    placement: Placement,
) -> None:
    try:
        python = interpreter(contest.side.requirements, pythons)
        if contest.side.adapter == TOOL:
            reply = redis_benchmark(contest, urls, placement, quick=scale.launches == 1)
        else:
            reply = _worker(contest, python, urls, scale, placement)
    except WorkerFailed as error:
        entry["error"] = short(str(error))
        return
    entry["versions"] = reply["versions"]
    entry["processes"].append(reply["answer"])


def _worker(
    contest: Contest, python: str | None, urls: Mapping[str, str], scale: Scale, placement: Placement
) -> dict[str, Any]:
    workload = contest.side.workload or contest.workload
    reply = ask_for_blocks(
        scale,
        python,
        library=contest.side.adapter,
        workloads=[workload],
        loop=contest.loop,
        urls=dict(urls),
        placement="free" if WORKLOADS[contest.workload].in_memory else possible(placement),
    )
    _must_be_the_right_one(contest, reply["versions"])
    return {"versions": reply["versions"], "answer": reply["answer"][workload]}


def _must_be_the_right_one(contest: Contest, versions: Mapping[str, str]) -> None:
    """An environment of a release must not have found this checkout."""
    wanted = [line for line in contest.side.requirements if line.startswith("chuk-sessions") and "==" in line]
    if wanted and versions.get("chuk-sessions") != wanted[0].split("==")[1]:
        raise WorkerFailed(f"the wrong environment: it has {versions}")


def redis_benchmark(contest: Contest, urls: Mapping[str, str], placement: Placement, quick: bool) -> dict[str, Any]:
    """The server's own load generator, in C, with as many connections as there are callers.

    It is given the commands as words: its tests of the names GET and SET read a key that is not there and store
    without a lifetime.
    """
    program = shutil.which(TOOL)
    command = _commands().get(contest.workload.split(".")[1])
    if program is None or command is None:
        raise WorkerFailed(f"{TOOL} is not here" if program is None else f"{TOOL} has no such test")
    workload = WORKLOADS[contest.workload]
    url = urlsplit(urls[workload.kind])
    server = ["-h", str(url.hostname), "-p", str(url.port), "--dbnum", url.path.strip("/") or "0"]
    many = ["-c", str(workload.callers), "-n", str(TOOL_REQUESTS[quick])]
    many += ["-P", str(PIPELINED)] if "pipeline" in contest.side.name else []
    with placed(possible(placement)):
        _run(program, *server, "-c", "1", "-n", "1", "--csv", *_commands()["set-over"])  # so that it is there
        printed = _run(program, *server, *many, "--csv", *command)
        _run(program, *server, "-c", "1", "-n", "1", "--csv", "DEL", TOOL_KEY)
    return {"versions": {TOOL: _version(program)}, "answer": [1e9 / per_second(printed, command[0])]}


def _commands() -> dict[str, list[str]]:
    """What it can do as often as it likes, with the value and the lifetime of all others."""
    return {"get": ["GET", TOOL_KEY], "set-over": ["SET", TOOL_KEY, VALUE, "EX", str(TTL)]}


def _run(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=TOOL_SECONDS, check=False).stdout
    except subprocess.TimeoutExpired as error:
        raise WorkerFailed(f"not done within {TOOL_SECONDS:.0f} s") from error


def per_second(text: str, command: str) -> float:
    """Requests a second in its CSV, where each row begins with the words of a command; WorkerFailed if it has none."""
    for row in csv.reader(text.splitlines()):
        if row and row[0].split()[0] == command:
            return float(row[1])
    raise WorkerFailed(f"{TOOL} said {text[:80]!r}")


def _version(program: str) -> str:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.split()[1] if len(done.stdout.split()) > 1 else "unknown"


def short(error: str) -> str:
    """The last line of a traceback, without the module of the exception."""
    last = (error.strip().splitlines() or ["failed"])[-1]
    name, colon, text = last.partition(": ")
    if not all(part.isidentifier() for part in name.split(".")):
        return last  # words of ours, no exception
    kind = name.rsplit(".", 1)[-1]
    return text if kind == "CannotDo" else f"{kind}{colon}{text}"


def python_of(folder: Path) -> str:
    """The interpreter of a virtual environment."""
    windows = folder / "Scripts" / "python.exe"
    return str(windows if windows.exists() else folder / "bin" / "python")
