"""What operators see of a manager: metrics, traces and events. A manager loads of this what it is given, else nothing.

``prometheus`` needs the extra of that name, ``otel`` the extra of its own. The rest needs nothing more.
"""

from __future__ import annotations

from chuk_sessions.instrumentation.events import SessionEvent, SessionEvents
from chuk_sessions.instrumentation.metrics import SessionMetrics

__all__ = ["SessionEvent", "SessionEvents", "SessionMetrics"]
