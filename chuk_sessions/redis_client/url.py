"""One Redis URL to one frozen configuration."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from chuk_sessions.exceptions import ProviderError
from chuk_sessions.redis_client.connection import MAX_IN_FLIGHT

__all__ = ["RedisConfig", "TLSConfig", "parse_url"]

DEFAULT_PORT = 6379
TIMEOUT = 5.0  # seconds for a command, and for connecting and logging in
SHORTEST_TIMEOUT = 0.05  # below that, timers of a millisecond are too coarse
RECONNECT_GRACE = 2.0  # seconds that commands wait for a lost connection before they fail at once
ENCODE_HINT = "; in user and password, '/', '?', '#', '@', ':' and '%' must be percent-encoded"
INSECURE_VARIABLE = "REDIS_TLS_INSECURE"


@dataclass(frozen=True, slots=True)
class TLSConfig:
    """What a connection is verified with: files in PEM format; without ``ca_certs`` the system's authorities."""

    ca_certs: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    check_hostname: bool = True
    verify: bool = True


@dataclass(frozen=True, slots=True)
class RedisConfig:
    """How to reach one database of one server. The password is in no representation of it. Times in seconds."""

    host: str
    port: int = DEFAULT_PORT
    path: str | None = None  # of a Unix socket, in place of host and port
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    tls: TLSConfig | None = None
    timeout: float = TIMEOUT
    connect_timeout: float = TIMEOUT
    reconnect_grace: float = RECONNECT_GRACE
    max_in_flight: int = MAX_IN_FLIGHT
    protocol: int = 2
    client_name: str | None = None

    @property
    def address(self) -> str:
        """``host:port``, or the path of the socket, for messages."""
        if self.path is not None:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_url(url: str) -> RedisConfig:
    """``redis[s]://[[user]:password@]host[:port][/db][?options]`` or ``unix://[[user]:password@]/path[?db=0]``.

    User and password may be percent-encoded, IPv6 hosts stand in brackets, host and port default to ``localhost`` and
    6379. Options: ``socket_timeout``, ``socket_connect_timeout``, ``reconnect_grace`` (seconds), ``max_in_flight``,
    ``protocol`` (2 or 3), ``client_name``, ``db``; with ``rediss`` also ``ssl_ca_certs``, ``ssl_certfile``,
    ``ssl_keyfile`` and ``ssl_check_hostname``. ``REDIS_TLS_INSECURE=1`` turns the verification of TLS off.

    Raises ProviderError that says what is wrong and shows nothing of the URL that may be part of a password.
    """
    parts, port = _split(url)
    _check_form(parts)
    if port is None:
        raise ProviderError(f"the Redis URL has an invalid host or port{ENCODE_HINT}")
    options = _Options(parts.query)
    unix = parts.scheme == "unix"
    config = RedisConfig(
        host=parts.hostname or "localhost",
        port=port,
        path=unquote(parts.path) if unix else None,
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        db=_database(options.text("db", "") if unix or not parts.path.strip("/") else parts.path),
        tls=_tls(options) if parts.scheme == "rediss" else None,
        timeout=options.seconds("socket_timeout", TIMEOUT, SHORTEST_TIMEOUT),
        connect_timeout=options.seconds("socket_connect_timeout", TIMEOUT, SHORTEST_TIMEOUT),
        reconnect_grace=options.seconds("reconnect_grace", RECONNECT_GRACE, 0.0),
        max_in_flight=options.integer("max_in_flight", MAX_IN_FLIGHT, 1, 1_000_000),
        protocol=options.integer("protocol", 2, 2, 3),
        client_name=options.text("client_name", None),
    )
    options.check_all_used()
    return config


def _split(url: str) -> tuple[SplitResult, int | None]:
    """The parts of the URL and its port, None if that is invalid. Text of the URL stays out of every error."""
    parts, port = None, None
    with suppress(ValueError, TypeError, AttributeError):
        url.encode()
        parts = urlsplit(url.strip())
        port = DEFAULT_PORT if parts.port is None else parts.port
    if parts is None:
        raise ProviderError(f"the Redis URL has an invalid host or port, or cannot be encoded{ENCODE_HINT}")
    return parts, port


def _check_form(parts: SplitResult) -> None:
    if parts.scheme not in ("redis", "rediss", "unix"):
        known = parts.scheme or "(none)"
        raise ProviderError(
            f"the Redis URL has the unknown scheme {known}; it must begin with redis://, rediss:// or unix://"
        )
    if "," in parts.netloc.rpartition("@")[2]:
        raise ProviderError("Redis URLs with several hosts (Sentinel, Cluster) are not supported by this version")
    if parts.fragment:
        raise ProviderError(f"the Redis URL has a fragment ('#'){ENCODE_HINT}")
    if parts.username and not parts.password:
        raise ProviderError("the Redis URL has a user without a password; write redis://user:password@host")
    if parts.scheme == "unix" and (parts.hostname or not parts.path.strip("/")):
        raise ProviderError("a unix:// URL must have the path of a socket and no host: unix:///run/redis.sock")


def _database(path: str | None) -> int:
    text = (path or "").strip("/")
    if not text:
        return 0
    if not (text.isascii() and text.isdecimal() and len(text) < 7):
        raise ProviderError(f"the database in the Redis URL must be a number{ENCODE_HINT}")
    return int(text)


def _tls(options: _Options) -> TLSConfig:
    return TLSConfig(
        ca_certs=options.text("ssl_ca_certs", None),
        certfile=options.text("ssl_certfile", None),
        keyfile=options.text("ssl_keyfile", None),
        check_hostname=options.boolean("ssl_check_hostname", True),
        verify=os.environ.get(INSECURE_VARIABLE, "").strip().lower() not in ("1", "true", "yes", "on"),
    )


class _Options:
    """The options of a query: each is asked for by name; what nobody asked for is unknown."""

    def __init__(self, query: str) -> None:
        self._values = dict(parse_qsl(query, keep_blank_values=True))
        self._known: set[str] = set()
        self._may_be_secret = "@" in query  # a password with a '?' in it begins the query

    def text(self, name: str, default: Any) -> Any:
        self._known.add(name)
        return self._values.get(name, default)

    def seconds(self, name: str, default: float, least: float) -> float:
        text = self.text(name, None)
        if text is None:
            return default
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not least <= seconds < float("inf"):
            raise ProviderError(f"the option {name} of the Redis URL must be a number of seconds from {least:g} up")
        return seconds

    def integer(self, name: str, default: int, least: int, most: int) -> int:
        text = self.text(name, None)
        if text is None:
            return default
        if not (text.isascii() and text.isdecimal() and len(text) < 10) or not least <= int(text) <= most:
            raise ProviderError(f"the option {name} of the Redis URL must be a whole number from {least} to {most}")
        return int(text)

    def boolean(self, name: str, default: bool) -> bool:
        text = self.text(name, None)
        if text is None:
            return default
        if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
            raise ProviderError(f"the option {name} of the Redis URL must be true or false")
        return text.lower() in ("true", "1", "yes")

    def check_all_used(self) -> None:
        for name in self._values:
            if name not in self._known:
                shown = repr(name) if name.isidentifier() and not self._may_be_secret else "(not shown)"
                raise ProviderError(
                    f"the Redis URL has an unknown option {shown}; known: {', '.join(sorted(self._known))}"
                )
