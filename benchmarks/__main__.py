"""``python -m benchmarks``: the program of ``bench/``. See ``nox -s bench``."""

from __future__ import annotations

from benchmarks.bench.__main__ import main
from benchmarks.program import run_program

if __name__ == "__main__":
    run_program(main)
