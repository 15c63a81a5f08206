"""``CSRFTokenInfo``: what a CSRF token says, under the name and with the fields of 0.6.3."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from chuk_sessions.enums import TokenType

__all__ = ["CSRFTokenInfo"]

DEFAULT_MAX_AGE = 3600


@dataclass(slots=True)
class CSRFTokenInfo:
    """What a token says. Where ``is_valid`` is false, ``error`` says why, and nothing of the token is given away."""

    session_id: str = ""
    timestamp: int = 0
    token_type: str = TokenType.HMAC
    user_data: dict[str, Any] = field(default_factory=dict)
    is_valid: bool = True
    error: str | None = None

    @property
    def age_seconds(self) -> int:
        """Seconds since the token was made."""
        return int(time.time()) - self.timestamp

    @property
    def is_expired(self) -> bool:
        """Whether it is older than an hour."""
        return self.is_expired_for_max_age(DEFAULT_MAX_AGE)

    def is_expired_for_max_age(self, max_age_seconds: float) -> bool:
        """Whether it is older than so many seconds."""
        return self.age_seconds > max_age_seconds

    def model_dump(self) -> dict[str, Any]:
        """The fields as a dict."""
        return {**asdict(self), "token_type": str(self.token_type)}

    def to_dict(self) -> dict[str, Any]:
        """The fields, ``age_seconds`` and ``is_expired``."""
        return {**self.model_dump(), "age_seconds": self.age_seconds, "is_expired": self.is_expired}
