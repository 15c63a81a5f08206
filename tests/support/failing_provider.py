"""A provider whose storage is away: every call raises the same error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from chuk_sessions.provider import ProviderSession

if TYPE_CHECKING:
    from chuk_sessions.provider import Factory


class FailingSession:
    def __init__(self, error: Exception) -> None:
        self.error = error
        self.calls = 0

    async def fail(self, *_: Any) -> NoReturn:
        self.calls += 1
        raise self.error

    setex = get = delete = close = fail


def failing_factory(error: Exception) -> Factory:
    return lambda: ProviderSession(FailingSession(error))
