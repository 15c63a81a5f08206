"""Sessions for asynchronous Python servers, in memory or on Redis.

``SessionManager`` is the high-level interface; ``factory_for_env`` and ``get_session`` open the low-level one.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from chuk_sessions.api import get_session, session
from chuk_sessions.enums import ProtocolType, ProviderType, SessionStatus, TokenType
from chuk_sessions.exceptions import (
    EncryptionError,
    LoadingError,
    MetadataError,
    NoPermissionError,
    NotSent,
    NotSupportedError,
    OutcomeUnknown,
    OutOfMemoryError,
    ProviderError,
    ReadOnlyError,
    ServerError,
    SessionError,
    SessionTakenError,
    StorageError,
    UnknownProvider,
    WrongTypeError,
)
from chuk_sessions.provider import Provider
from chuk_sessions.provider_factory import factory_for_env
from chuk_sessions.session_manager import SessionManager, SessionMetadata

if TYPE_CHECKING:
    from chuk_sessions.providers import memory as memory
    from chuk_sessions.providers import redis as redis
    from chuk_sessions.utils.security.info import CSRFTokenInfo as CSRFTokenInfo

# Without the modules `memory` and `redis`: `from chuk_sessions import *` must not load a client library.
__all__ = [
    "EncryptionError",
    "LoadingError",
    "MetadataError",
    "NoPermissionError",
    "NotSent",
    "NotSupportedError",
    "OutOfMemoryError",
    "OutcomeUnknown",
    "ProtocolType",
    "Provider",
    "ProviderError",
    "ProviderType",
    "ReadOnlyError",
    "ServerError",
    "SessionError",
    "SessionManager",
    "SessionMetadata",
    "SessionStatus",
    "SessionTakenError",
    "StorageError",
    "TokenType",
    "UnknownProvider",
    "WrongTypeError",
    "__version__",
    "factory_for_env",
    "get_session",
    "session",
]

__version__ = "0.7.0"


def __getattr__(name: str) -> Any:
    """Load the modules ``memory`` and ``redis``, and ``CSRFTokenInfo``, at the first access."""
    if name in ("memory", "redis"):
        return import_module(f"chuk_sessions.providers.{name}")
    if name == "CSRFTokenInfo":
        return import_module("chuk_sessions.utils.security.info").CSRFTokenInfo
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
