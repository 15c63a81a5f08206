"""The numbers of a node, summed over its connection, its earlier connections and its lane."""

from __future__ import annotations

from collections import deque

from chuk_sessions.redis_client.commands import Command
from chuk_sessions.redis_client.connection import Connection
from chuk_sessions.redis_client.lane import Lane
from chuk_sessions.redis_client.link import Link
from chuk_sessions.redis_client.open_batches import Tally

__all__ = ["Numbers"]


class Numbers:
    """The numbers of a ``Node``, whose attributes these are."""

    _connection: Connection | None
    _waiting: deque[Command]
    _link: Link
    _lane: Lane
    _written: int
    _writes: int
    _timeouts: int
    tally: Tally

    @property
    def scripts(self) -> int:
        """Batch scripts, with a key for each caller, written so far."""
        return self.tally.scripts

    @property
    def script_keys(self) -> int:
        """Keys of these scripts."""
        return self.tally.keys

    @property
    def reconnects(self) -> int:
        """Connections made after the first one."""
        return self._link.reconnects + self._lane.number("reconnects")

    @property
    def login_renewals(self) -> int:
        """Logins renewed on connections that went on."""
        return self._link.login_renewals + self._lane.number("login_renewals")

    @property
    def in_flight(self) -> int:
        """Commands written and not answered yet."""
        here = 0 if self._connection is None else self._connection.in_flight
        return here + self._lane.number("in_flight")

    @property
    def waiting(self) -> int:
        """Commands not written yet."""
        here = len(self._waiting) + (0 if self._connection is None else self._connection.queued)
        return here + self._lane.number("waiting")

    @property
    def bytes_in_flight(self) -> int:
        """Bytes of commands written and not answered yet, up to the end of the write that they are part of."""
        here = 0 if self._connection is None else self._connection.bytes_in_flight
        return here + self._lane.number("bytes_in_flight")

    @property
    def written(self) -> int:
        """Commands written so far."""
        here = self._written + (0 if self._connection is None else self._connection.commands_written)
        return here + self._lane.number("written")

    @property
    def writes(self) -> int:
        """Writes to the socket so far."""
        here = self._writes + (0 if self._connection is None else self._connection.writes)
        return here + self._lane.number("writes")

    @property
    def timeouts(self) -> int:
        """Commands given up so far."""
        return self._timeouts + self._lane.number("timeouts")
