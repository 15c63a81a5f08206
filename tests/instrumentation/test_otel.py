"""Metrics by OpenTelemetry: observable instruments over the integers that Prometheus gets too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.instrumentation import SessionMetrics
from chuk_sessions.instrumentation.families import FAMILIES, PREFIX
from chuk_sessions.providers import memory, redis

if TYPE_CHECKING:
    from tests.support.servers import RedisServer

pytest.importorskip("opentelemetry.sdk", reason="the SDK of OpenTelemetry is not installed")
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from chuk_sessions.instrumentation import otel


def exported(reader: InMemoryMetricReader) -> dict[str, dict[tuple[str, ...], Any]]:
    """By name and values of the attributes in the order of their names."""
    data: Any = reader.get_metrics_data()
    return {
        metric.name.removeprefix(PREFIX): {
            tuple(str(value) for _, value in sorted(point.attributes.items())): point.value
            for point in metric.data.data_points
        }
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


@pytest.mark.redis
async def test_the_numbers_of_prometheus(redis_server: RedisServer, redis_url: str) -> None:
    """Under its names without the ends that its exporter adds; a histogram is three counters."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    metrics, factory, other = SessionMetrics(), redis.factory(redis_url, timings=True), memory.factory()
    otel.observe(metrics, factory, other, meter_provider=provider)
    manager = SessionManager("box", factory, metrics=metrics)
    await manager.validate_session(await manager.allocate_session())
    found = exported(reader)
    provider.shutdown()
    plain = {family.name.removesuffix("_total") for family in FAMILIES if family.kind != "histogram"}
    times = {
        f"{family.name.removesuffix('_seconds')}_{part}"
        for family in FAMILIES
        if family.kind == "histogram"
        for part in ("bucket", "sum", "count")
    }
    assert set(found) == {name for name in plain | times if not name.startswith("near_")}  # there is no near cache
    server = f"{redis_server.host}:{redis_server.port}"
    assert found["operations"]["touch", "found"] == 1
    assert found["redis_up"] == {(server,): 1}
    assert found["operation_duration_count"] == {("create",): 1, ("touch",): 1}
    assert found["operation_duration_bucket"]["+Inf", "create"] == 1
    assert found["redis_round_trip_sum"][server,] > 0


def test_what_is_refused() -> None:
    with pytest.raises(TypeError, match="a dict has no numbers to show"):
        otel.observe(SessionMetrics(), {})
