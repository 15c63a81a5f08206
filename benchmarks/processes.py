"""Starting workers, each side of a comparison in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SECONDS = 300.0
# -P and the root at the end of the path: a chuk_sessions installed in the worker's environment comes before ours.
BOOT = "import sys; sys.path.append(sys.argv[1]); from benchmarks.worker import main; main()"
OURS_TO_SET = ("CHUK_", "SESSION_", "REDIS_", "PYTHONPATH", "PYTHONHASHSEED", "PYTHONSTARTUP", "COVERAGE_")


class WorkerFailed(Exception):
    """A worker ended with an error; the message holds its last words."""


def environment_without_ours() -> dict[str, str]:
    """The environment of this process without what would change the package under test or the interpreter."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OURS_TO_SET)}


def ask(task: str, python: str | None = None, **question: Any) -> dict[str, Any]:
    """Run one task in a fresh process; its ``answer`` and the ``versions`` it had."""
    command = [python or sys.executable, "-P", "-c", BOOT, str(ROOT)]
    try:
        done = subprocess.run(
            command,
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
    return answer
