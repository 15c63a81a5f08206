"""This library beside its peers: the same workloads, in fresh processes whose blocks take turns.

A match is a set of sides on one kind of loop. Every launch starts one process per side. What is compared with one
another runs block by block in turns, so that a slow second of the machine hits all of it. A side that fails has its
error in the results.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.bench.floors import FLOORS
from benchmarks.bench.goals import GOALS, Speed
from benchmarks.bench.players import Player, launched
from benchmarks.measure.placement import Placement
from benchmarks.measure.processes import WorkerFailed
from benchmarks.measure.scale import Scale
from benchmarks.program import say
from benchmarks.workloads.registry import WORKLOADS

SideName = Literal["ours", "sealed", "0.2", "redis-py", "floor", "tuples", "least"]
LIBRARIES: dict[SideName, str] = {
    "ours": "chuk",
    "sealed": "chuk_sealed",
    "0.2": "chuk",
    "redis-py": "redis_py",
    "floor": "plain_dict",
    "tuples": "dict_of_tuples",
    "least": "least_sessions",
}
TITLES: dict[SideName, str] = {
    "ours": "this version",
    "sealed": "this version, sealed",
    "0.2": "chuk-sessions 0.2",
    "redis-py": "redis-py",
    "floor": "floor",
    "tuples": "dict of tuples",
    "least": "the least manager",
}

PROVIDER = [f"memory.{call}" for call in ("get", "set-new", "set-over", "delete")]
MANAGER = [f"manager.memory.{call}" for call in ("validate", "allocate", "update", "info")]
OF_100K = [f"{name}-of-100k" for name in PROVIDER]
OF_1M = [f"{name}-of-1m" for name in PROVIDER]
SESSIONS_OF_100K = [f"{name}-of-100k" for name in (*MANAGER, "manager.memory.delete")]
DEPLOYED_GET = ["redis-tls.get.50", "redis-cluster.get.50"]
CLUSTER_VALIDATE = [f"manager.redis-cluster.validate{name}.50" for name in ("", "-hot")]
REDIS_GET = ["redis.get", "redis.get.50", "redis.get.500"]
REDIS_VALIDATE = ["manager.redis.validate", "manager.redis.validate.50"]
OPENING = ["open", "validate-and-info"]
NEAR = [f"near.{name}{callers}" for callers in ("", ".50") for name in ("server", "hit", "miss")]
NEAR += [f"near.validate-{name}{callers}" for callers in ("", ".50") for name in ("server", "hit")]
NEAR_FAR = [name.replace("near.", "near-far.") for name in NEAR]
FIELDS = [name for name in WORKLOADS if ".fields-" in name]
COMPARED = [goal for goal in GOALS if isinstance(goal, Speed)]
COMPARED += [goal for floor in FLOORS for goal in floor.compared]
INDEX = [name for name in WORKLOADS if ".allocate-for-" in name]


@dataclass(frozen=True, slots=True)
class Match:
    """Who is compared on what."""

    name: str
    loop: str
    workloads: Mapping[SideName, list[str]]
    slow: bool = False  # a launch takes so long that fewer must do
    redis: bool = False
    deployed: bool = False  # more than a lone server without TLS


MATCHES = (
    Match(
        "memory",
        "asyncio",
        {
            "ours": [*PROVIDER, *MANAGER, "grid.artifact-key"],
            "0.2": [*PROVIDER, *MANAGER],
            "floor": ["memory.get", "grid.f-string"],
        },
    ),
    Match(
        "memory at scale",
        "asyncio",
        {
            "ours": [*OF_100K, *SESSIONS_OF_100K],
            "0.2": [*OF_100K, *SESSIONS_OF_100K],
            "tuples": OF_100K,
            "least": [floor.goal.workload for floor in FLOORS],
        },
    ),
    Match("memory with a million", "asyncio", {"ours": OF_1M, "tuples": OF_1M}, slow=True),
    Match("Redis on asyncio", "asyncio", {"ours": REDIS_GET, "redis-py": REDIS_GET}, redis=True),
    Match("Redis on uvloop", "uvloop", {"ours": REDIS_GET, "redis-py": REDIS_GET}, redis=True),
    Match(
        "TLS and Cluster",
        "asyncio",
        {"ours": [*DEPLOYED_GET, *CLUSTER_VALIDATE], "redis-py": DEPLOYED_GET},
        redis=True,
        deployed=True,
    ),
    Match("index of users", "asyncio", {"ours": [name for name in INDEX if ".redis." in name]}, redis=True),
    Match(
        "index of users in a cluster",
        "asyncio",
        {"ours": [name for name in INDEX if ".redis-cluster." in name]},
        redis=True,
        deployed=True,
    ),
    Match("opening in memory", "asyncio", {"ours": [f"manager.memory.{call}" for call in OPENING]}),
    Match(
        "opening on Redis",
        "asyncio",
        {"ours": [f"manager.redis.{call}{callers}" for callers in ("", ".50") for call in OPENING]},
        redis=True,
    ),
    Match("near cache", "asyncio", {"ours": NEAR}, redis=True),
    Match("near cache, far server", "asyncio", {"ours": NEAR_FAR}, redis=True, deployed=True),
    Match("sealed metadata", "asyncio", {"ours": FIELDS, "sealed": FIELDS}, redis=True),
    Match("sessions on Redis", "asyncio", {"ours": REDIS_VALIDATE, "0.2": REDIS_VALIDATE}, slow=True, redis=True),
)


def play(
    match: Match,
    scale: Scale,
    urls: Mapping[str, str],
    placement: Placement,
    old_python: str | None,
) -> dict[str, Any]:
    """All launches of a match: by side, the versions it ran, and by workload one list of blocks per process.

    Block figures are nanoseconds per operation.
    """
    sides = [side for side in match.workloads if side != "0.2" or old_python]
    found: dict[str, Any] = {side: {"versions": {}, "workloads": {}} for side in sides}
    launches = scale.slow_launches if match.slow else scale.launches
    for launch in range(1, launches + 1):
        say(f"{match.name}, launch {launch} of {launches}: {', '.join(TITLES[side] for side in sides)}")
        _launch(launch, match, sides, scale, urls, placement, old_python, found)
        # Else blocks of this version would be paired with those of a later launch.
        sides = [side for side in sides if "error" not in found[side]]
    return found


def _launch(
    launch: int,
    match: Match,
    sides: list[SideName],
    scale: Scale,
    urls: Mapping[str, str],
    placement: Placement,
    old_python: str | None,
    found: dict[str, Any],
) -> None:
    questions = {
        side: Player(
            library=LIBRARIES[side],
            loop=match.loop,
            urls=urls,
            placement=placement if match.redis else "free",
            python=old_python if side == "0.2" else None,
        )
        for side in sides
    }
    with launched(questions) as play:
        for side, versions in play.versions.items():
            if (versions.get("chuk-sessions") == "0.2") != (side == "0.2"):
                raise WorkerFailed(f"{side} ran with {versions}: the wrong environment")
            found[side]["versions"] = versions
        for group in groups(match):
            members = [
                (side, name)
                for side, name in group
                if side in sides and (WORKLOADS[name].in_memory or WORKLOADS[name].kind in urls)
            ]
            for (side, name), blocks in play.in_turns(members, scale, launch).items():
                found[side]["workloads"].setdefault(name, []).append(blocks)
    for side, error in play.errors.items():
        if side == "ours":
            raise WorkerFailed(f"{LIBRARIES[side]}: {error}") from error
        found[side]["error"] = str(error)


def groups(match: Match) -> list[list[tuple[SideName, str]]]:
    """The workloads of the sides of a match: those that a goal compares, directly or by a third one, are together."""
    found: list[list[tuple[SideName, str]]] = [
        [(side, name)] for side, names in match.workloads.items() for name in names
    ]
    for goal in COMPARED:
        if goal.match == match.name:
            compared = {(goal.of, goal.workload), (goal.side, goal.beside or goal.workload)}
            together = [group for group in found if not compared.isdisjoint(group)]
            if len(together) > 1:
                place = found.index(together[0])
                found = [group for group in found if group not in together]
                found.insert(place, [member for group in together for member in group])
    return found
