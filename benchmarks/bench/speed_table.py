"""The table of the speed to reach: needed beside measured."""

from __future__ import annotations

from benchmarks.bench.goals import GOALS, Goal, Measured, Results, Speed
from benchmarks.bench.players import MORE
from benchmarks.measure import placement
from benchmarks.pages.markdown import Table, grid
from benchmarks.pages.units import NOTHING, times

BLOCKS = (
    "Ratios within one run: a launch is a fresh process of each side on the same machine, with keys of the same form, "
    "the same values, metadata and kind of loop. Their blocks take turns, and one of each is a pair. A ratio is the "
    "median of all pairs of all launches; *interval* is where it lies in 95 of 100 draws of launches, as in the gate. "
)
# Results from before blocks took turns have no field ``turns``.
IN_TURNS = {
    "blocks": BLOCKS,
    "more of the quick": (
        BLOCKS + f"Of 100,000 items a block of 0.2 takes seconds. A side that takes less than a quarter of that runs "
        f"{MORE} blocks more beside it, and the median of them is in the pair. "
    ),
    "processes": (
        "Ratios within one run: fresh processes of each side take turns on the same machine, with the same keys, "
        "values, metadata and kind of loop. A ratio is the median of all pairs of a block of each side, of processes "
        "that ran one after the other; *interval* is where it lies in 95 of 100 draws of such processes, as in the "
        "gate. "
    ),
}
METHOD = (
    "A row is "
    "*short* only if all of the interval is; otherwise the machine was too noisy: *inconclusive*. A time is the median "
    "over processes of their median blocks; *spread* is how far the processes' medians lie apart. *At least* compares "
    "speed, *at most* time or size. Sessions are allocated for user "
    "alice with the quick start's role, department and permissions, 1,000 at a time, which are hot: the processor's "
    "caches have all that they need. Rows that name a count are of as many keys, or of sessions each of another user, "
    "stored in one random order and then used once each in another. redis-py may open as many connections as there are "
    "callers."
)
HEADLINES = (
    "memory GET",
    "manager on memory: validate",
    "manager on memory: allocate",
    "Redis GET, 50 callers, asyncio",
    "manager on Redis: validate, one caller",
    "manager on Redis: validate, 50 callers",
)
PEER_LIBRARIES = {"0.2": ("chuk-sessions", "redis", "hiredis"), "redis-py": ("redis", "hiredis")}


def speed(results: Results) -> Table:
    """What is needed beside what was measured."""
    rows = [_goal_row(goal, goal.measure(results), results) for goal in GOALS]
    in_turns = IN_TURNS[results.get("turns", "processes")]
    caption = f"{in_turns}{METHOD} {_churn(results)} {placement.TEXT[results['placement']]} {_versions(results)}"
    header = ("Work", "Beside", "Needed", "Measured", "Interval", "", "Ours", "Theirs", "Spread")
    return Table("Speed to reach", caption, header, rows)


def in_six_rows(results: Results) -> str:
    """For the README: how many times as fast, in the work that most programs do."""
    goals = {goal.work: goal for goal in GOALS}
    found = [(goals[work], goals[work].measure(results)) for work in HEADLINES]
    rows = [(goal.work, goal.peer, times(measured.ratio if measured else None)) for goal, measured in found]
    return grid(("Work", "Beside", "Times as fast"), rows)


def _goal_row(goal: Goal, measured: Measured | None, results: Results) -> tuple[str, ...]:
    needed = f"{'at most' if goal.at_most else 'at least'} {goal.needed:g}x"
    played = results["peers"].get(goal.match, {}) if isinstance(goal, Speed) else {}
    errors = [side["error"] for side in played.values() if "error" in side]
    why = errors[0].strip().splitlines()[-1][:60] if errors else ""
    if measured is None:
        return goal.work, goal.peer, needed, NOTHING, NOTHING, why or "not measured", *3 * (NOTHING,)
    mark = "quick" if results["quick"] else goal.mark(measured)
    mark += f"; a process failed: {why}" if why else ""
    scatter = NOTHING if measured.spread is None else f"{measured.spread:.0%}"
    between = NOTHING if measured.interval is None else " - ".join(map(times, measured.interval))
    return goal.work, goal.peer, needed, times(measured.ratio), between, mark, measured.ours, measured.theirs, scatter


def _versions(results: Results) -> str:
    """What the peers really had; one side may play in several matches."""
    found = {side: played["versions"] for sides in results["peers"].values() for side, played in sides.items()}
    named = {side: versions for side, versions in found.items() if side in PEER_LIBRARIES and versions}
    texts = [", ".join(f"{name} {named[side][name]}" for name in PEER_LIBRARIES[side]) for side in named]
    return f"Peers ran: {'; '.join(texts)}." if texts else "Peers were not run."


def _churn(results: Results) -> str:
    size = results["scale"]
    return (
        f"Churn: {size['churn_keys']:,} keys, then {size['churn_operations']:,} operations, 24 h lifetime, "
        "a third of them deletes, the rest overwrite or create again; the stall is the longest operation by the wall "
        "clock, garbage collection included, median of the processes; memory and stale entries are the worst of them."
    )
