"""Metrics and traces by OpenTelemetry: ``pip install 'chuk-sessions[otel]'``, which is its API alone.

The application brings the SDK and says where everything is sent. Without an SDK nothing is recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter

from chuk_sessions.instrumentation.families import FAMILIES, PREFIX, Family, Source
from chuk_sessions.instrumentation.metrics import SessionMetrics
from chuk_sessions.instrumentation.traces import SessionTraces

__all__ = ["SessionTraces", "observe"]

NAME = "chuk_sessions"
Callback = Callable[[CallbackOptions], Iterable[Observation]]


def observe(metrics: SessionMetrics, *factories: Any, meter_provider: MeterProvider | None = None) -> None:
    """Make observable instruments for the numbers of managers and factories; the SDK asks them when it exports.

    The names are those of Prometheus without ``_total`` and ``_seconds``, which its exporters add. OpenTelemetry has no
    observable histogram, so a histogram is three counters: ``_bucket`` with the attribute ``le``, ``_sum``, ``_count``.

    Args:
        metrics: The ``SessionMetrics`` of the managers.
        *factories: The Redis and memory factories whose numbers to show too.
        meter_provider: The provider of the meter. The default is the global one.

    Returns:
        Nothing: the meter keeps the instruments.

    Raises:
        TypeError: ``metrics`` is no SessionMetrics, or a factory has no numbers.
    """
    source, meter = Source(metrics, factories), get_meter(NAME, meter_provider=meter_provider)
    for family in FAMILIES:
        name = PREFIX + family.name.removesuffix("_total").removesuffix("_seconds")
        if family.kind == "gauge":
            meter.create_observable_gauge(name, [_values(source, family)], description=family.help)
        elif family.kind == "counter":
            meter.create_observable_counter(name, [_values(source, family)], description=family.help)
        else:
            for part, callback in (("bucket", _buckets), ("sum", _sums), ("count", _counts)):
                unit = family.unit if part == "sum" else ""
                meter.create_observable_counter(f"{name}_{part}", [callback(source, family)], unit, family.help)


def _values(source: Source, family: Family) -> Callback:
    return lambda _: [Observation(value, attributes) for attributes, value in _rows(source, family)]


def _buckets(source: Source, family: Family) -> Callback:
    return lambda _: [
        Observation(count, attributes | {"le": bound})
        for attributes, times in _rows(source, family)
        for bound, count in times.cumulative()
    ]


def _sums(source: Source, family: Family) -> Callback:
    return lambda _: [Observation(times.sum, attributes) for attributes, times in _rows(source, family)]


def _counts(source: Source, family: Family) -> Callback:
    return lambda _: [Observation(sum(times.counts), attributes) for attributes, times in _rows(source, family)]


def _rows(source: Source, family: Family) -> list[tuple[dict[str, str], Any]]:
    names = source.labels(family)
    return [(dict(zip(names, labels, strict=True)), value) for labels, value in source.rows(family)]
