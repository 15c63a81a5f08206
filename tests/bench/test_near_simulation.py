"""The figures of docs/operate/near-cache.md are those of the simulation."""

from __future__ import annotations

from benchmarks.measure.processes import ROOT
from benchmarks.near.simulation import TRAFFIC, hit_ratio, table


def test_the_page_has_the_table() -> None:
    """`python -m benchmarks.near.simulation` prints it."""
    page = (ROOT / "docs" / "operate" / "near-cache.md").read_text(encoding="utf-8")
    assert f"<!-- near:begin -->\n\n{table()}\n\n<!-- near:end -->" in page


def test_a_session_that_each_request_touches_is_never_a_hit() -> None:
    """And one that is touched once is one."""
    assert hit_ratio(TRAFFIC[1], 1, interval=0) == 0
    assert hit_ratio(TRAFFIC[1], 1, interval=1e9) > 0.99
