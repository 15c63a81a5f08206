"""This library beside its peers: the same workloads, in fresh processes that take turns.

A match is a set of sides on one kind of loop. Every launch starts one process per side, in turned order every other
time, so that a slow minute of the machine hits all of them. A side that fails has its error in the results.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.measure.placement import Placement
from benchmarks.measure.processes import WorkerFailed, ask_for_blocks, turns
from benchmarks.measure.scale import Scale
from benchmarks.program import say
from benchmarks.workloads.registry import WORKLOADS

SideName = Literal["ours", "sealed", "0.2", "redis-py", "floor", "tuples"]
LIBRARIES: dict[SideName, str] = {
    "ours": "chuk",
    "sealed": "chuk_sealed",
    "0.2": "chuk",
    "redis-py": "redis_py",
    "floor": "plain_dict",
    "tuples": "dict_of_tuples",
}
TITLES: dict[SideName, str] = {
    "ours": "this version",
    "sealed": "this version, sealed",
    "0.2": "chuk-sessions 0.2",
    "redis-py": "redis-py",
    "floor": "floor",
    "tuples": "dict of tuples",
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
INDEX = [name for name in WORKLOADS if ".allocate-for-" in name]


@dataclass(frozen=True, slots=True)
class Match:
    """Who is compared on what."""

    name: str
    loop: str
    workloads: Mapping[SideName, list[str]]
    slow: bool = False  # one block of a side takes seconds
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
        {"ours": [*OF_100K, *SESSIONS_OF_100K], "0.2": [*OF_100K, *SESSIONS_OF_100K], "tuples": OF_100K},
        slow=True,
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
    for launch, _, side in turns(launches, sides):
        say(f"{match.name}, launch {launch} of {launches}: {TITLES[side]}")
        python = old_python if side == "0.2" else None
        _launch(match, side, python, scale, urls, placement, found[side])
    return found


def _launch(
    match: Match,
    side: SideName,
    python: str | None,
    scale: Scale,
    urls: Mapping[str, str],
    placement: Placement,
    found: dict[str, Any],
) -> None:
    try:
        reply = ask_for_blocks(
            scale,
            python,
            library=LIBRARIES[side],
            workloads=[
                name for name in match.workloads[side] if WORKLOADS[name].in_memory or WORKLOADS[name].kind in urls
            ],
            loop=match.loop,
            urls=dict(urls),
            placement=placement if match.redis else "free",
        )
    except WorkerFailed as error:
        if side == "ours":
            raise
        found["error"] = str(error)
        return
    if (reply["versions"].get("chuk-sessions") == "0.2") != (side == "0.2"):
        raise WorkerFailed(f"{side} ran with {reply['versions']}: the wrong environment")
    found["versions"] = reply["versions"]
    for workload, blocks in reply["answer"].items():
        found["workloads"].setdefault(workload, []).append(blocks)
