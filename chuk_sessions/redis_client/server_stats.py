"""The numbers of each server, as ``RedisFactory.server_stats`` gives them, over all event loops of the process."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from chuk_sessions.histogram import Histogram, merged
from chuk_sessions.redis_client.states import State

__all__ = ["CLUSTER", "ServerStats", "of_cluster", "of_node", "total"]

CLUSTER = "cluster"  # the name under which a cluster counts what belongs to none of its servers
# Of several event loops the worst state counts. A loop that has ended says nothing about the server.
WORST_LAST = [state.value for state in (State.CLOSED, State.NEW, State.UP, State.IDLE, State.RECONNECTING, State.DOWN)]


@dataclass
class ServerStats:
    """Give the numbers of one server in this process.

    A number without ``now`` counts from the start of the process, and never runs backwards.

    Attributes:
        state: ``new`` (never reached), ``up``, ``idle`` (the server closed the unused connection), ``reconnecting``
            (calls wait), ``down`` (calls fail at once) or ``closed``. Of several event loops the worst one.
        in_flight: Commands that are written and not answered, now.
        bytes_in_flight: Bytes of these commands, now.
        waiting: Commands that wait to be written, now.
        commands: Commands written.
        writes: Writes to the socket.
        reconnects: Connections made after the first one.
        timeouts: Commands without a reply in time.
        redirects: Commands that the server, one of a cluster, sent to another one.
        login_renewals: Logins that were renewed over a connection in use.
        scripts: Scripts with a key for each of several callers: validations, and sessions opened.
        script_keys: Keys of these scripts.
        round_trips: Times from a write to the reply of its last command; None without ``timings``.
    """

    state: str = State.CLOSED.value
    in_flight: int = 0
    bytes_in_flight: int = 0
    waiting: int = 0
    commands: int = 0
    writes: int = 0
    reconnects: int = 0
    timeouts: int = 0
    redirects: int = 0
    login_renewals: int = 0
    scripts: int = 0
    script_keys: int = 0
    round_trips: Histogram | None = None

    @property
    def is_up(self) -> bool:
        """Whether commands go to a connection, or would make one."""
        return self.state in (State.NEW.value, State.UP.value, State.IDLE.value)

    @property
    def is_gone(self) -> bool:
        """Whether no event loop uses the server any more: it has left its cluster, or the loops have ended."""
        return self.state == State.CLOSED.value

    def past(self) -> ServerStats:
        """Return these numbers as they are once the server or the event loop is gone."""
        return ServerStats(**{**vars(self), "state": State.CLOSED.value, **dict.fromkeys(NOW, 0)})

    def __add__(self, other: ServerStats) -> ServerStats:
        sums = {name: getattr(self, name) + getattr(other, name) for name in NUMBERS}
        times = [each.round_trips for each in (self, other) if each.round_trips is not None]
        state = max(self.state, other.state, key=WORST_LAST.index)
        return ServerStats(state, **sums, round_trips=merged(times) if times else None)


NOW = ("in_flight", "bytes_in_flight", "waiting")
NUMBERS = [field.name for field in fields(ServerStats) if field.type == "int"]


def of_node(node: Any) -> ServerStats:
    """Return the numbers of a ``Node``."""
    numbers = {name: getattr(node, name) for name in NUMBERS if name != "commands"}
    return ServerStats(node.state.value, commands=node.written, **numbers, round_trips=node.round_trips)


def of_cluster(waiting: int, timeouts: int, scripts: int, script_keys: int, is_up: bool) -> ServerStats:
    """Return the numbers of a cluster that belong to none of its servers."""
    state = State.UP if is_up else State.DOWN
    return ServerStats(state.value, waiting=waiting, timeouts=timeouts, scripts=scripts, script_keys=script_keys)


def total(*several: dict[str, ServerStats]) -> dict[str, ServerStats]:
    """Add up the numbers of equal servers."""
    found: dict[str, ServerStats] = {}
    for each in several:
        for name, numbers in each.items():
            found[name] = found[name] + numbers if name in found else numbers
    return found
