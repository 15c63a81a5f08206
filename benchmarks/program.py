"""What every program does: it shows its progress, ends with its exit code, and may publish its results.

The programs that publish (``bench``, ``compare``, ``latency``) share options, what their results begin and end with,
and where those are written.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from benchmarks.measure import servers
from benchmarks.measure.environment import environment, load
from benchmarks.measure.processes import RESULTS, SCRATCH
from benchmarks.pages.publications import publication, publish
from tests.support.servers import ServerError

# Figures of a quick run mean little and must not take the place of published ones.
QUICK = SCRATCH / "quick"


def run_program(main: Callable[[], int]) -> NoReturn:
    """Run ``main`` and end with its code.

    SIGTERM, by which CI ends a job, unwinds the program as Ctrl-C does: its folders, servers and workers go with it.
    """
    signal.signal(signal.SIGTERM, _end)
    sys.exit(main())


def _end(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def say(text: str) -> None:
    """One line of progress."""
    print(f"  {text}", flush=True)


def parser_of(program: str, about: str | None, quick: str) -> argparse.ArgumentParser:
    """The options that all have which publish; ``quick`` says what a quick run is."""
    parser = argparse.ArgumentParser(prog=program, description=about)
    parser.add_argument("--quick", action="store_true", help=f"{quick}; to see that all works")
    parser.add_argument("--no-redis", action="store_true", help="memory only")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: results, or .benchmarks/quick")
    parser.set_defaults(redis_url=None)
    return parser


def servers_of(options: argparse.Namespace) -> AbstractContextManager[servers.Running]:
    """The servers that the options allow."""
    kinds = () if options.no_redis else tuple(servers.OPTIONS)
    return servers.running(options.placement, kinds, options.redis_url)


def run_and_publish(
    name: str, schema: int, options: argparse.Namespace, measure: Callable[[dict[str, Any]], None]
) -> int:
    """Let ``measure`` add what it finds to the results of that kind, and publish them; 2 if it has no server."""
    start = time.monotonic()
    results: dict[str, Any] = {
        "schema": schema,
        "quick": options.quick,
        "environment": environment(),
        "placement": options.placement,
    }
    try:
        if not options.no_redis:
            servers.ensure(options.redis_url)
        measure(results)
    except ServerError as error:
        return without_server(error)
    results |= {"load_after": load(), "seconds": round(time.monotonic() - start, 1)}
    folder: Path = options.out or (QUICK if options.quick else RESULTS)
    publish(name, results, folder)
    print(f"\n{publication(name).text(results)}\nWritten to {folder} in {results['seconds']:.0f} s.")
    if folder == RESULTS:
        print("nox -s report puts these tables into README.md and docs/performance.md.")
    return 0


def without_server(error: ServerError) -> int:
    """Say so, and the way out; the exit code."""
    print(f"{error}\nor give --no-redis for memory alone", file=sys.stderr)
    return 2
