"""Plots: what is drawn is what was measured, and the same results give the same file."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.compare.page import in_short
from benchmarks.compare.sides import OURS
from benchmarks.latency.page import MODES
from benchmarks.measure.timing import QUANTILES
from benchmarks.pages import charts
from benchmarks.pages.line_chart import HEIGHT, LABEL_HEIGHT, WIDTH, Axis, Chart, Line, decades, spread_out
from benchmarks.pages.markdown import markers
from benchmarks.pages.publications import PUBLICATIONS
from tests.bench.samples import bench_results, compare_results, latency_results, report_on

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    return ["".join(element.itertext()) for element in ET.fromstring(svg).iter(f"{SVG}text")]


def test_a_point_stands_where_its_value_is() -> None:
    """Halfway on a logarithmic axis is the square root; the ends are the first and the last tick."""
    axis = Axis("x", [(1.0, "1"), (100.0, "100")], logarithmic=True)
    assert [axis.share(value) for value in (1, 10, 100)] == pytest.approx([0, 0.5, 1])
    assert Axis("x", [(0.0, "0"), (200.0, "200")]).share(50) == 0.25
    chart = Chart("T", "s", axis, Axis("y", [(0.0, "0"), (10.0, "10")]), [Line("a & b", [(1, 0), (100, 10)])])
    circles = list(ET.fromstring(chart.svg()).iter(f"{SVG}circle"))
    low, high = ((float(circle.attrib["cx"]), float(circle.attrib["cy"])) for circle in circles)
    assert 0 < low[0] < high[0] < WIDTH
    assert 0 < high[1] < low[1] < HEIGHT
    assert "a & b" in texts(chart.svg())


def test_labels_do_not_cover_each_other() -> None:
    """They keep their order and stay within the plot while there is room."""
    found = spread_out([50, 52, 51, 300], 40, 320)
    assert sorted(found) == [found[0], found[2], found[1], found[3]]
    gaps = [later - earlier for earlier, later in pairwise(sorted(found))]
    assert min(gaps) >= LABEL_HEIGHT
    assert min(spread_out([319, 320, 320], 40, 320)) == 320 - 2 * LABEL_HEIGHT


def test_decades_hold_all_values() -> None:
    """At least one decade, with texts where there are some."""
    assert decades([150.0, 9_000.0], {1_000.0: "1k"}) == [(100.0, "100"), (1_000.0, "1k"), (10_000.0, "10000")]
    assert len(decades([100.0], {})) == 2


def test_bytes_per_item_need_two_sizes() -> None:
    """A line of one point is none."""
    assert charts.of_bench(bench_results()) == {}
    two = bench_results()
    two["footprint"].append({"items": 10_000, "bytes_per_item": 340.0, "payload_bytes": 214})
    assert "the store's own part" in texts(charts.of_bench(two)["bytes.svg"])


def test_throughput_shows_where_a_library_fails() -> None:
    """Its line ends before, and its name says so; a loop that was not measured has no plot."""
    plots = charts.of_compare(compare_results())
    assert list(plots) == ["throughput-uvloop.svg"]
    shown = texts(plots["throughput-uvloop.svg"])
    assert OURS in shown
    assert "redis-py (fails at 500)" in shown
    assert len(list(ET.fromstring(plots["throughput-uvloop.svg"]).iter(f"{SVG}circle"))) == 7


def test_latency_shows_all_modes() -> None:
    """Named, each with a point per percentile."""
    svg = charts.of_latency(latency_results())["latency.svg"]
    assert {f"Redis get, 50 callers, {mode}" for mode in MODES} <= set(texts(svg))
    assert len(list(ET.fromstring(svg).iter(f"{SVG}circle"))) == len(MODES) * len(QUANTILES)
    assert charts.of_latency(latency_results() | {"runs": []}) == {}


def test_without_uvloop_page_and_plots_show_the_other_loop() -> None:
    """And say which one it is; with both it is uvloop, which comes last."""
    compared = compare_results()
    for contest in compared["contests"]:
        contest["loop"] = "asyncio"
    assert "### GET on Redis, asyncio" in in_short(compared)
    latency = latency_results()
    assert any(text.startswith("Redis on uvloop;") for text in texts(charts.of_latency(latency)["latency.svg"]))
    latency["runs"][0]["loop"] = "asyncio"
    shown = texts(charts.of_latency(latency)["latency.svg"])
    assert any(text.startswith("Redis on asyncio;") for text in shown)
    assert "Redis get, 50 callers, closed" in shown


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A page, and results of three kinds."""
    parts = "\n".join(line for kind in PUBLICATIONS if kind.in_short for line in markers(kind.name))
    (tmp_path / "README.md").write_text("\n".join(markers("speed")))
    (tmp_path / "capacity.md").write_text("\n".join(markers("capacity")))
    (tmp_path / "performance.md").write_text(f"# Title\n{parts}\n")
    for name, found in (("bench", bench_results()), ("compare", compare_results()), ("latency", latency_results())):
        (tmp_path / f"{name}.json").write_text(json.dumps(found))
    return tmp_path


def test_pages_and_plots_are_written_and_checked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An edited plot is noticed like an edited table."""
    assert report_on(folder) == 0
    assert report_on(folder, "--check") == 0
    assert {path.name for path in folder.glob("*.svg")} == {"throughput-uvloop.svg", "latency.svg"}
    assert "![latency.svg](latency.svg)" in (folder / "LATENCY.md").read_text()
    page = (folder / "performance.md").read_text()
    assert "![throughput-uvloop.svg](../results/throughput-uvloop.svg)" in page
    assert "MaxConnectionsError: Too many" in page
    plot = folder / "latency.svg"
    plot.write_text(plot.read_text().replace("percentile", "per cent"))
    assert report_on(folder, "--check") == 1
    assert "latency.svg differs" in capsys.readouterr().out


def test_results_that_are_not_there_are_said_to_be_missing(folder: Path) -> None:
    """With how to make them."""
    (folder / "compare.json").unlink()
    assert report_on(folder) == 0
    assert "`nox -s compare` makes one" in (folder / "performance.md").read_text()
    assert not (folder / "COMPARE.md").exists()
