"""The published tables: the cases of ``test_published.py``, in several fresh processes, put together."""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure.processes import ROOT, environment_without_ours
from benchmarks.program import say


def published_cases(options: argparse.Namespace, processes: int) -> list[dict[str, Any]]:
    """Of each case what the processes measured, each with a hash seed of its own."""
    launches = []
    for launch in range(processes):
        say(f"process {launch + 1} of {processes}")
        launches.append(_launch(options, hash_seed=random.SystemRandom().randrange(1, 2**32)))
    return merged(launches)


def _launch(options: argparse.Namespace, hash_seed: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="chuk-bench-") as folder:
        output = Path(folder, "pytest-benchmark.json")
        command = [sys.executable, "-m", "pytest", "benchmarks/bench", "-q", "--no-header", "-p", "no:cacheprovider"]
        command += ["--benchmark-quiet", f"--benchmark-json={output}"]
        command += [f"--bench-placement={options.placement}"]
        command += ["--bench-quick"] if options.quick else []
        command += ["--bench-no-redis"] if options.no_redis else []
        command += [f"--bench-redis-url={options.redis_url}"] if options.redis_url else []
        variables = environment_without_ours() | {"PYTHONHASHSEED": str(hash_seed)}
        done = subprocess.run(command, cwd=ROOT, env=variables, check=False)
        if done.returncode:
            sys.exit(done.returncode)
        cases: list[dict[str, Any]] = json.loads(output.read_text(encoding="utf-8"))["benchmarks"]
        return cases


def merged(launches: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Of each case the process with the best median, and the medians of all of them, in seconds."""
    found = []
    for same in zip(*launches, strict=True):
        best = min(same, key=lambda case: case["stats"]["median"])
        found.append(best | {"processes": [case["stats"]["median"] for case in same]})
    return found
