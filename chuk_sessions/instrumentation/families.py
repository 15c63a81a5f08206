"""The metrics by name, type and labels, and their values at the moment: what every library shows in its own way.

The values are read when a library asks for them: the integers of a ``SessionMetrics``, and the numbers of factories.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from chuk_sessions.histogram import Histogram, merged
from chuk_sessions.instrumentation.metrics import SessionMetrics

__all__ = ["FAMILIES", "PREFIX", "Family", "Row", "Source"]

PREFIX = "chuk_sessions_"
Kind = Literal["counter", "gauge", "histogram"]
Row = tuple[tuple[str, ...], Any]  # the values of the labels; a number, or a Histogram


@dataclass(frozen=True)
class Family:
    """A metric. ``figure`` says where its numbers come from; ``unit`` is ``s`` for seconds, else empty."""

    name: str  # after PREFIX, as Prometheus shows it
    kind: Kind
    help: str
    labels: tuple[str, ...]
    figure: str
    unit: str = ""


# Of a near cache: name, kind, end of the name, words.
NEAR: tuple[tuple[str, Kind, str, str], ...] = (
    ("state", "gauge", "", "2: the near cache serves; 1: not yet, or no connection; 0: the server refused."),
    ("entries", "gauge", "", "Sessions in the near cache."),
    ("bytes", "gauge", "", "Their bytes, rather too many."),
    ("hits", "counter", "_total", "Calls answered from the near cache."),
    ("misses", "counter", "_total", "Calls that went to the server, although the near cache was asked."),
    ("lapsed", "counter", "_total", "Those of them whose entry was not known to be young enough."),
    ("invalidations", "counter", "_total", "Changes that the server told of."),
    ("poisoned", "counter", "_total", "Reads that were not kept, because the session changed meanwhile."),
    ("evictions", "counter", "_total", "Sessions that made room for others in the near cache."),
    ("flushes", "counter", "_total", "How often the near cache was emptied."),
    ("fences", "counter", "_total", "How often the server was asked whether it is still there."),
)


def _of_server(name: str, kind: Kind, figure: str, words: str, unit: str = "") -> Family:
    return Family(f"redis_{name}", kind, words, ("server",), figure, unit)


FAMILIES = (
    Family(
        "operations_total", "counter", "Operations on the store that have ended.", ("operation", "outcome"), "outcomes"
    ),
    Family("operation_errors_total", "counter", "Operations that failed.", ("operation", "kind"), "errors"),
    Family(
        "operation_duration_seconds",
        "histogram",
        "How long operations took; not of sessions in memory.",
        ("operation",),
        "times",
        "s",
    ),
    _of_server(
        "round_trip_seconds",
        "histogram",
        "round_trips",
        "From a write to the reply of its last command; with timings=True.",
        "s",
    ),
    _of_server("commands_total", "counter", "commands", "Commands written."),
    _of_server("writes_total", "counter", "writes", "Writes to the socket."),
    _of_server("reconnects_total", "counter", "reconnects", "Connections made after the first one."),
    _of_server("timeouts_total", "counter", "timeouts", "Commands without a reply in time."),
    _of_server("redirects_total", "counter", "redirects", "Commands that the server sent to another one."),
    _of_server("login_renewals_total", "counter", "login_renewals", "Logins renewed over a connection in use."),
    _of_server("scripts_total", "counter", "scripts", "Scripts with a key for each of several callers."),
    _of_server("script_keys_total", "counter", "script_keys", "Keys of these scripts."),
    _of_server("in_flight_commands", "gauge", "in_flight", "Commands written and not answered."),
    _of_server("in_flight_bytes", "gauge", "bytes_in_flight", "Bytes of commands written and not answered."),
    _of_server("waiting_commands", "gauge", "waiting", "Commands that wait to be written."),
    _of_server("up", "gauge", "is_up", "1 if commands go to the server, 0 if they wait or fail."),
    *(Family(f"near_{name}{end}", kind, words, (), f"near_{name}") for name, kind, end, words in NEAR),
    Family("memory_sessions", "gauge", "Sessions in the memory of this process.", (), "sessions"),
    Family("memory_items", "gauge", "Values in the memory of this process.", (), "items"),
    Family("memory_expired_total", "counter", "Sessions and values removed after their deadline.", (), "expired"),
    Family("memory_evicted_total", "counter", "Sessions and values removed to make room.", (), "evicted"),
)


class Source:
    """Reads a ``SessionMetrics`` and factories. Raises TypeError for a factory that has no numbers.

    Several factories of one URL share a client: its numbers come once.
    """

    def __init__(self, metrics: SessionMetrics, factories: Iterable[Any]) -> None:
        if not isinstance(metrics, SessionMetrics):
            raise TypeError(f"metrics must be a SessionMetrics, got {type(metrics).__name__}")
        self._metrics = metrics
        self._servers: dict[int, Any] = {}
        self._memories: dict[int, Any] = {}
        for factory in factories:
            if hasattr(factory, "server_stats"):
                self._servers[id(factory._client)] = factory
            elif hasattr(factory, "stats"):
                self._memories[id(factory._store)] = factory
            else:
                raise TypeError(f"a {type(factory).__name__} has no numbers to show: leave it out")

    def labels(self, family: Family) -> tuple[str, ...]:
        """Return the names of the labels of a family."""
        by_sandbox = self._metrics.by_sandbox and "operation" in family.labels
        return (*family.labels, "sandbox") if by_sandbox else family.labels

    def rows(self, family: Family) -> list[Row]:
        """Return the values of a family now."""
        if "operation" in family.labels:
            return self._operations(family)
        if "server" in family.labels:
            return self._of_servers(family)
        factories = self._servers if family.figure.startswith("near_") else self._memories
        known = [stats[family.figure] for each in factories.values() if family.figure in (stats := each.stats())]
        together = min if family.figure == "near_state" else sum
        return [((), together(known))] if known else []

    def _operations(self, family: Family) -> list[Row]:
        rows: list[Row] = []
        for sandbox, operation, tally in self._metrics.tallies():
            end = (sandbox,) if self._metrics.by_sandbox else ()
            if family.figure == "times":
                if tally.times is not None and any(tally.times.counts):
                    rows.append(((operation, *end), tally.times))
            else:
                numbers = tally.errors if family.figure == "errors" else tally.outcomes(operation)
                rows += [((operation, name, *end), number) for name, number in numbers.items()]
        return rows

    def _of_servers(self, family: Family) -> list[Row]:
        """Return the numbers of each server. One that has left its cluster keeps its counters, and has no state."""
        found: dict[str, list[Any]] = {}
        for factory in self._servers.values():
            for name, numbers in factory.server_stats().items():
                if family.kind != "gauge" or not numbers.is_gone:
                    found.setdefault(name, []).append(getattr(numbers, family.figure))
        return [((name,), value) for name, several in found.items() if (value := _together(several)) is not None]


def _together(several: list[Any]) -> Any:
    """Add up what several clients have counted for one server; None if no client counts that."""
    known = [each for each in several if each is not None]
    if not known:
        return None
    if isinstance(known[0], bool):
        return int(all(known))
    return merged(known) if isinstance(known[0], Histogram) else sum(known)
