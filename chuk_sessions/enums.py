"""The enumerations of 0.6 with the values published there. Each member is its text, also when printed."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["ProtocolType", "ProviderType", "SessionStatus", "TokenType"]


class SessionStatus(StrEnum):
    """The states of a session. This package makes active sessions only; an expired or deleted session is not found."""

    ACTIVE = "active"
    EXPIRED = "expired"
    INVALIDATED = "invalidated"
    TERMINATED = "terminated"


class ProviderType(StrEnum):
    """The built-in providers, by the names that ``SESSION_PROVIDER`` knows."""

    MEMORY = "memory"
    REDIS = "redis"


class TokenType(StrEnum):
    """The kinds of CSRF tokens in ``chuk_sessions.utils.security.csrf``."""

    HMAC = "hmac"
    DOUBLE_SUBMIT = "double_submit"
    ENCRYPTED = "encrypted"


class ProtocolType(StrEnum):
    """The forms of ids in ``chuk_sessions.utils.security.session_ids``."""

    GENERIC = "generic"
    MCP = "mcp"
    HTTP = "http"
    WEBSOCKET = "websocket"
    JWT = "jwt"
    UUID = "uuid"
    API_KEY = "api_key"
    TEMP_TOKEN = "temp_token"
