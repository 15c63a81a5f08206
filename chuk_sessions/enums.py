"""The enumerations of 0.6 with the values published there. Each member is its text, also when printed."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["ProviderType", "SessionStatus"]


class SessionStatus(StrEnum):
    """Of a session. This package makes active ones only; an expired or deleted session is not there any more."""

    ACTIVE = "active"
    EXPIRED = "expired"
    INVALIDATED = "invalidated"
    TERMINATED = "terminated"


class ProviderType(StrEnum):
    """The built-in providers, by the names that ``SESSION_PROVIDER`` knows."""

    MEMORY = "memory"
    REDIS = "redis"
