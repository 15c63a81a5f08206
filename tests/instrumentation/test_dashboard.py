"""The dashboard of examples/observability: Grafana's own model reads it, and each of its panels shows something."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest

from tests.instrumentation.test_alerts import FOLDER, SAMPLES, metrics_in, needs
from tests.support.helpers import eventually
from tests.support.prometheus_server import WINDOW, Prometheus, shop
from tests.support.servers import RedisServer, free_port

if TYPE_CHECKING:
    from pathlib import Path

DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
TARGETS: list[dict[str, Any]] = [target for panel in PANELS for target in panel["targets"]]
WIDTH = 24  # of the grid of Grafana
SOURCE = {"type": "prometheus", "uid": "${datasource}"}  # whatever the reader chose
# In models of Grafana's schema this field of a variable is missing: Grafana itself writes it.
UNKNOWN = {"/templating/list/1/definition"}


def test_panels_say_what_they_show() -> None:
    assert len(PANELS) >= 10
    assert all(panel["title"] and panel["description"] for panel in PANELS)
    assert {panel["type"] for panel in PANELS} <= {"stat", "timeseries"}


def test_names_are_unique() -> None:
    """Ids and titles of panels, and within a panel the names of its queries."""
    for name in ("id", "title"):
        assert set(Counter(panel[name] for panel in PANELS).values()) == {1}
    assert all(len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) for panel in PANELS)


def test_panels_lie_beside_each_other() -> None:
    """Within the grid; none covers another."""
    places = [panel["gridPos"] for panel in PANELS]
    assert all(place["x"] + place["w"] <= WIDTH and min(place.values()) >= 0 for place in places)
    cells = [
        {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])} for place in places
    ]
    assert not any(one & other for one, other in combinations(cells, 2))


def test_the_variables() -> None:
    """Which data source, and which applications: every panel and every query goes by both."""
    source, job = DASHBOARD["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    assert (job["name"], job["datasource"]) == ("job", SOURCE)
    assert all(each["datasource"] == SOURCE for each in PANELS)
    assert all(target.get("datasource", SOURCE) == SOURCE for target in TARGETS)
    for target in TARGETS:
        assert target["expr"].count('{job=~"$job"') == len(re.findall(r"chuk_sessions_\w+", target["expr"])) > 0
        assert set(re.findall(r"\$(\w+)", target["expr"])) <= {"job", "__rate_interval"}


def test_queries_use_metrics_that_exist() -> None:
    assert metrics_in(" ".join(target["expr"] for target in TARGETS)) <= SAMPLES


def lost(ours: Any, theirs: Any, path: str = "") -> set[str]:
    """The places where the model has dropped or changed what we have."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return {each for key, value in ours.items() for each in lost(value, theirs.get(key), f"{path}/{key}")}
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return {each for n, value in enumerate(ours) for each in lost(value, theirs[n], f"{path}/{n}")}
    return set() if ours == theirs else {path}


def test_grafanas_model_reads_it() -> None:
    """It has a place for every field, and gives each back as it was: no name or kind of value is unknown to Grafana."""
    model = pytest.importorskip("grafana_foundation_sdk.models.dashboard", reason="the SDK of Grafana is not installed")
    from_sdk = pytest.importorskip("grafana_foundation_sdk.cog.encoder")
    pytest.importorskip("grafana_foundation_sdk.cog.plugins").register_default_plugins()
    read = json.loads(from_sdk.JSONEncoder().encode(model.Dashboard.from_json(DASHBOARD)))
    assert lost(DASHBOARD, read) == UNKNOWN


@needs("prometheus")
@pytest.mark.redis
@pytest.mark.faults
async def test_each_query_has_an_answer(tmp_path: Path) -> None:
    """From a real Prometheus, which scrapes the example; Grafana would put in the variables."""
    pytest.importorskip("prometheus_client", reason="the extra prometheus is not installed")
    port = free_port()
    prometheus = Prometheus(tmp_path, {"shop": port})
    queries = [target["expr"].replace("$__rate_interval", WINDOW).replace("$job", ".*") for target in TARGETS]
    with RedisServer() as server, prometheus.running():
        async with shop(tmp_path, server.url, port, visitors=5, pause=0.02, near_cache=1):
            for query in queries:
                await eventually(lambda: prometheus.series(query))  # noqa: B023 - of this round
            assert await prometheus.value('min(chuk_sessions_redis_up{job=~"shop"})') == 1
            assert await prometheus.value('sum(rate(chuk_sessions_operations_total{job=~"other"}[4s]))') == 0
