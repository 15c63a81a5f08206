"""From results to documents: what a reader sees is what was measured, and an old page is noticed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.bench.cases import merged
from benchmarks.bench.goals import GOALS, Measured, Speed
from benchmarks.bench.tables import tables
from benchmarks.bench.tables import text as bench_text
from benchmarks.pages import units
from benchmarks.pages.markdown import MarkersMissing, Table, between_markers, grid, markers
from benchmarks.pages.publications import publication, publish
from benchmarks.pages.results_file import dumped
from benchmarks.workloads.registry import WORKLOADS
from tests.bench.samples import bench_results, case, options, report_on

BENCH = publication("bench")
BEGIN, END = markers("bench")
OTHERS = "\n".join(line for name in ("compare", "latency") for line in markers(name))
README, CAPACITY = "\n".join(markers("speed")), "\n".join(markers("capacity"))
PAGE = f"# Title\n\n{BEGIN}\nold\n{END}\n{OTHERS}\n\nThe end.\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Results and a page of their own."""
    (tmp_path / BENCH.json_name).write_text(json.dumps(bench_results()))
    (tmp_path / "performance.md").write_text(PAGE)
    (tmp_path / "README.md").write_text(README)
    (tmp_path / "capacity.md").write_text(CAPACITY)
    return tmp_path


def cells(title: str, first: str) -> tuple[str, ...]:
    """The row of a table that begins with that cell."""
    table = next(table for table in tables(bench_results()) if table.title == title)
    return next(row for row in table.rows if row[0] == first)


def test_published_stands_beside_measured_and_the_ratio() -> None:
    """200 ns a GET is 5 million a second, 2.75 times what was published."""
    row = cells("Providers", "Memory")
    assert row == ("Memory", "GET", "0.000 ms", "1,818k/s", "200 ns", "5,000k/s", "2.75x", "25%", "-", "-", "-", "-")


def test_overhead_is_the_manager_call_less_the_provider_call() -> None:
    """300 ns less 200 ns, against 0.05 ms."""
    row = cells("Session manager", "Memory")
    assert row == ("Memory", "validate", "~0.05 ms", "300 ns", "200 ns", "100 ns", "500x", "25%")


def test_cycles_and_single_calls_are_both_given() -> None:
    """One cycle is one operation as published; its three calls are counted as well."""
    row = cells("Concurrent access", "Memory")
    assert row[2:] == ("609k/s", "2,000k/s", "3.28x", "2 µs", "1 µs", "2.00x", "6,000k/s", "400 ns", "25%")


def row_of(name: str) -> tuple[str, ...]:
    """The row of a payload."""
    table = next(table for table in tables(bench_results()) if table.title == "Values of all sizes, and JSON")
    return next(row for row in table.rows if row[1].startswith(WORKLOADS[name].operation))


def test_older_results_can_still_be_read(folder: Path) -> None:
    """One process per case has no spread, and what was not measured has no table."""
    old = bench_results() | {"schema": 1}
    del old["sessions"]
    for one in old["cases"]:
        del one["processes"]
    (folder / BENCH.json_name).write_text(json.dumps(old))
    assert report_on(folder) == 0
    assert "Memory per session" not in (folder / "performance.md").read_text()


def test_the_best_process_is_shown_and_all_are_kept() -> None:
    """Of three processes; the figures beside the median are of the same process."""
    launches = [[case("memory.get", "asyncio", seconds, 10_000, beside_ns=seconds)] for seconds in (3.0, 1.0, 2.0)]
    found = merged(launches)
    assert len(found) == 1
    assert found[0]["stats"]["median"] == found[0]["extra_info"]["beside_ns"] == 1.0
    assert found[0]["processes"] == [3.0, 1.0, 2.0]


def test_large_values_and_footprint_are_there() -> None:
    """The other two tables."""
    assert row_of("memory.set-10kb")[2:] == ("0.001 ms", "300 ns", "3,333k/s", "3.33x", "25%")
    assert cells("Memory per session", "Memory")[1:] == ("1,000 of one user", "514 B", "109 B")
    assert cells("Memory per session", "Redis 7.0.15")[1:] == ("20 of one user", "328 B", "-")
    assert cells("Memory per session", "Redis 6.2.1")[1:3] == ("20, each of another user", "1348 B")
    assert cells("Memory per item", "1,000")[1:3] == ("345 B", "131 B")


def test_needed_stands_beside_measured_with_a_plain_mark() -> None:
    """Reached, missed, and not measured look different; none of them is an error."""
    table = tables(bench_results())[-1]
    rows = {row[0]: row for row in table.rows}
    assert len(rows) == len(GOALS)
    assert rows["memory GET"][2:5] == ("at least 3x", "3.00x", "3.00x - 3.21x")
    assert rows["memory GET"][5:8] == ("ok; a process failed: no Redis", "200 ns", "610 ns")
    assert rows["memory DELETE"][3:6] == ("-", "-", "no Redis")
    assert rows["Redis GET, 50 callers, uvloop"][3:6] == ("-", "-", "not measured")
    assert rows["churn: longest loop stall"][3:6] == ("1.00x", "-", "ok")
    assert rows["churn: peak resident memory"][3:6] == ("2.00x", "-", "ok")


@pytest.mark.parametrize(
    ("at_most", "ratio", "reached"), [(False, 3.0, True), (False, 2.99, False), (True, 3.0, True), (True, 3.01, False)]
)
def test_a_goal_is_reached_at_its_bound(at_most: bool, ratio: float, reached: bool) -> None:
    """At least and at most both take the bound itself."""
    goal = Speed("work", "peer", 3.0, at_most)
    assert goal.reached(Measured(ratio, "", "")) is reached


@pytest.mark.parametrize(
    ("at_most", "theirs", "mark"),
    [
        (False, [[300.0], [310.0], [305.0]], "ok"),
        (False, [[280.0], [250.0], [320.0]], "inconclusive"),
        (False, [[280.0], [285.0], [290.0]], "short"),
        (False, [[280.0]], "short"),
        (True, [[30.0], [20.0], [36.0]], "inconclusive"),
        (True, [[30.0], [31.0], [32.0]], "short"),
        (True, [[40.0], [31.0], [34.0]], "ok"),
    ],
)
def test_a_goal_is_missed_only_if_the_whole_interval_is(at_most: bool, theirs: list[list[float]], mark: str) -> None:
    """Three times as fast, or three times the time at most; a slow process on either side is noise."""
    goal = Speed("work", "peer", 3.0, at_most, "memory", "memory.get")
    sides = {"ours": [[100.0]] * len(theirs), "0.2": theirs}
    peers = {side: {"workloads": {"memory.get": processes}} for side, processes in sides.items()}
    measured = goal.measure({"peers": {"memory": peers}})
    assert measured is not None
    assert goal.mark(measured) == mark


def test_a_run_with_the_server_on_another_core_has_a_page_of_its_own(folder: Path) -> None:
    """It neither stands in docs/performance.md nor in the place of the other one."""
    publish("bench-apart", bench_results() | {"placement": "apart"}, folder)
    assert "a processor core each" in " ".join((folder / "BENCH-APART.md").read_text().split())
    assert "from bench-apart.json" in (folder / "BENCH-APART.md").read_text()
    assert report_on(folder) == 0
    assert "a processor core each" not in " ".join((folder / "performance.md").read_text().split())
    assert report_on(folder, "--check") == 0


def test_the_setting_says_what_a_reader_needs() -> None:
    """Machine, versions, date, commit and that it was not committed."""
    text = bench_text(bench_results())
    for words in ("Example CPU", "CPython 3.11.7", "redis 8.1.0", "2025-01-02", "0123456789ab, with uncommitted"):
        assert words in text
    assert "7.0.15 (save '', appendonly no)" in text
    assert text.count("* Redis server: 7.0.15\n") == 1


def test_report_writes_both_documents_and_check_then_passes(folder: Path) -> None:
    """Text around the markers stays; a second run changes nothing."""
    assert report_on(folder, "--check") == 1
    assert report_on(folder) == 0
    assert report_on(folder, "--check") == 0
    written = (folder / "performance.md").read_text()
    assert written.startswith("# Title\n")
    assert written.endswith("The end.\n")
    assert "old" not in written.split(BEGIN)[1].split("\n")
    assert report_on(folder) == 0
    assert (folder / "performance.md").read_text() == written


def test_check_notices_an_edited_page_and_newer_results(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Either side may have moved."""
    assert report_on(folder) == 0
    page = folder / "performance.md"
    page.write_text(page.read_text().replace("2.75x", "9.99x"))
    assert report_on(folder, "--check") == 1
    assert "performance.md differs" in capsys.readouterr().out
    assert report_on(folder) == 0
    newer = bench_results()
    newer["cases"][0]["stats"]["median"] = 0.001
    (folder / BENCH.json_name).write_text(json.dumps(newer))
    assert report_on(folder, "--check") == 1


def test_check_notices_a_page_without_results(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody knows where its figures come from."""
    for name in ("performance.md", "capacity.md", "README.md"):
        (folder / name).rename(folder.parent / name)
    arguments = options(folder, folder.parent)
    assert report.main(arguments) == 0
    assert report.main([*arguments, "--check"]) == 0
    (folder / "COMPARE.md").write_text("| this version | 1 ns |\n")
    assert report.main([*arguments, "--check"]) == 1
    assert "COMPARE.md is made of no results" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (BENCH.json_name, None, "run nox -s bench first"),
        (BENCH.json_name, '{"schema": 99}', "schema 99"),
        ("performance.md", "no markers", "there must be one"),
        ("README.md", "no markers", "there must be one"),
        ("capacity.md", "no markers", "there must be one"),
    ],
)
def test_what_cannot_be_reported_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, content: str | None, message: str
) -> None:
    """A plain message and an exit code of its own, no traceback."""
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    assert report_on(folder) == 2
    assert message in capsys.readouterr().err


def test_a_list_of_figures_is_one_line_of_the_json() -> None:
    """Thousands of blocks stay readable, and equal to what was measured."""
    found = {"text": "[1, 2]", "blocks": [[1.5, 2e-05, -3], []], "more": [{"a": 1}]}
    assert "[1.5,2e-05,-3]" in dumped(found)
    assert json.loads(dumped(found)) == found


def test_the_readme_has_six_rows(folder: Path) -> None:
    """Of the speed to reach; what was not measured is a dash."""
    assert report_on(folder) == 0
    lines = [line for line in (folder / "README.md").read_text().splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 6
    assert "| memory GET                             | 0.2      |         3.00x |" in lines
    assert lines[-1].endswith("|             - |")
    (folder / "README.md").write_text(README)
    assert report_on(folder, "--check") == 1


@pytest.mark.parametrize("document", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}"])
def test_markers_must_be_one_pair_in_order(document: str) -> None:
    """Rather no text than a page cut in pieces."""
    with pytest.raises(MarkersMissing):
        between_markers(document, "text", "bench")


def test_columns_of_figures_stand_to_the_right() -> None:
    """So that they can be compared by eye."""
    assert grid(("Name", "Time"), [("a", "10 ns"), ("bb", "-")]) == (
        "| Name |  Time |\n| ---- | ----: |\n| a    | 10 ns |\n| bb   |     - |"
    )
    assert str(Table("T", "words", ("A",), [("x",)])).startswith("### T\n\nwords\n\n| A |")


def test_units() -> None:
    """Three figures, in the unit that suits."""
    assert [units.duration(ns) for ns in (165.4, 1_650, 46_100, 123_456, 1_600_000)] == [
        "165 ns",
        "1.65 µs",
        "46.1 µs",
        "123 µs",
        "1.6 ms",
    ]
    assert [units.rate(value) for value in (None, 1_818_000, 9_400)] == ["-", "1,818k/s", "9.4k/s"]
    assert [units.times(value) for value in (None, 1.234, 12.34, 1_234.5)] == ["-", "1.23x", "12.3x", "1,234x"]
