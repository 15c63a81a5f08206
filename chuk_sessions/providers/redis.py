"""Sessions and values on a Redis server, over the pipelined client of ``chuk_sessions.redis_client``."""

from __future__ import annotations

import math
import os

from chuk_sessions.exceptions import ProviderError
from chuk_sessions.provider import DEFAULT_TTL, MAX_TTL, ProviderSession, default_ttl_from_env, ttl_error
from chuk_sessions.providers.redis_session_store import RedisSessionStore
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.config import Credentials
from chuk_sessions.redis_client.connection import Replay
from chuk_sessions.stores.contract import SessionStore

__all__ = ["RedisFactory", "RedisSession", "factory"]

DEFAULT_URL = "redis://localhost:6379/0"
URL_VARIABLES = ("SESSION_REDIS_URL", "REDIS_URL")
LEGACY_VARIABLE = "SESSION_LEGACY_READ"
ON, OFF = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")


class RedisSession:
    """Keys with values that expire, on the server; a ``Provider``.

    Keys and values are str or bytes (anything else is a TypeError); values read back as str. Methods raise
    ProviderError if the server cannot be reached or says no; see ``Client.call`` for the kinds.
    """

    __slots__ = ("_call", "_default_ttl")

    def __init__(self, client: Client, default_ttl: float = DEFAULT_TTL) -> None:
        self._call = client.call
        self._default_ttl = default_ttl

    async def get(self, key: str | bytes) -> str | None:
        """The value, or None. Raises ProviderError if it is not UTF-8."""
        if not isinstance(key, (str, bytes)):
            raise _wrong_type("key", key)
        value: bytes | None = await self._call(b"GET", key, replay=Replay.READ)
        if value is None:
            return None
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise ProviderError("the value of this key is not UTF-8, so it cannot be read as a str") from None

    async def set(self, key: str | bytes, value: str | bytes) -> None:
        """Store ``value`` for ``SESSION_DEFAULT_TTL`` seconds, as it was when the factory was made; default 3600."""
        await self.setex(key, self._default_ttl, value)

    async def setex(self, key: str | bytes, ttl: float, value: str | bytes) -> None:
        """Store ``value`` for ``ttl`` seconds, to the millisecond; with zero or less the key is gone at once.

        Raises ValueError for a ttl that is NaN, infinite or over 3,000 years, TypeError for one that is no number;
        nothing changes then.
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
        """Remove the key; True if it was there."""
        if not isinstance(key, (str, bytes)):
            raise _wrong_type("key", key)
        return bool(await self._call(b"UNLINK", key))

    async def close(self) -> None:
        """Does nothing: the connection is shared; it closes with its event loop."""


def _wrong_type(what: str, value: object) -> TypeError:
    return TypeError(f"on Redis a {what} must be str or bytes, got {type(value).__name__}")


class RedisFactory:
    """Gives the values of a database (call it) and the sessions of a sandbox (``session_store``)."""

    def __init__(self, client: Client, default_ttl: float = DEFAULT_TTL) -> None:
        self._client = client
        self._default_ttl = default_ttl

    def __call__(self) -> ProviderSession[RedisSession]:
        """A context manager that gives a ``RedisSession``."""
        return ProviderSession(RedisSession(self._client, self._default_ttl))

    def stats(self) -> dict[str, float]:
        """Numbers of this process and URL, over all its event loops.

        Now: commands ``in_flight`` (written and not answered), ``bytes_in_flight`` of these, commands ``waiting`` to
        be written. So far: ``mean_batch`` (commands per write), ``reconnects``, ``timeouts`` and ``redirects``.
        """
        return self._client.stats()

    def session_store(self, sandbox_id: str) -> SessionStore:
        """The sessions of one sandbox; with ``SESSION_LEGACY_READ=1`` also those that published versions stored.

        ProviderError if that variable is neither on (1, true, yes, on) nor off (0, false, no, off, or not set).
        """
        store = RedisSessionStore(self._client, sandbox_id)
        if not reads_legacy():
            return store
        from chuk_sessions.providers.redis_legacy import LegacyReadingStore

        return LegacyReadingStore(store, self._client, sandbox_id)


def reads_legacy() -> bool:
    """Whether ``SESSION_LEGACY_READ`` is on. ProviderError if it says neither on nor off."""
    value = os.environ.get(LEGACY_VARIABLE, "").strip().lower()
    if value not in (*ON, *OFF):
        raise ProviderError(f"{LEGACY_VARIABLE} must be 1 or 0, got {value!r}")
    return value in ON


_shared: dict[tuple[str, int | None], Client] = {}  # by URL and identity of credentials, which the client keeps alive


def factory(url: str | None = None, credentials: Credentials | None = None) -> RedisFactory:
    """A factory for ``url``; without one for ``SESSION_REDIS_URL``, else ``REDIS_URL``, else the local server.

    The environment is read now; a ``SESSION_DEFAULT_TTL`` (what ``set`` gives) that is no number over 0 is a
    ProviderError. The URL is parsed and the server contacted at the first call, which raises ProviderError if that
    fails; ``parse_url`` describes its forms. ``credentials`` is called, without arguments, each time a connection is
    made, for passwords that change: it returns a password or a pair of user and password, or an awaitable of one of
    these; pass the same function each time, as all factories of one URL and function share their connections.
    TypeError if it is no function.
    """
    if url is None:
        url = next((os.environ[name] for name in URL_VARIABLES if os.environ.get(name)), DEFAULT_URL)
    if credentials is not None and not callable(credentials):
        raise TypeError(f"credentials must be a function without arguments, got {type(credentials).__name__}")
    key = (url, None if credentials is None else id(credentials))
    client = _shared.setdefault(key, Client(url, credentials))
    return RedisFactory(client, default_ttl_from_env())
