"""The states of a server, as seen from one event loop, and the transitions between them.

A hook is called at every transition, for an operator's metrics. It runs inside the event loop, before any caller learns
of the transition, so it must be quick. An exception of a hook is logged and changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import Enum

__all__ = ["FAILING", "TRANSITIONS", "Hook", "State"]


class State(Enum):
    """The state of a server, as seen from one event loop."""

    NEW = "new"  # never reached yet
    UP = "up"  # commands go to a connection
    IDLE = "idle"  # the server closed the unused connection: the next command makes another one
    RECONNECTING = "reconnecting"  # the connection was lost not long ago: commands wait for the next one
    DOWN = "down"  # commands fail at once, while attempts to connect go on
    CLOSED = "closed"  # for good


FAILING = (State.DOWN, State.CLOSED)
Line = tuple[int, str]  # level in the log, text
Hook = Callable[[str, State, State], None]  # gets the address of the server, the state before, the state now

GONE: Line = (logging.ERROR, "{reason}; calls fail at once until it is back")
BACK: Line = (logging.WARNING, "Redis at {address} is back{at}")

# Every transition, with the line that the log gets.
TRANSITIONS: dict[tuple[State, State], Line | None] = {
    (State.NEW, State.UP): None,
    (State.NEW, State.DOWN): GONE,  # a server that was never reached gets no grace
    (State.UP, State.RECONNECTING): (logging.WARNING, "{reason}; reconnecting"),
    (State.UP, State.IDLE): (logging.DEBUG, "{reason}; the next command makes another one"),
    (State.IDLE, State.UP): (logging.DEBUG, "Redis at {address} is connected to again{at}"),
    (State.IDLE, State.RECONNECTING): (logging.WARNING, "{reason}; reconnecting"),  # the first attempt failed
    (State.RECONNECTING, State.UP): BACK,
    (State.RECONNECTING, State.DOWN): GONE,  # reconnect_grace is over
    (State.DOWN, State.UP): BACK,
    (State.NEW, State.CLOSED): None,
    (State.UP, State.CLOSED): None,
    (State.IDLE, State.CLOSED): None,
    (State.RECONNECTING, State.CLOSED): None,
    (State.DOWN, State.CLOSED): None,
}
