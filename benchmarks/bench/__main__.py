"""``python -m benchmarks``: run everything, print the tables, write the results. See ``nox -s bench``."""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.bench import session_footprint
from benchmarks.bench.goals import Results
from benchmarks.bench.peers import MATCHES, Match, play
from benchmarks.measure import servers
from benchmarks.measure.environment import environment, load
from benchmarks.measure.placement import PLACEMENTS, possible
from benchmarks.measure.processes import ROOT, ask, environment_without_ours, run_program
from benchmarks.measure.scale import FULL, QUICK, Scale
from benchmarks.pages.publications import BENCH, BENCH_APART, bench_text, publish
from tests.support.servers import RedisServer, ServerError

# Figures of a quick run mean little and must not take the place of published ones.
QUICK_FOLDER = ROOT / ".benchmarks" / "quick"
FULL_FOLDER = ROOT / "results"
STAGES = 4
SERVER_SESSIONS = 20
SCHEMA = 2  # 1 had one process per case and no sessions


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute; to see that all works")
    parser.add_argument("--no-redis", action="store_true", help="memory only")
    parser.add_argument("--redis-url", metavar="URL", help="use this server instead of starting one")
    parser.add_argument("--placement", choices=PLACEMENTS, default="shared", help="cores of Redis and its client")
    parser.add_argument("--old", metavar="PYTHON", help="a Python that has chuk-sessions 0.2 and hiredis")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: results, or .benchmarks/quick")
    options = parser.parse_args(arguments)
    options.placement = possible("free" if options.redis_url else options.placement)
    return options


def say(text: str) -> None:
    """One line of progress."""
    print(f"  {text}", flush=True)


def stage(number: int, title: str) -> None:
    """A heading of the progress."""
    print(f"\n[{number} of {STAGES}] {title}", flush=True)


def published_cases(options: argparse.Namespace, scale: Scale) -> list[dict[str, Any]]:
    """The pytest-benchmark cases, in several fresh processes with hash seeds of their own, put together."""
    launches = []
    for launch in range(scale.processes):
        say(f"process {launch + 1} of {scale.processes}")
        launches.append(_published_cases(options, hash_seed=random.SystemRandom().randrange(1, 2**32)))
    return merged(launches)


def _published_cases(options: argparse.Namespace, hash_seed: int) -> list[dict[str, Any]]:
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


def matches(options: argparse.Namespace) -> list[Match]:
    """The comparisons that this machine and command line allow."""
    return [
        match
        for match in MATCHES
        if not (match.redis and options.no_redis) and not (match.loop == "uvloop" and not find_spec("uvloop"))
    ]


def churn(scale: Scale) -> dict[str, list[dict[str, float]]]:
    """Our store and a plain dict, in turns, a fresh process each time."""
    found: dict[str, list[dict[str, float]]] = {"memory": [], "dict": []}
    for launch in range(scale.churn_launches):
        for store, runs in found.items():
            say(f"churn, launch {launch + 1} of {scale.churn_launches}: {store}")
            reply = ask("churn", store=store, keys=scale.churn_keys, operations=scale.churn_operations)
            runs.append(reply["answer"])
    return found


def footprint(scale: Scale) -> list[dict[str, float]]:
    """Bytes per item for each count."""
    found = []
    for items in scale.footprint_items:
        say(f"{items:,} items")
        found.append(ask("footprint", items=items)["answer"])
    return found


def sessions(options: argparse.Namespace, scale: Scale) -> dict[str, Any]:
    """Bytes per stored session, in memory and on a server of our own; a given one is not ours to empty.

    Once with all sessions of one user, once with a user for each: those of one user share an index.
    """
    count = scale.footprint_sessions
    say(f"{count:,} sessions")
    found = {
        name: ask("session_footprint", sessions=count, users=users)["answer"]
        for name, users in (("memory", 1), ("memory, many users", count))
    }
    if not options.no_redis and not options.redis_url:
        with RedisServer() as server:
            for name, users in (("redis", 1), ("redis, many users", SERVER_SESSIONS)):
                figure = session_footprint.on_server(server, SERVER_SESSIONS, users)
                found[name] = figure | {"version": server.version}
    return found


def run(options: argparse.Namespace) -> Results:
    """Everything, in order."""
    scale = QUICK if options.quick else FULL
    results: Results = {
        "schema": SCHEMA,
        "quick": options.quick,
        "scale": asdict(scale),
        "environment": environment(),
        "placement": options.placement,
        "servers": {},
        "peers": {},
    }
    stage(1, "published tables (pytest-benchmark)")
    results["cases"] = published_cases(options, scale)
    stage(2, "speed to reach: this version beside its peers")
    _compare(options, scale, results)
    stage(3, f"speed to reach: churn of {scale.churn_keys:,} keys")
    results["churn"] = churn(scale)
    stage(4, "memory per item and per session")
    results["footprint"] = footprint(scale)
    results["sessions"] = sessions(options, scale)
    results["load_after"] = load()
    return results


def _compare(options: argparse.Namespace, scale: Scale, results: Results) -> None:
    chosen = matches(options)
    if options.no_redis:
        _play(chosen, scale, {}, options, results)
        return
    with servers.running(options.redis_url, options.placement) as running:
        results["servers"] = {kind: servers.described(server) for kind, server in running.items()}
        urls: dict[str, str] = {kind: server.url for kind, server in running.items()}
        _play([match for match in chosen if not match.deployed], scale, urls, options, results)
    if not options.redis_url:
        with servers.deployed(options.placement) as deployments:
            _play([match for match in chosen if match.deployed], scale, deployments, options, results)


def _play(
    chosen: Sequence[Match], scale: Scale, urls: Mapping[str, str], options: argparse.Namespace, results: Results
) -> None:
    for match in chosen:
        results["peers"][match.name] = play(match, scale, urls, options.placement, options.old, say)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, write; a goal that is missed is printed and fails nothing."""
    options = options_of(arguments)
    if not options.no_redis:
        try:
            servers.ensure(options.redis_url)
        except (ServerError, ValueError) as error:
            print(f"{error}\nor give --no-redis for memory alone", file=sys.stderr)
            return 2
    start = time.monotonic()
    results = run(options)
    results["seconds"] = round(time.monotonic() - start, 1)
    folder: Path = options.out or (QUICK_FOLDER if options.quick else FULL_FOLDER)
    publish((BENCH_APART if options.placement == "apart" else BENCH).name, results, folder)
    print(f"\n{bench_text(results)}\nWritten to {folder} in {results['seconds']:.0f} s.")
    if folder == FULL_FOLDER:
        print("nox -s report puts these tables into README.md.")
    return 0


if __name__ == "__main__":
    run_program(main)
