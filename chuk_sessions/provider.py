"""The low-level interface: providers, and the sessions that open them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, Protocol, TypeVar

from chuk_sessions.environment import shown, variable
from chuk_sessions.exceptions import ProviderError

__all__ = ["DEFAULT_TTL", "MAX_TTL", "Factory", "Provider", "ProviderSession", "default_ttl_from_env", "ttl_error"]

DEFAULT_TTL = 3600  # seconds that a value of ``set`` lives, unless DEFAULT_TTL_VARIABLE says otherwise
DEFAULT_TTL_VARIABLE = "SESSION_DEFAULT_TTL"
MAX_TTL = 1e11  # seconds, some 3,000 years, which Redis accepts

P = TypeVar("P", covariant=True)


class Provider(Protocol):
    """Keys with values that expire.

    A provider of your own needs only these four methods; the built-in providers have ``set`` too. A missing or expired
    key reads as None. ``ttl`` is in seconds; the built-in providers take fractions.
    """

    async def setex(self, key: str, ttl: int, value: str) -> Any:
        """Store a value; it replaces any value of the key.

        Args:
            key: The key.
            ttl: How many seconds it lives.
            value: The value.
        """

    async def get(self, key: str) -> Any:
        """Return the value of a key; None if there is none, or it has expired.

        Args:
            key: The key.
        """

    async def delete(self, key: str) -> Any:
        """Remove a key, if it is there.

        Args:
            key: The key.
        """

    async def close(self) -> Any:
        """Release the resources of this session of the provider."""


def ttl_error(ttl: object) -> Exception:
    """Make the error for a ``ttl`` that is no number, NaN, infinite or too large."""
    if isinstance(ttl, float):
        return ValueError(f"ttl must be a finite number of seconds below {MAX_TTL:.0e}, got {ttl!r}")
    if hasattr(type(ttl), "__float__"):
        return ValueError(f"ttl must be a finite number of seconds below {MAX_TTL:.0e}")
    return TypeError(f"ttl must be a number of seconds, got {type(ttl).__name__}")


def default_ttl_from_env() -> float:
    """Return the seconds that a value of ``set`` lives: ``SESSION_DEFAULT_TTL``, else ``DEFAULT_TTL``.

    Raises ProviderError if the variable is not a number over zero and below ``MAX_TTL``.
    """
    text = variable(DEFAULT_TTL_VARIABLE)
    if not text:
        return DEFAULT_TTL
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < MAX_TTL:
        raise ProviderError(f"{DEFAULT_TTL_VARIABLE} must be a number of seconds over 0, got {shown(text)}")
    return seconds


Factory = Callable[[], AbstractAsyncContextManager[Any]]


class ProviderSession(Generic[P]):
    """``async with factory() as session``: gives a provider, and leaves it open at the end, as others may use it."""

    __slots__ = ("_provider",)

    def __init__(self, provider: P) -> None:
        self._provider = provider

    async def __aenter__(self) -> P:
        return self._provider

    async def __aexit__(self, *exc_info: object) -> None:
        return None
