"""The outcomes side by side, what of them is not listed in differences.toml, and the table of that file as Markdown."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import NamedTuple

from tests.compat.rows import ROWS

__all__ = ["Difference", "cells", "check_list", "columns", "problems", "read_differences", "table_of", "with_table"]

FILE = Path(__file__).with_name("differences.toml")
BEGIN, END = "<!-- differences:begin -->\n", "<!-- differences:end -->\n"
WIDTH = 44  # characters of a column as printed

Outcomes = dict[str, dict[str, str]]  # store -> row -> outcome


class Difference(NamedTuple):
    """An entry of differences.toml."""

    published: str
    ours: str
    reason: str
    rows: list[str]


def read_differences(text: str | None = None) -> list[Difference]:
    """The entries of differences.toml."""
    document = tomllib.loads(FILE.read_text() if text is None else text)
    return [Difference(**entry) for entry in document["difference"]]


def check_list(differences: list[Difference]) -> list[str]:
    """What is wrong with the entries, whatever the packages do."""
    known = {row.name for row in ROWS}
    named = [name for entry in differences for name in entry.rows]
    found = [f"{name}: listed, but no such row" for name in named if name not in known]
    found += [f"{name}: listed more than once" for name in sorted(set(named)) if named.count(name) > 1]
    return found + [f"{entry.published[:40]}: without a reason" for entry in differences if not entry.reason.strip()]


def problems(versions: dict[str, Outcomes], ours: str, differences: list[Difference]) -> list[str]:
    """Rows that differ and are not listed, and the other way round; one line each. Empty if all is well."""
    listed = {name for entry in differences for name in entry.rows}
    found = check_list(differences)
    for row in ROWS:
        differs = any(cells(versions[other], row.name) != cells(versions[ours], row.name) for other in versions)
        if differs and row.name not in listed:
            found.append(f"{row.name}: differs, and is not listed in {FILE.name}")
        if not differs and row.name in listed:
            found.append(f"{row.name}: listed in {FILE.name}, and does not differ")
    return found


def cells(outcomes: Outcomes, name: str) -> str:
    """The outcome of a row: one, or memory's and Redis's where they differ."""
    return " // ".join(dict.fromkeys(by_row[name] for by_row in outcomes.values()))


def columns(versions: dict[str, Outcomes]) -> str:
    """The whole table, a row each, long cells cut."""
    lines = [["row", *versions]]
    lines += [[row.name, *(cells(outcomes, row.name) for outcomes in versions.values())] for row in ROWS]
    return "\n".join(" | ".join(_fit(cell) for cell in line).rstrip() for line in lines)


def _fit(cell: str) -> str:
    return (cell if len(cell) <= WIDTH else cell[: WIDTH - 3] + "...").ljust(WIDTH)


def table_of(differences: list[Difference]) -> str:
    """The Markdown table."""
    lines = ["| 0.2 and 0.6.3 | this version | why |", "|---|---|---|"]
    lines += [f"| {entry.published} | {entry.ours} | {entry.reason} |" for entry in differences]
    return "\n".join(lines) + "\n"


def with_table(page: str, table: str) -> str:
    """The page with that table in its place. Raises ValueError if the marks of the place are missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN.strip()} and {END.strip()}")
    return f"{before}{begin}\n{table}\n{end}{after}"
