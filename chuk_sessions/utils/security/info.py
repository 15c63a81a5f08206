"""``CSRFTokenInfo``: the content of a CSRF token, under the name and with the fields of 0.6.3."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from chuk_sessions.enums import TokenType

__all__ = ["CSRFTokenInfo"]

DEFAULT_MAX_AGE = 3600


@dataclass(slots=True)
class CSRFTokenInfo:
    """The content of a token. If ``is_valid`` is false, ``error`` names the reason, and the content is left out."""

    session_id: str = ""
    timestamp: int = 0
    token_type: str = TokenType.HMAC
    user_data: dict[str, Any] = field(default_factory=dict)
    is_valid: bool = True
    error: str | None = None

    @property
    def age_seconds(self) -> int:
        """The seconds since the token was made."""
        return int(time.time()) - self.timestamp

    @property
    def is_expired(self) -> bool:
        """Whether the token is older than an hour."""
        return self.is_expired_for_max_age(DEFAULT_MAX_AGE)

    def is_expired_for_max_age(self, max_age_seconds: float) -> bool:
        """Tell whether the token is older than ``max_age_seconds``."""
        return self.age_seconds > max_age_seconds

    def model_dump(self) -> dict[str, Any]:
        """Return the fields as a dict."""
        return {**asdict(self), "token_type": str(self.token_type)}

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, ``age_seconds`` and ``is_expired`` as a dict."""
        return {**self.model_dump(), "age_seconds": self.age_seconds, "is_expired": self.is_expired}
