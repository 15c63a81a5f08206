"""Who is compared, and on what.

A side is a library in an environment; a contest is one workload on one kind of loop, and every side that is of that
sort takes part. To add a library: an adapter, a line in ``SIDES``, and its name in a contest's group.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from benchmarks.workloads.case import Kind
from benchmarks.workloads.registry import WORKLOADS

OURS = "this version"
TOOL = "redis-benchmark"


@dataclass(frozen=True, slots=True)
class Side:
    """One of those compared. ``requirements`` are installed in an environment of their own; none: that of this version.

    ``workload`` is what it runs instead of the contest's, for floors.
    """

    name: str
    adapter: str
    requirements: tuple[str, ...] = ()
    workload: str = ""


# Versions are pinned: a figure is of one of them. All that stand on redis-py have the same one.
REDIS_PY = ("redis==8.1.0", "hiredis==3.5.0", "uvloop==0.23.0")
SIDES = {
    side.name: side
    for side in (
        Side(OURS, "chuk"),
        Side("chuk-sessions 0.2", "chuk", ("chuk-sessions==0.2", *REDIS_PY)),
        Side("chuk-sessions 0.6.3", "chuk", ("chuk-sessions[redis]==0.6.3", *REDIS_PY)),
        Side("cashews", "cashews", ("cashews==7.6.0",)),
        Side("cashews, backend alone", "cashews_backend", ("cashews==7.6.0",)),
        Side("aiocache", "aiocache", ("aiocache==0.12.3",)),
        Side("litestar stores", "litestar", ("litestar==2.25.0", *REDIS_PY)),
        Side("cachetools", "cachetools", ("cachetools==8.0.2",)),
        Side("moka-py", "moka", ("moka-py==0.5.0",)),
        Side("dict without lifetimes (floor)", "plain_dict"),
        Side("dict of tuples (floor)", "dict_of_tuples"),
        Side("bare async def (floor)", "bare", workload="floor.await"),
        Side("redis-py", "redis_py", REDIS_PY),
        Side("redis-py, default pool", "redis_py_default", REDIS_PY),
        Side("redis-py, explicit pipeline", "redis_py_pipeline", REDIS_PY),
        Side("coredis", "coredis", ("coredis==6.9.0", "hiredis==3.5.0", "uvloop==0.23.0")),
        Side("valkey-glide", "valkey_glide", ("valkey-glide==2.6.0", "uvloop==0.23.0")),
        Side("starsessions' store", "starsessions", ("starsessions==2.2.1", *REDIS_PY)),
        Side("redis-benchmark (floor)", TOOL),
        Side("redis-benchmark, pipeline of 16 (floor)", TOOL),
    )
}

CHUK = (OURS, "chuk-sessions 0.2", "chuk-sessions 0.6.3")
MEMORY = (
    *CHUK,
    *("cashews", "cashews, backend alone", "aiocache", "litestar stores", "cachetools", "moka-py"),
    "dict without lifetimes (floor)",
    "bare async def (floor)",
)
AT_SCALE = (*MEMORY[:-2], "dict of tuples (floor)")
REDIS = (
    *CHUK,
    *("redis-py", "redis-py, default pool", "redis-py, explicit pipeline", "coredis", "valkey-glide"),
    *("litestar stores", "starsessions' store"),
    *("redis-benchmark (floor)", "redis-benchmark, pipeline of 16 (floor)"),
)
# What a side cannot do at all, so that it need not be tried: sessions with metadata, for all but our own.
MANAGERS = CHUK


@dataclass(frozen=True, slots=True)
class Group:
    """Contests that stand in one table, a workload per column."""

    title: str
    workloads: tuple[str, ...]
    sides: tuple[str, ...]
    loops: tuple[str, ...] = ("asyncio",)

    @property
    def kind(self) -> Kind:
        """Of the store."""
        return WORKLOADS[self.workloads[0]].kind


LOOPS = ("asyncio", "uvloop")
GROUPS = (
    Group("Values in memory", tuple(f"memory.{call}" for call in ("get", "set-new", "set-over", "delete")), MEMORY),
    Group(
        "Sessions in memory",
        tuple(f"manager.memory.{call}" for call in ("validate", "allocate", "update", "info")),
        MANAGERS,
    ),
    Group(
        "Values in memory, 100,000 of them in random order",
        tuple(f"memory.{call}-of-100k" for call in ("get", "set-new", "set-over", "delete")),
        AT_SCALE,
    ),
    Group(
        "Sessions in memory, 100,000 of as many users",
        tuple(f"manager.memory.{call}-of-100k" for call in ("validate", "allocate", "update", "info", "delete")),
        MANAGERS,
    ),
    Group("GET on Redis", ("redis.get", "redis.get.5", "redis.get.50", "redis.get.500"), REDIS, LOOPS),
    Group("SET and DELETE on Redis", ("redis.set-over", "redis.delete"), REDIS),
    Group("Sessions on Redis", ("manager.redis.validate", "manager.redis.validate.50"), MANAGERS, LOOPS),
)


@dataclass(frozen=True, slots=True)
class Contest:
    """One workload, one loop, one side."""

    workload: str
    loop: str
    side: Side


def contests(groups: tuple[Group, ...] = GROUPS) -> Iterator[Contest]:
    """All of them, so that sides of one workload follow each other: a slow minute hits all alike."""
    for group in groups:
        for loop in group.loops:
            for workload in group.workloads:
                for name in group.sides:
                    yield Contest(workload, loop, SIDES[name])


def environments(others: Iterable[tuple[str, ...]] = ()) -> dict[tuple[str, ...], str]:
    """What has to be installed: a folder name for each set of requirements."""
    found: dict[tuple[str, ...], str] = {}
    for requirements in (*(side.requirements for side in SIDES.values()), *others):
        if requirements and requirements not in found:
            first = requirements[0]
            found[requirements] = "".join(letter if letter.isalnum() else "-" for letter in first)
    return found


def all_environments() -> dict[tuple[str, ...], str]:
    """The same, and for those whose requests are compared."""
    from benchmarks.web.sides import LIBRARIES

    return environments(library.requirements for library in LIBRARIES)


def main() -> None:
    """For nox: a line for each environment, its name and its requirements, tabs between."""
    for requirements, name in all_environments().items():
        print(name, *requirements, sep="\t")


if __name__ == "__main__":
    main()
