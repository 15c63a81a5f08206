"""What the gate measures: workloads of the registry, and how often each kind of them has to be launched."""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks.gate.decision import MEMORY_CALM, REDIS_CALM, Calm
from benchmarks.measure.placement import Placement


@dataclass(frozen=True, slots=True)
class Family:
    """Scenarios that scatter alike; the first of them is the one that checks whether the machine is calm."""

    name: str
    scenarios: tuple[str, ...]
    launches: int  # of two processes each, per scenario
    calm: Calm
    placement: Placement  # of the workers
    clock: str  # see benchmarks.gate.driven
    needs_server: bool
    pairs: float = 1.0  # this share of the pairs of a launch: a block on many items takes as long as many blocks


FAMILIES = (
    Family(
        "memory",
        (
            *[f"memory.{call}" for call in ("get", "set-new", "set-over", "delete", "expiry")],
            *[f"manager.memory.{call}" for call in ("allocate", "validate", "update", "info")],
            "manager.memory-counted.validate",
        ),
        launches=10,
        calm=MEMORY_CALM,
        placement="free",
        clock="processor",
        needs_server=False,
    ),
    Family(
        "memory at scale",
        (
            *[f"memory.{call}-of-100k" for call in ("get", "delete")],
            *[f"manager.memory.{call}-of-100k" for call in ("allocate", "info")],
        ),
        launches=4,
        calm=REDIS_CALM,
        placement="free",
        clock="processor",
        needs_server=False,
        pairs=0.1,
    ),
    Family(
        "Redis",
        ("redis.get.50", "manager.redis.validate.50", "redis-timed.get.50", "near.hit", "near.miss"),
        launches=20,
        calm=REDIS_CALM,
        placement="shared",
        clock="wall",
        needs_server=True,
    ),
)


def chosen(names: list[str]) -> list[Family]:
    """The families with only these scenarios, all of them if none is named; KeyError for one that does not exist."""
    known = [name for family in FAMILIES for name in family.scenarios]
    for name in names:
        if name not in known:
            raise KeyError(f"{name} is no scenario of the gate; there are {', '.join(known)}")
    wanted = names or known
    some = [
        replace(family, scenarios=tuple(name for name in family.scenarios if name in wanted)) for family in FAMILIES
    ]
    return [family for family in some if family.scenarios]
