"""Values on a Redis server: the provider interface."""

from __future__ import annotations

import math

from chuk_sessions.exceptions import ProviderError
from chuk_sessions.provider import DEFAULT_TTL, MAX_TTL, ttl_error
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.commands import Replay
from chuk_sessions.redis_client.replies import unknown_shape

__all__ = ["RedisSession"]


class RedisSession:
    """Keep keys with values that expire on the server; a ``Provider``.

    Keys and values are str or bytes (anything else is a TypeError). Values are read back as str. Methods raise
    ProviderError if the server cannot be reached or refuses; see ``Client.call`` for the kinds.

    Args:
        client: The client of the server.
        default_ttl: How many seconds a value lives that ``set`` stores.
    """

    __slots__ = ("_call", "_default_ttl")

    def __init__(self, client: Client, default_ttl: float = DEFAULT_TTL) -> None:
        self._call = client.call
        self._default_ttl = default_ttl

    async def get(self, key: str | bytes) -> str | None:
        """Return the value of a key; None if the key does not exist or has expired.

        Args:
            key: The key.

        Raises:
            ProviderError: The value is not UTF-8.
        """
        if not isinstance(key, (str, bytes)):
            raise _wrong_type("key", key)
        value: bytes | None = await self._call(b"GET", key, replay=Replay.READ)
        if value is None:
            return None
        try:
            return value.decode()
        except AttributeError as exc:
            raise unknown_shape("GET") from exc
        except UnicodeDecodeError:
            raise ProviderError("the value of this key is not UTF-8, so it cannot be read as a str") from None

    async def set(self, key: str | bytes, value: str | bytes) -> None:
        """Store a value for as long as ``SESSION_DEFAULT_TTL`` said when the factory was made, by default 3600 seconds.

        Args:
            key: The key.
            value: The value.
        """
        await self.setex(key, self._default_ttl, value)

    async def setex(self, key: str | bytes, ttl: float, value: str | bytes) -> None:
        """Store a value for some time, in place of the value that the key had.

        Args:
            key: The key.
            ttl: How many seconds the value lives, to the millisecond. Zero or less removes the key at once.
            value: The value.

        Raises:
            ValueError: ``ttl`` is NaN, infinite or over 3,000 years; nothing was changed.
            TypeError: ``ttl`` is no number; nothing was changed.
        """
        if not isinstance(key, (str, bytes)):
            raise _wrong_type("key", key)
        if not isinstance(value, (str, bytes)):
            raise _wrong_type("value", value)
        try:
            milliseconds = math.ceil(ttl * 1000) if -math.inf < ttl < MAX_TTL else None
        except (TypeError, ArithmeticError):
            milliseconds = None
        if milliseconds is None:
            raise ttl_error(ttl)
        if milliseconds <= 0:
            await self._call(b"UNLINK", key)
        else:
            await self._call(b"SET", key, value, b"PX", milliseconds)

    async def delete(self, key: str | bytes) -> bool:
        """Remove a key.

        Args:
            key: The key.

        Returns:
            True if the key existed.
        """
        if not isinstance(key, (str, bytes)):
            raise _wrong_type("key", key)
        return bool(await self._call(b"UNLINK", key))

    async def close(self) -> None:
        """Do nothing: the connection is shared, and closes with its event loop."""


def _wrong_type(what: str, value: object) -> TypeError:
    return TypeError(f"on Redis a {what} must be str or bytes, got {type(value).__name__}")
