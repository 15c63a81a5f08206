"""Metrics for Prometheus, by its client library: ``pip install 'chuk-sessions[prometheus]'``.

``SessionCollector`` is read when Prometheus asks. Where several processes serve one application, each request for the
metrics reaches one of them, and the library adds up files that all of them write (PROMETHEUS_MULTIPROC_DIR). It does
not ask collectors then. So ``mirror`` copies the numbers into metrics of the library, which write these files.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import Counter, Gauge
from prometheus_client import Histogram as LibraryHistogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from chuk_sessions.arguments import check_interval
from chuk_sessions.environment import variable
from chuk_sessions.histogram import BOUNDS, Histogram
from chuk_sessions.instrumentation.families import FAMILIES, PREFIX, Family, Row, Source
from chuk_sessions.instrumentation.metrics import SessionMetrics

__all__ = ["SessionCollector", "mirror"]

logger = logging.getLogger(__name__)

FOLDERS = ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir")  # the library takes the second one too
INTERVAL = 5.0  # seconds
MODES = {"is_up": "livemin"}  # of gauges: what several processes say together; the others are sums


class SessionCollector(Collector):
    """Show the numbers of managers and factories to Prometheus, in a registry of its client library.

    Example:
        >>> REGISTRY.register(SessionCollector(metrics, factory))

    Args:
        metrics: The ``SessionMetrics`` of the managers.
        *factories: The Redis and memory factories whose numbers to show too.

    Raises:
        TypeError: ``metrics`` is no SessionMetrics, or a factory has no numbers.
        RuntimeError: PROMETHEUS_MULTIPROC_DIR is set: use ``mirror``.
    """

    def __init__(self, metrics: SessionMetrics, *factories: Any) -> None:
        if _folder():
            raise RuntimeError(
                f"{_folder()} is set, so the library asks no collector: copy the numbers in each worker with"
                " `async with mirror(metrics, *factories, interval=5)` of chuk_sessions.instrumentation.prometheus"
            )
        self._source = Source(metrics, factories)

    def describe(self) -> Iterator[Metric]:
        """Give all metrics without values; the registry asks for them to find names that come twice.

        Yields:
            A metric of the library for each name.
        """
        for family in FAMILIES:
            yield self._metric(family, [])

    def collect(self) -> Iterator[Metric]:
        """Give all metrics with their values now; the registry calls this when Prometheus asks.

        Yields:
            A metric of the library for each name.
        """
        for family in FAMILIES:
            yield self._metric(family, self._source.rows(family))

    def _metric(self, family: Family, rows: list[Row]) -> Metric:
        name, labels = PREFIX + family.name.removesuffix("_total"), self._source.labels(family)
        if family.kind == "histogram":
            histogram = HistogramMetricFamily(name, family.help, labels=labels)
            for values, times in rows:
                histogram.add_metric(values, times.cumulative(), times.sum)
            return histogram
        kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
        metric = kind(name, family.help, labels=labels)
        for values, number in rows:
            metric.add_metric(values, number)
        return metric


@asynccontextmanager
async def mirror(metrics: SessionMetrics, *factories: Any, interval: float = INTERVAL) -> AsyncIterator[None]:
    """Keep metrics of the library equal to the numbers, for servers of several processes.

    Enter it once in each worker, with ``async with``, for as long as the worker serves. The numbers are copied at the
    begin, every ``interval`` and at the end.

    Args:
        metrics: The ``SessionMetrics`` of the managers.
        *factories: The Redis and memory factories whose numbers to copy too.
        interval: Seconds between two copies, over 0.

    Yields:
        Nothing.

    Raises:
        TypeError: ``metrics`` is no SessionMetrics, a factory has no numbers, or ``interval`` is no number.
        ValueError: ``interval`` is out of range.
        RuntimeError: PROMETHEUS_MULTIPROC_DIR is not set: register a ``SessionCollector``.
    """
    if not _folder():
        raise RuntimeError(f"{FOLDERS[0]} is not set: register a SessionCollector")
    if not (interval := check_interval(interval, "interval")):
        raise ValueError("interval must be over 0")
    copies = _Copies(Source(metrics, factories))
    copies.try_to_renew()
    task = asyncio.create_task(copies.keep(interval))
    try:
        yield
    finally:
        task.cancel()
        copies.try_to_renew()
        await asyncio.wait([task])


class _Copies:
    """Metrics of the library, in no registry, and the numbers that they have by now."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._metrics = {family: _make(family, source.labels(family)) for family in FAMILIES}
        self._failing = False
        self._copied: dict[tuple[str, tuple[str, ...]], Any] = {}
        self._shown: dict[str, set[tuple[str, ...]]] = {}  # by gauge: the labels that it has had

    async def keep(self, interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            self.try_to_renew()

    def try_to_renew(self) -> None:
        """Copy the numbers. A failure, such as a full disk, is logged once, until a copy succeeds again."""
        try:
            self.renew()
        except Exception:
            if not self._failing:
                logger.exception("the numbers could not be copied for Prometheus; the next copy is tried in time")
            self._failing = True
        else:
            self._failing = False

    def renew(self) -> None:
        for family, metric in self._metrics.items():
            rows = self._source.rows(family)
            if family.kind == "gauge":
                rows += self._gone(family, rows)
            for labels, value in rows:
                child = metric.labels(*labels) if labels else metric
                if family.kind == "gauge":
                    child.set(value)
                elif family.kind == "counter":
                    child.inc(value - self._copied.get((family.name, labels), 0))
                    self._copied[family.name, labels] = value
                else:
                    self._add_times(child, family.name, labels, value)

    def _gone(self, family: Family, rows: list[Row]) -> list[Row]:
        """Return rows for servers that are gone: the files would show their last values for ever, as if still true."""
        shown = self._shown.setdefault(family.name, set())
        gone = shown - {labels for labels, _ in rows}
        shown.update(labels for labels, _ in rows)
        return [(labels, int(family.figure == "is_up")) for labels in sorted(gone)]

    def _add_times(self, child: Any, name: str, labels: tuple[str, ...], times: Histogram) -> None:
        """Add to the buckets of a histogram, which the library lets nobody do by a public method."""
        counts, seconds = list(times.counts), times.sum
        before, seconds_before = self._copied.get((name, labels), ([0] * len(counts), 0.0))
        for bucket, count, known in zip(child._buckets, counts, before, strict=True):
            if count > known:
                bucket.inc(count - known)
        child._sum.inc(seconds - seconds_before)
        self._copied[name, labels] = counts, seconds


def _make(family: Family, labels: tuple[str, ...]) -> Any:
    name = PREFIX + family.name
    if family.kind == "histogram":
        return LibraryHistogram(name, family.help, labels, buckets=BOUNDS, registry=None)
    if family.kind == "counter":
        return Counter(name, family.help, labels, registry=None)
    mode: Any = MODES.get(family.figure, "livesum")
    return Gauge(name, family.help, labels, multiprocess_mode=mode, registry=None)


def _folder() -> str:
    """Return the name of the variable that tells the library to write files; empty if none is set."""
    return next((name for name in FOLDERS if variable(name)), "")
