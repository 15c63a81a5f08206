"""What a manager puts around its store, by the arguments that it was given; loaded only if it was given one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chuk_sessions.instrumentation.events import SessionEvents
from chuk_sessions.instrumentation.metrics import SessionMetrics
from chuk_sessions.stores.contract import CompleteStore

__all__ = ["layers"]

Layer = Callable[[CompleteStore, str], CompleteStore]


def layers(metrics: object, traces: object, on_event: Any) -> list[Layer]:
    """Return the wrappers of a manager, the last one outermost. Raises TypeError for an argument of another type."""
    found: list[Layer] = []
    if on_event is not None:
        events = on_event if isinstance(on_event, SessionEvents) else SessionEvents(on_event)
        found.append(events.wrap)
    if metrics is not None:
        if not isinstance(metrics, SessionMetrics):
            raise TypeError(f"metrics must be a SessionMetrics, got {type(metrics).__name__}")
        found.append(metrics.wrap)
    if traces is not None:
        from chuk_sessions.instrumentation.traces import SessionTraces

        if not isinstance(traces, SessionTraces):
            raise TypeError(f"traces must be a SessionTraces, got {type(traces).__name__}")
        found.append(traces.wrap)
    return found
