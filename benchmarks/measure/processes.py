"""Starting workers, each side of a comparison in an environment of its own."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.measure.scale import Scale

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"
SCRATCH = ROOT / ".benchmarks"  # what is not published
SECONDS = 300.0
# -P and the root at the end of the path: a chuk_sessions installed in the worker's environment comes before ours.
BOOT = "import sys; sys.path.append(sys.argv[1]); from {} import main; main()"
SERVERS = "CHUK_TEST_REDIS_SERVER"  # names the server to start, and is nothing to the package
OURS_TO_SET = ("CHUK_", "SESSION_", "REDIS_", "PYTHONPATH", "PYTHONHASHSEED", "PYTHONSTARTUP", "COVERAGE_")


class WorkerFailed(Exception):
    """A worker ended with an error; the message holds its last words."""


def turns(launches: int, sides: Sequence[T]) -> Iterator[tuple[int, int, T]]:
    """Each side in each launch, after the numbers of both, from 1; every other launch goes backwards."""
    for launch in range(1, launches + 1):
        for number, side in enumerate(sides if launch % 2 else reversed(sides), 1):
            yield launch, number, side


def interpreter(requirements: tuple[str, ...], pythons: Mapping[tuple[str, ...], str]) -> str | None:
    """The one that has them, None for this one if nothing is required. Raises WorkerFailed if it is not installed."""
    if requirements and requirements not in pythons:
        raise WorkerFailed("not installed")
    return pythons.get(requirements)


def environment_without_ours() -> dict[str, str]:
    """The environment of this process without what would change the package under test or the interpreter."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(SERVERS) or not name.startswith(OURS_TO_SET)
    }


def environment_on(tree: Path, hash_seed: int) -> dict[str, str]:
    """The same, with the package in that folder before any that is installed."""
    return environment_without_ours() | {"PYTHONPATH": str(tree), "PYTHONHASHSEED": str(hash_seed)}


def command_of(module: str, *arguments: str, python: str | None = None) -> list[str]:
    """The command that calls ``main`` of a module of these benchmarks; its arguments are ``sys.argv[2:]``."""
    return [python or sys.executable, "-P", "-c", BOOT.format(module), str(ROOT), *arguments]


def ask(task: str, python: str | None = None, **question: Any) -> dict[str, Any]:
    """Run one task in a fresh process; its ``answer`` and the ``versions`` it had."""
    try:
        done = subprocess.run(
            command_of("benchmarks.worker", python=python),
            input=json.dumps({"task": task, **question}),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env=environment_without_ours(),
            cwd=ROOT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise WorkerFailed(f"not done within {SECONDS:.0f} s") from error
    if done.returncode:
        raise WorkerFailed(f"{task} of {question.get('library', 'ours')} failed:\n{done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    must_be_this_python(answer["python"])
    return answer


def must_be_this_python(python: str) -> None:
    """Raises WorkerFailed for another version: that of an environment that was made before this Python was."""
    here = platform.python_version()
    if python != here:
        raise WorkerFailed(f"it runs on Python {python}, this version on {here}: make its environment anew")


def ask_for_blocks(scale: Scale, python: str | None = None, **question: Any) -> dict[str, Any]:
    """As many blocks as the scale says; see ``worker.blocks`` for the rest of the question."""
    return ask("blocks", python, least=scale.least_blocks, most=scale.most_blocks, seconds=scale.seconds, **question)
