"""results/GATE.md, from results/gate.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.gate.decision import LIMIT
from benchmarks.gate.slowed import HOT_PATHS, IDLE
from benchmarks.pages.markdown import Table
from benchmarks.pages.setting import setting
from benchmarks.pages.units import NOTHING

TITLES = {
    "slowed": "Ten per cent slower, against the honest base",
    "honest": "Honest against honest",
}


def text(state: Mapping[str, Any]) -> str:
    """The page under its title."""
    tables = [str(table(state["runs"], kind)) for kind in TITLES]
    parts = [method(state), setting(state), *tables, verdict(state["runs"])]
    return "\n\n".join(parts) + "\n"


def method(state: Mapping[str, Any]) -> str:
    """What was done."""
    slowed = " and ".join(
        f"`{hot}` begins with {state['statements'][hot.scenario]} times `{IDLE}`"
        for hot in HOT_PATHS
        if hot.scenario in state["statements"]
    )
    return (
        "Made by `nox -s gate_demonstration`. In a scratch copy of the package, which was not landed, "
        f"{slowed}: that many statements as were measured to make one operation 10 % slower. The gate then compared "
        "this copy with the honest base, and the honest base with itself, in turns, on one memory and one Redis "
        f"scenario. It fails what is over {LIMIT:g} in two measurements, of which the second, with twice the "
        "launches, is shown."
    )


def table(runs: Sequence[Mapping[str, Any]], kind: str) -> Table:
    """All runs of a kind."""
    rows = [_row(run) for run in runs if run["kind"] == kind]
    names = [found["scenario"] for found in runs[0]["scenarios"]]
    header = ["Run", *[f"{name}, base against itself" for name in names]]
    for name in names:
        header += [name, "95 % interval", "Launches", "Verdict"]
    caption = "Figures are head / base: the median of all pairs."
    return Table(TITLES[kind], caption, (*header, "Exit code"), rows)


def _row(run: Mapping[str, Any]) -> tuple[str, ...]:
    cells = [str(run["number"] + 1)]
    cells += [_ratio(check) for check in run["checks"]]
    for found in run["scenarios"]:
        low, high = found.get("interval", (0, 0))
        shown = f"{low:.3f} to {high:.3f}" if "interval" in found else NOTHING
        cells += [_ratio(found), shown, str(found.get("launches", NOTHING)), found["verdict"]]
    return (*cells, str(run["exit_code"]))


def _ratio(found: Mapping[str, Any]) -> str:
    return f"{found['ratio']:.3f}" if "ratio" in found else NOTHING


def verdict(runs: Sequence[Mapping[str, Any]]) -> str:
    """The two counts that matter."""
    parts = []
    for kind, words in (("slowed", "slower scenarios were found"), ("honest", "honest ones were called slower")):
        verdicts = [found["verdict"] for run in runs if run["kind"] == kind for found in run["scenarios"]]
        unsure = verdicts.count("inconclusive")
        parts.append(
            f"**{verdicts.count('slower')} of {len(verdicts)} {words}**" + (f" ({unsure} inconclusive)" * bool(unsure))
        )
    return "; ".join(parts) + "."
