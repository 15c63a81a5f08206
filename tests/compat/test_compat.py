"""The table of calls that is run against the published versions: its rows, its list of differences, its verdicts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.compat import __main__ as command
from tests.compat import probe
from tests.compat.report import (
    Difference,
    cells,
    check_list,
    columns,
    problems,
    read_differences,
    table_of,
    with_table,
)
from tests.compat.rows import ROWS

if TYPE_CHECKING:
    from tests.compat.report import Outcomes

MISTAKES = {"raises NameError", "raises SyntaxError", "raises KeyError", "raises IndexError", "raises AssertionError"}
EVERY_ROW = {row.name: "1" for row in ROWS}


def outcomes(**changed: str) -> Outcomes:
    """Those of a version in which every row gives 1, but for these."""
    return {"memory": EVERY_ROW, "redis": EVERY_ROW | changed}


def test_the_rows() -> None:
    """At least eighty, each with a name of its own and something to run."""
    assert len(ROWS) >= 80
    assert len({row.name for row in ROWS}) == len(ROWS) == len({row.code for row in ROWS})
    assert all(row.code and "/" in row.name for row in ROWS)


def test_the_list_of_differences() -> None:
    """Every entry has a reason and names rows that exist, none of them twice."""
    assert check_list(read_differences()) == []


def test_the_page_has_the_table_of_the_list() -> None:
    assert command.check_page(write=False) == []


@pytest.mark.parametrize("line", ["| 0.2 and 0.6.3 | this version | why |", "| isolation that is real |"])
def test_the_table(line: str) -> None:
    assert line.split("|")[-2] in table_of(read_differences())


def test_a_page_without_a_place_for_the_table() -> None:
    with pytest.raises(ValueError, match="differences:begin"):
        with_table("nothing", "table")
    assert with_table("a\n<!-- differences:begin -->\nold\n<!-- differences:end -->\nb", "new").count("new") == 1


def test_the_rows_run_on_this_version() -> None:
    """None of them fails for a mistake of its own, and what the list says of this version's errors is so."""
    rows = [list(row) for row in ROWS if "sleep(1" not in row.code]
    given = asyncio.run(probe.run_all(rows))
    assert len(given) == len(rows) >= 80
    assert MISTAKES.isdisjoint(given.values())
    assert given["allocate/form-of-an-id"] == "['sess', 'alice']"
    assert given["allocate/hours-zero"] == "raises ValueError"
    assert given["info/values"].startswith("{'session_id': '<id>', 'sandbox_id': 'box', 'user_id': 'alice'")


class TestVerdicts:
    entry = Difference("old", "new", "because", ["allocate/own-id"])

    def test_all_alike(self) -> None:
        assert problems({"old": outcomes(), "this": outcomes()}, "this", []) == []

    def test_a_difference_on_one_store_only(self) -> None:
        """Counts, unless it is listed."""
        versions = {"old": outcomes(), "this": outcomes(**{"allocate/own-id": "2"})}
        (line,) = problems(versions, "this", [])
        assert line == "allocate/own-id: differs, and is not listed in differences.toml"
        assert problems(versions, "this", [self.entry]) == []

    def test_a_listed_row_that_does_not_differ(self) -> None:
        (line,) = problems({"old": outcomes(), "this": outcomes()}, "this", [self.entry])
        assert line == "allocate/own-id: listed in differences.toml, and does not differ"

    @pytest.mark.parametrize(
        ("entries", "what"),
        [
            ([Difference("old", "new", "because", ["no/such"])], "no such row"),
            ([entry, entry], "more than once"),
            ([Difference("old", "new", " ", [])], "without a reason"),
        ],
    )
    def test_a_bad_list(self, entries: list[Difference], what: str) -> None:
        assert any(what in line for line in check_list(entries))

    def test_cells(self) -> None:
        """One outcome, or both where memory and Redis differ."""
        given = outcomes(**{"allocate/own-id": "2"})
        assert (cells(given, "allocate/own-id"), cells(given, "allocate/empty-id")) == ("1 // 2", "1")
        assert len(columns({"old": given, "this": given}).splitlines()) == len(ROWS) + 1
