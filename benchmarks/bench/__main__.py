"""``python -m benchmarks``: run everything, print the tables, write the results. See ``nox -s bench``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from benchmarks.bench import footprint
from benchmarks.bench.cases import published_cases
from benchmarks.bench.peers import MATCHES, Match, play
from benchmarks.measure import servers
from benchmarks.measure.event_loops import HERE
from benchmarks.measure.placement import PLACEMENTS, possible
from benchmarks.measure.processes import ask
from benchmarks.measure.scale import FULL, QUICK, Scale
from benchmarks.program import parser_of, run_and_publish, run_program, say, servers_of
from benchmarks.workloads.registry import WORKLOADS
from tests.support.servers import RedisServer

STAGES = 4
SERVER_SESSIONS = 20
SCHEMA = 2  # 1 had one process per case and no sessions


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = parser_of("python -m benchmarks", __doc__, "under a minute")
    parser.add_argument("--redis-url", metavar="URL", help="use this server instead of starting one")
    parser.add_argument("--placement", choices=PLACEMENTS, default="shared", help="cores of Redis and its client")
    parser.add_argument("--old", metavar="PYTHON", help="a Python that has chuk-sessions 0.2 and hiredis")
    options = parser.parse_args(arguments)
    options.placement = possible("free" if options.redis_url else options.placement)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, write; a goal that is missed is printed and fails nothing."""
    options = options_of(arguments)
    name = "bench-apart" if options.placement == "apart" else "bench"
    return run_and_publish(name, SCHEMA, options, partial(measure, options))


def measure(options: argparse.Namespace, results: dict[str, Any]) -> None:
    """Everything, in order."""
    scale = QUICK if options.quick else FULL
    results |= {"scale": asdict(scale), "servers": {}, "peers": {}, "turns": "more of the quick"}
    stage(1, "published tables (pytest-benchmark)")
    results["cases"] = published_cases(options, scale.processes)
    stage(2, "speed to reach: this version beside its peers")
    compare(options, scale, results)
    stage(3, f"speed to reach: churn of {scale.churn_keys:,} keys")
    results["churn"] = churn(scale)
    stage(4, "memory per item and per session")
    results["footprint"] = items(scale)
    results["sessions"] = sessions(options, scale)


def stage(number: int, title: str) -> None:
    """A heading of the progress."""
    print(f"\n[{number} of {STAGES}] {title}", flush=True)


def compare(options: argparse.Namespace, scale: Scale, results: dict[str, Any]) -> None:
    """Every match of which this machine and command line allow."""

    def play_all(deployed: bool, urls: Mapping[str, str]) -> None:
        for match in matches(options):
            if match.deployed is deployed:
                results["peers"][match.name] = play(match, scale, urls, options.placement, options.old)

    with servers_of(options) as running:
        results["servers"] = running.described()
        play_all(False, running.urls)
    if not options.no_redis and not options.redis_url:
        with servers.deployed(options.placement) as urls:
            play_all(True, urls)


def matches(options: argparse.Namespace) -> list[Match]:
    """The comparisons that this machine and command line allow."""
    return [
        match
        for match in MATCHES
        if match.loop in HERE
        and not (match.redis and options.no_redis)
        and not (options.quick and any(WORKLOADS[name].shuffled for name in match.workloads["ours"]))
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


def items(scale: Scale) -> list[dict[str, float]]:
    """Bytes per item for each count."""
    found = []
    for count in scale.footprint_items:
        say(f"{count:,} items")
        found.append(ask("footprint", items=count)["answer"])
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
                figure = footprint.on_server(server, SERVER_SESSIONS, users)
                found[name] = figure | {"version": server.version}
    return found


if __name__ == "__main__":
    run_program(main)
