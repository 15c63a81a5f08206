"""Sessions and values on a Redis server, over the pipelined client of ``chuk_sessions.redis_client``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chuk_sessions.arguments import check_flag
from chuk_sessions.environment import KEYS_VARIABLE, shown, variable
from chuk_sessions.exceptions import ProviderError
from chuk_sessions.provider import DEFAULT_TTL, ProviderSession, default_ttl_from_env
from chuk_sessions.providers.redis.sharing import SharedClients
from chuk_sessions.providers.redis.store import RedisSessionStore
from chuk_sessions.providers.redis.values import RedisSession
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.config import Credentials, Login
from chuk_sessions.redis_client.server_stats import ServerStats
from chuk_sessions.redis_client.url import Url, url_text
from chuk_sessions.stores.contract import CompleteStore

if TYPE_CHECKING:
    from chuk_sessions.encryption import Keyring

__all__ = ["Login", "RedisFactory", "RedisSession", "ServerStats", "factory"]

DEFAULT_URL = "redis://localhost:6379/0"
URL_VARIABLES = ("SESSION_REDIS_URL", "REDIS_URL")
LEGACY_VARIABLE = "SESSION_LEGACY_READ"
ON, OFF = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")


class RedisFactory:
    """Open the values of a database (call the factory) and the sessions of a sandbox.

    Args:
        client: The client of the server.
        default_ttl: How many seconds a value lives that ``set`` stores.
        legacy: Whether sessions of 0.2 to 0.6 are taken over.
        encryption: The keys that seal the metadata of sessions; None leaves it plain.
    """

    def __init__(
        self,
        client: Client,
        default_ttl: float = DEFAULT_TTL,
        legacy: bool = False,
        encryption: Keyring | None = None,
    ) -> None:
        self._client = client
        self._default_ttl = default_ttl
        self._legacy = legacy
        self._encryption = encryption

    def __call__(self) -> ProviderSession[RedisSession]:
        """Open the values.

        Returns:
            An asynchronous context manager that gives a ``RedisSession``.
        """
        return ProviderSession(RedisSession(self._client, self._default_ttl))

    @property
    def timeout(self) -> float:
        """Seconds that a call may take. Raises ProviderError if the URL cannot be used."""
        return self._client.timeout

    def stats(self) -> dict[str, float]:
        """Return numbers of this process and URL, over all its event loops.

        Returns:
            A dict. Now: commands ``in_flight`` (written and not answered), ``bytes_in_flight`` of these commands, and
                commands ``waiting`` to be written. So far: ``mean_batch`` (commands per write), ``keys_per_script``
                (validations, and sessions opened, per script), ``reconnects``, ``timeouts``, ``redirects`` and
                ``login_renewals`` (on connections that went on). With a near cache also ``near_state`` (2 serving, 1
                not yet, 0 refused by the server) and the numbers of docs/operate/near-cache.md.
        """
        return self._client.stats()

    def server_stats(self) -> dict[str, ServerStats]:
        """Return the numbers of each server in this process, over all its event loops.

        Returns:
            A dict: for each server that was used so far its numbers and its state. The name of a server is
                ``host:port``, the path of a socket, or the name of the master that Sentinels watch. A cluster has one
                more, ``cluster``, for what belongs to none of its servers.
        """
        return self._client.server_stats()

    def session_store(self, sandbox_id: str) -> CompleteStore:
        """Open the sessions of one sandbox.

        Args:
            sandbox_id: The sandbox.

        Returns:
            A ``SessionStore``. With ``SESSION_LEGACY_READ=1`` this store also takes over legacy sessions.
        """
        store = RedisSessionStore(self._client, sandbox_id) if self._encryption is None else self._sealed(sandbox_id)
        return self._complete(store, sandbox_id)

    def near_session_store(self, sandbox_id: str, bound: float) -> CompleteStore:
        """Open the sessions of one sandbox with a near cache.

        Args:
            sandbox_id: The sandbox.
            bound: How many seconds old an answer from the cache may be.

        Returns:
            A ``SessionStore``, as ``session_store``.

        Raises:
            NotSupportedError: The URL leads to a cluster.
            ProviderError: The URL cannot be used.
        """
        from chuk_sessions.providers.redis.near import NearSessionStore

        if self._encryption is None:
            return self._complete(NearSessionStore(self._client, sandbox_id, bound), sandbox_id)
        from chuk_sessions.providers.redis.sealed.near import NearSealedStore

        return self._complete(NearSealedStore(self._client, sandbox_id, bound, self._encryption), sandbox_id)

    def _complete(self, store: RedisSessionStore, sandbox_id: str) -> CompleteStore:
        if not self._legacy:
            return store
        from chuk_sessions.providers.redis.legacy.store import LegacyReadingStore

        return LegacyReadingStore(store, self._client, sandbox_id)

    def _sealed(self, sandbox_id: str) -> RedisSessionStore:
        from chuk_sessions.providers.redis.sealed.store import SealedStore

        assert self._encryption is not None
        return SealedStore(self._client, sandbox_id, self._encryption)


def reads_legacy() -> bool:
    """Tell whether ``SESSION_LEGACY_READ`` is on. Raises ProviderError if it is neither on nor off."""
    value = variable(LEGACY_VARIABLE).lower()
    if value not in (*ON, *OFF):
        raise ProviderError(f"{LEGACY_VARIABLE} must be 1 or 0, got {shown(value)}")
    return value in ON


_shared = SharedClients()


def factory(
    url: str | Url | None = None,
    credentials: Credentials | None = None,
    *,
    timings: bool = False,
    encryption: Keyring | None = None,
) -> RedisFactory:
    """Make a factory for a Redis server, a Sentinel deployment or a cluster.

    The environment is read now. The first call parses the URL and contacts the server. It raises ProviderError if
    either fails. All factories of one URL and one function share their connections, and so do all factories of one URL
    and one method of one object; those with ``timings`` among themselves.

    Args:
        url: A str, or a URL of pydantic. None for ``SESSION_REDIS_URL``, else ``REDIS_URL``, else the local server.
            ``parse_url`` describes the forms of URLs.
        credentials: For passwords that change: called without arguments each time a connection is made. It returns a
            password, a pair of user and password or a ``Login``, or an awaitable of one of these. For a ``Login`` that
            ends it is also called before the end, and the new login goes over the open connection.
        timings: Whether to measure the round trips to each server, for ``server_stats``. It takes two looks at the
            clock for each write, however many commands are in it. Commands over 1 MB are not in it.
        encryption: A ``Keyring``, whose keys seal the metadata of sessions. None for the keys in
            ``SESSION_ENCRYPTION_KEYS``, else the metadata is plain. Values of the provider API are never sealed.

    Returns:
        The factory for ``SessionManager(session_factory=...)``.

    Raises:
        TypeError: ``url`` is no URL, ``credentials`` no function, ``timings`` no bool, or ``encryption`` no keyring.
        ProviderError: ``SESSION_DEFAULT_TTL`` (how long a value of ``set`` lives) is no number over 0, or
            ``SESSION_LEGACY_READ`` is neither on (1, true, yes, on) nor off (0, false, no, off, blank). Or no
            keyring can be made of the variables.
        ImportError: There are keys, and the package ``cryptography`` is missing.
    """
    text = next(filter(None, map(variable, URL_VARIABLES)), DEFAULT_URL) if url is None else url_text(url)
    if credentials is not None and not callable(credentials):
        raise TypeError(f"credentials must be a function without arguments, got {type(credentials).__name__}")
    check_flag("timings", timings)
    if encryption is not None or variable(KEYS_VARIABLE):
        encryption = _keyring(encryption)
    client = _shared.client(text, credentials, timings)
    return RedisFactory(client, default_ttl_from_env(), reads_legacy(), encryption)


def _keyring(given: object) -> Keyring | None:
    """Return the given keyring, or that of the environment. Raises as ``factory``."""
    from chuk_sessions.encryption import Keyring, keyring_from_env

    if given is None:
        return keyring_from_env()
    if not isinstance(given, Keyring):
        raise TypeError(f"encryption must be a Keyring, got {type(given).__name__}")
    return given
