"""The speed to reach: what is needed, and what a run measured."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from benchmarks.gate.decision import interval, median_ratio
from benchmarks.measure.timing import spread, typical
from benchmarks.pages.units import duration

Results = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Measured:
    """One figure of a goal: the ratio that counts, and what it was made of, in words."""

    ratio: float
    ours: str
    theirs: str
    spread: float | None = None  # between processes, of the side that scattered more
    interval: tuple[float, float] | None = None  # of the ratio, from several processes of each side


@dataclass(frozen=True, slots=True)
class Goal:
    """At least, or at most, so many times a peer."""

    work: str
    peer: str
    needed: float
    at_most: bool = False

    def reached(self, measured: Measured) -> bool:
        """Whether the figure is on the right side of what is needed."""
        return measured.ratio <= self.needed if self.at_most else measured.ratio >= self.needed

    def mark(self, measured: Measured) -> str:
        """Whether it is reached, in a word: it is missed only if the whole interval of the figure misses it.

        Otherwise the machine was too noisy to tell.
        """
        if self.reached(measured):
            return "ok"
        low, high = measured.interval or (measured.ratio, measured.ratio)
        return "inconclusive" if low <= self.needed <= high else "short"

    def measure(self, results: Results) -> Measured | None:
        """The figure in these results; None if it was not measured."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Speed(Goal):
    """Time of a workload beside a peer's: how many times as fast, or with ``at_most`` how many times the time.

    ``of`` is the side whose time it is.
    """

    match: str = "memory"
    workload: str = ""
    side: str = "0.2"
    beside: str = ""  # the peer's workload, if it is another
    of: str = "ours"

    def measure(self, results: Results) -> Measured | None:
        sides = results["peers"].get(self.match, {})
        ours = sides.get(self.of, {}).get("workloads", {}).get(self.workload)
        theirs = sides.get(self.side, {}).get("workloads", {}).get(self.beside or self.workload)
        if not ours or not theirs:
            return None
        # A launch is a process of each side, whose blocks took turns: those of one round are a pair.
        launches = [list(zip(*sides, strict=False)) for sides in zip(ours, theirs, strict=False)]
        if self.at_most:
            launches = [[(base, head) for head, base in launch] for launch in launches]
        scatter, between = _scatter(ours, theirs), interval(launches) if len(launches) > 1 else None
        return Measured(median_ratio(launches), duration(typical(ours)), duration(typical(theirs)), scatter, between)


@dataclass(frozen=True, slots=True)
class Churn(Goal):
    """What a million keys and many changes do; ``field`` says which figure of ``churn.py``."""

    field: str = ""

    def measure(self, results: Results) -> Measured | None:
        ours, plain = results["churn"].get("memory"), results["churn"].get("dict")
        if not ours or not plain:
            return None
        if self.field == "peak":
            worst = max(ours, key=lambda run: run["peak_kib"] / run["after_load_kib"])
            loaded, peak = worst["after_load_kib"], worst["peak_kib"]
            return Measured(peak / loaded, f"{peak / 1024:.0f} MiB", f"{loaded / 1024:.0f} MiB")
        if self.field == "stall":
            stalls = [[run["longest_stall_ms"] for run in runs] for runs in (ours, plain)]
            mine, other = map(statistics.median, stalls)
            scatter = _scatter(*[[[stall] for stall in side] for side in stalls])
            return Measured(mine / other, f"{mine:.1f} ms", f"{other:.1f} ms", scatter)
        stale = max(run["most_stale_per_live"] for run in ours)
        return Measured(stale, f"{stale:.2f} per live key", "1")


def _scatter(*sides: list[list[float]]) -> float | None:
    """Of the side that scatters more; None if there is only one process of each."""
    return max(map(spread, sides)) if min(map(len, sides)) > 1 else None


def _redis_get(loop: str) -> list[Goal]:
    wanted = {"redis.get": ("1 caller", 1.0), "redis.get.50": ("50 callers", 6.0), "redis.get.500": ("500 callers", 10)}
    return [
        Speed(f"Redis GET, {who}, {loop}", "redis-py", needed, False, f"Redis on {loop}", name, "redis-py")
        for name, (who, needed) in wanted.items()
    ]


def _at_scale() -> list[Goal]:
    """The same calls on as many items as users have, each touched once in random order, beside 0.2 and a floor."""
    values = {"get": ("GET", 2.0, 1.35), "set-new": ("SET of new keys", 1.4, 2.2)}
    values |= {"set-over": ("SET over existing", 1.6, 2.2), "delete": ("DELETE", 1.4, 1.7)}
    sessions = {"validate": 45.0, "allocate": 11.0, "update": 20.0, "info": 6.0, "delete": 2.5}
    scale, million = "memory at scale", "memory with a million"
    old: list[Goal] = [
        Speed(f"memory {name}, 100,000 keys", "0.2", faster, False, scale, f"memory.{call}-of-100k")
        for call, (name, faster, _) in values.items()
    ]
    old += [
        Speed(
            f"manager on memory: {call}, 100,000 users", "0.2", faster, False, scale, f"manager.memory.{call}-of-100k"
        )
        for call, faster in sessions.items()
    ]
    return old + [
        Speed(
            f"memory {name}, {count} keys, time",
            "dict of tuples",
            most,
            True,
            match,
            f"memory.{call}-of-{size}",
            "tuples",
        )
        for match, size, count in ((scale, "100k", "100,000"), (million, "1m", "1,000,000"))
        for call, (name, _, most) in values.items()
    ]


def _deployed() -> list[Goal]:
    match, get = "TLS and Cluster", "redis-cluster.get.50"
    wanted = {"TLS": "redis-tls.get.50", "Cluster of 3 masters": get}
    users = {"random users": "manager.redis-cluster.validate.50", "10 users": "manager.redis-cluster.validate-hot.50"}
    return [
        *[
            Speed(f"Redis GET, 50 callers, {what}", "redis-py", 4, False, match, name, "redis-py")
            for what, name in wanted.items()
        ],
        *[
            Speed(f"validate, 50 callers, Cluster, {who}", "redis-py's GET", 4, False, match, name, "redis-py", get)
            for who, name in users.items()
        ],
    ]


def _index_of_users() -> list[Goal]:
    wanted = {50: 0.75, 500: 0.6}
    kinds = {"redis": ("Redis", "index of users"), "redis-cluster": ("Cluster", "index of users in a cluster")}
    return [
        Speed(
            f"manager on {name}: allocate for users, {callers} callers",
            "for nobody",
            needed,
            False,
            match,
            f"manager.{kind}.allocate-for-users.{callers}",
            "ours",
            f"manager.{kind}.allocate-for-nobody.{callers}",
        )
        for kind, (name, match) in kinds.items()
        for callers, needed in wanted.items()
    ]


def _manager_on_redis() -> list[Goal]:
    wanted = {"": ("one caller", 12.0), ".50": ("50 callers", 150.0)}
    return [
        Speed(
            f"manager on Redis: validate, {who}",
            "0.2",
            needed,
            False,
            "sessions on Redis",
            f"manager.redis.validate{name}",
        )
        for name, (who, needed) in wanted.items()
    ]


def _opening() -> list[Goal]:
    kinds = [
        ("memory", "", "on memory"),
        ("redis", "", "on Redis, one caller"),
        ("redis", ".50", "on Redis, 50 callers"),
    ]
    return [
        Speed(
            f"open_session {where}, time",
            "validate, then info",
            0.6,
            at_most=True,
            match=f"opening {'in memory' if kind == 'memory' else 'on Redis'}",
            workload=f"manager.{kind}.open{callers}",
            side="ours",
            beside=f"manager.{kind}.validate-and-info{callers}",
        )
        for kind, callers, where in kinds
    ]


WHO = {"": "1 caller", ".50": "50 callers"}


def _near() -> list[Goal]:
    """Answers from a near cache beside those of the server, and what a miss takes."""
    places = {
        "near": ("near cache", "on loopback", {"": 20.0, ".50": 4.0}),
        "near-far": ("near cache, far server", "0.3 ms away", {"": 150.0}),
    }
    hits = [
        Speed(
            f"near cache: {call} of a session that is in it, {WHO[callers]}, server {where}",
            "the server's answer",
            needed,
            match=match,
            workload=f"{family}.{name}hit{callers}",
            side="ours",
            beside=f"{family}.{name}server{callers}",
        )
        for family, (match, where, wanted) in places.items()
        for call, name in (("info", ""), ("validate", "validate-"))
        for callers, needed in wanted.items()
    ]
    return [
        *hits,
        Speed(
            "near cache: info of a session that is not in it, 50 callers, time",
            "a read without a near cache",
            1.4,
            at_most=True,
            match="near cache",
            workload="near.miss.50",
            side="ours",
            beside="near.server.50",
        ),
    ]


def _sealed() -> list[Goal]:
    """Metadata that is sealed beside metadata that is not: 4 fields of 100 bytes, and one of 2 KB."""
    wanted = {
        "validate": ("validate", 1.02),
        "update": ("update of one field", 1.15),
        "update-2kb": ("update of one field of 2 KB", 1.5),
        "info-4": ("info of 4 fields", 1.8),
        "info-5": ("info of 4 fields and one of 2 KB", 2.0),
        "allocate-4": ("allocate with 4 fields", 1.6),
    }
    return [
        Speed(
            f"sealed metadata: {what}, 50 callers, time",
            "not sealed",
            most,
            at_most=True,
            match="sealed metadata",
            workload=f"manager.redis.fields-{name}.50",
            side="ours",
            of="sealed",
        )
        for name, (what, most) in wanted.items()
    ]


GOALS: list[Goal] = [
    Speed("memory GET", "0.2", 3.0, workload="memory.get"),
    Speed("memory SET of new keys", "0.2", 1.5, workload="memory.set-new"),
    Speed("memory SET over existing", "0.2", 2.0, workload="memory.set-over"),
    Speed("memory DELETE", "0.2", 3.5, workload="memory.delete"),
    Speed("memory GET, time", "dict behind async def", 1.7, at_most=True, workload="memory.get", side="floor"),
    Speed("manager on memory: validate", "0.2", 60, workload="manager.memory.validate"),
    Speed("manager on memory: allocate", "0.2", 12, workload="manager.memory.allocate"),
    Speed("manager on memory: update", "0.2", 18, workload="manager.memory.update"),
    Speed("manager on memory: info", "0.2", 5, workload="manager.memory.info"),
    Speed(
        "artifact key, time",
        "bare f-string",
        3,
        at_most=True,
        workload="grid.artifact-key",
        side="floor",
        beside="grid.f-string",
    ),
    *_at_scale(),
    *_redis_get("asyncio"),
    *_redis_get("uvloop"),
    *_deployed(),
    *_manager_on_redis(),
    *_index_of_users(),
    *_opening(),
    *_sealed(),
    *_near(),
    Churn("churn: peak resident memory", "that after the load", 2.2, at_most=True, field="peak"),
    Churn("churn: longest loop stall", "dict of tuples", 3, at_most=True, field="stall"),
    Churn("churn: stale entries", "live ones", 2, at_most=True, field="stale"),
]
