"""Sessions for asynchronous Python servers, in memory or on Redis.

``SessionManager`` is the high-level interface; ``factory_for_env`` opens the low-level one.
"""

from __future__ import annotations

from chuk_sessions.exceptions import (
    LoadingError,
    NoPermissionError,
    NotSent,
    OutcomeUnknown,
    OutOfMemoryError,
    ProviderError,
    ReadOnlyError,
    ServerError,
    SessionError,
    UnknownProvider,
    WrongTypeError,
)
from chuk_sessions.provider import Provider
from chuk_sessions.provider_factory import factory_for_env
from chuk_sessions.session_manager import SessionManager, SessionMetadata

__all__ = [
    "LoadingError",
    "NoPermissionError",
    "NotSent",
    "OutOfMemoryError",
    "OutcomeUnknown",
    "Provider",
    "ProviderError",
    "ReadOnlyError",
    "ServerError",
    "SessionError",
    "SessionManager",
    "SessionMetadata",
    "UnknownProvider",
    "WrongTypeError",
    "__version__",
    "factory_for_env",
]

__version__ = "0.7.0"
