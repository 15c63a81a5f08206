"""Parses a Redis URL into one frozen configuration."""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from typing import NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from chuk_sessions.exceptions import ProviderError
from chuk_sessions.redis_client.config import (
    DEFAULT_PORT,
    HEARTBEAT,
    LEAST_VALUE_BYTES,
    LONGEST_HEARTBEAT,
    MAX_IN_FLIGHT,
    MAX_VALUE_BYTES,
    MOST_VALUE_BYTES,
    RECONNECT_GRACE,
    SHORTEST_TIMEOUT,
    TIMEOUT,
    Address,
    Credentials,
    RedisConfig,
)
from chuk_sessions.redis_client.options import Options
from chuk_sessions.redis_client.tls import insecure_from_env, tls_config

__all__ = ["Url", "parse_url", "url_text"]

logger = logging.getLogger(__name__)

SENTINEL_PORT = 26379
ENCODE_HINT = "; in user and password, '/', '?', '#', '@', ':' and '%' must be percent-encoded"
MASTER_NAME = re.compile(r"[A-Za-z0-9._-]+")  # as in sentinel.conf, "The valid charset is ..."
NETLOC_END = re.compile(r"[/?#]")
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
OVER_TLS = {"redis": False, "rediss": True, "valkey": False, "valkeys": True}
SENTINEL, CLUSTER = "sentinel", "cluster"


class Url(Protocol):
    """A URL of pydantic, such as ``RedisDsn``."""

    def unicode_string(self) -> str:
        """Return the text, with the password."""


def url_text(url: object) -> str:
    """Return the text of a URL: a str, or an object of pydantic such as ``RedisDsn``. Raises TypeError for others.

    ``str`` is not used, as the ``str`` of a URL object may hide the password.
    """
    if isinstance(url, str):
        return str.__str__(url).strip()
    as_text = getattr(type(url), "unicode_string", None)
    text: object = as_text(url) if callable(as_text) else None
    if not isinstance(text, str):
        raise TypeError(f"the Redis URL must be a str or a URL of pydantic, got {type(url).__name__}; pass its text")
    return text.strip()


def parse_url(url: str | Url, credentials: Credentials | None = None, insecure: bool | None = None) -> RedisConfig:
    """Parse a URL of one of these forms, with options after a ``?``.

    * ``redis://[[user]:password@]host[:port][/db]``: one server. ``rediss``: over TLS. Host and port default to
      ``localhost`` and 6379. With ``cluster=true`` the server is one of a cluster.
    * ``redis://[[user]:password@]sentinel1[:port],sentinel2[:port]/master[/db]``: the master of that name, as the
      Sentinels know it. One Sentinel is enough; a path that is a number is always a database. Port 26379. Also
      ``redis+sentinel``, which needs the name, and ``rediss+sentinel``.
    * ``redis://[[user]:password@]node1[:port],node2[:port]``: a cluster, which has the database 0 only. Also
      ``redis+cluster`` and ``rediss+cluster``.
    * ``unix://[[user]:password@]/path[?db=0]``: a Unix socket.

    ``valkey`` and ``valkeys`` mean ``redis`` and ``rediss`` everywhere. User and password may be percent-encoded or be
    options; they are for the data servers. IPv6 hosts are in brackets. Instead of user and password, ``credentials`` is
    called at each connection: it returns a password, (user, password) or a ``Login``, or an awaitable of one of these.
    ``insecure`` turns the verification of TLS off; with None ``REDIS_TLS_INSECURE`` decides.

    Options: ``socket_timeout``, ``socket_connect_timeout``, ``reconnect_grace``, ``heartbeat`` (seconds; redis-py's
    ``health_check_interval`` is the same), ``max_in_flight``, ``max_value_bytes``, ``protocol`` (2 or 3),
    ``client_name``, ``db``, ``username``, ``password``, ``cluster``; with TLS those of ``options.TLS_OPTIONS``; with
    Sentinels ``sentinel_username`` and ``sentinel_password``. Those of ``options.MOOT`` are accepted with one log line.

    Raises ProviderError if the URL cannot be used: the message names the fault, and shows nothing of the URL that may
    be part of a password. Raises TypeError for an object that is no URL.
    """
    parts = _split(url_text(url))
    tls, kind = _check_scheme(parts.scheme)
    options = Options(parts.query)
    unix = parts.scheme == "unix"
    username, password = _login(parts, options, credentials)
    _check_form(parts)
    master, db = _master_and_database("" if unix else parts.path, options, kind)
    hosts = _hosts(parts.hosts, DEFAULT_PORT if master is None else SENTINEL_PORT)
    sentinel_username, sentinel_password = _sentinel_login(options, master)
    config = RedisConfig(
        host=hosts[0][0],
        port=hosts[0][1],
        path=unquote(parts.path) if unix else None,
        hosts=hosts,
        master=master,
        cluster=_is_cluster(options, hosts, master, db, unix, kind),
        username=username,
        password=password,
        credentials=credentials,
        sentinel_username=sentinel_username,
        sentinel_password=sentinel_password,
        db=db,
        tls=tls_config(options, insecure_from_env() if insecure is None else insecure) if tls else None,
        timeout=options.seconds("socket_timeout", TIMEOUT, SHORTEST_TIMEOUT),
        connect_timeout=options.seconds("socket_connect_timeout", TIMEOUT, SHORTEST_TIMEOUT),
        reconnect_grace=options.seconds("reconnect_grace", RECONNECT_GRACE, 0.0),
        max_in_flight=options.integer("max_in_flight", MAX_IN_FLIGHT, 1, 1_000_000),
        heartbeat=_heartbeat(options),
        max_value_bytes=options.integer("max_value_bytes", MAX_VALUE_BYTES, LEAST_VALUE_BYTES, MOST_VALUE_BYTES),
        protocol=options.integer("protocol", 2, 2, 3),
        client_name=options.text("client_name", None),
    )
    options.check_all_used()
    _tell_moot(options)
    return config


class _Parts(NamedTuple):
    scheme: str
    username: str | None
    password: str | None
    hosts: list[str]
    path: str
    query: str
    fragment: str


def _split(url: str) -> _Parts:
    """Split the URL into its parts. urlsplit does not get the hosts, as it refuses several. No error shows the URL."""
    with suppress(ValueError, TypeError, AttributeError):
        url.encode()
        scheme, separator, rest = url.strip().partition("://")
        end = NETLOC_END.search(rest)
        netloc = rest[: end.start()] if end else rest
        login, _, hosts = netloc.rpartition("@")
        username, _, password = login.partition(":")
        others = urlsplit(f"redis://host{rest[len(netloc) :]}")
        return _Parts(
            scheme=scheme.lower() if separator and SCHEME.fullmatch(scheme) else "(none)",
            username=unquote(username) or None,
            password=unquote(password) or None,
            hosts=hosts.split(","),
            path=others.path,
            query=others.query,
            fragment=others.fragment,
        )
    raise ProviderError(f"the Redis URL has an invalid host or port, or cannot be encoded{ENCODE_HINT}")


def _check_scheme(scheme: str) -> tuple[bool, str]:
    """Return whether the scheme means TLS, and its suffix for Sentinels or a cluster."""
    base, plus, kind = scheme.partition("+")
    if scheme == "unix" or (base in OVER_TLS and kind in (("",) if not plus else (SENTINEL, CLUSTER))):
        return OVER_TLS.get(base, False), kind
    raise ProviderError(
        f"the Redis URL has the unknown scheme {scheme}; write {_instead(scheme)}"
        " (known: redis, rediss, valkey, valkeys, each also with +sentinel or +cluster, and unix)"
    )


def _instead(scheme: str) -> str:
    """Return the URL that the writer of an unknown scheme, such as ``redis-sentinel`` or ``https``, may have meant."""
    if "socket" in scheme or "unix" in scheme:
        return "unix:///run/redis.sock"
    rest = scheme.replace(SENTINEL, "")  # otherwise "redissentinel" would look like rediss
    base = "rediss" if any(word in rest for word in ("rediss", "valkeys", "tls", "ssl", "https")) else "redis"
    if SENTINEL in scheme:
        return f"{base}+sentinel://sentinel1,sentinel2/mymaster"
    return f"{base}+cluster://node1,node2" if CLUSTER in scheme else f"{base}://host:6379/0"


def _login(parts: _Parts, options: Options, credentials: Credentials | None) -> tuple[str | None, str | None]:
    """Return user and password, which may also be options, as in redis-py."""
    for name, before in (("username", parts.username), ("password", parts.password)):
        if before and options.text(name, before) != before:
            raise ProviderError(f"the Redis URL has a {name} before the host and another {name} as an option")
    username = parts.username or options.text("username", None)
    password = parts.password or options.text("password", None)
    if username and not password:
        raise ProviderError("the Redis URL has a user without a password; write redis://user:password@host")
    if password and credentials is not None:
        raise ProviderError("the Redis URL has a password and credentials= was given too; only one can be used")
    return username, password


def _sentinel_login(options: Options, master: str | None) -> tuple[str | None, str | None]:
    """Return user and password for the Sentinels; without the name of a master these options are unknown."""
    if master is None:
        return None, None
    username, password = options.text("sentinel_username", None), options.text("sentinel_password", None)
    if username and not password:
        raise ProviderError("the Redis URL has a sentinel_username without a sentinel_password")
    return username, password


def _check_form(parts: _Parts) -> None:
    if parts.fragment:
        raise ProviderError(f"the Redis URL has a fragment ('#'){ENCODE_HINT}")
    if parts.scheme == "unix" and (parts.hosts != [""] or not parts.path.strip("/")):
        raise ProviderError("a unix:// URL must have the path of a socket and no host: unix:///run/redis.sock")


def _hosts(texts: list[str], default_port: int) -> tuple[Address, ...]:
    hosts = [_host(text, default_port) for text in texts]
    if None in hosts or (len(hosts) > 1 and "" in texts):
        raise ProviderError(
            "the Redis URL has an invalid host or port: a port is a number up to 65535, IPv6 hosts stand in brackets"
            f"{ENCODE_HINT}"
        )
    return tuple(host for host in hosts if host is not None)


def _host(text: str, default_port: int) -> Address | None:
    with suppress(ValueError):
        parts = urlsplit(f"//{text}")
        return parts.hostname or "localhost", default_port if parts.port is None else parts.port
    return None


def _master_and_database(path: str, options: Options, kind: str) -> tuple[str | None, int]:
    """Return the master and the database of a path: ``/db``, ``/master`` or ``/master/db``.

    The option ``db`` is for paths without a database.
    """
    first, _, second = path.strip("/").partition("/")
    if kind == SENTINEL and (not first or (first.isdecimal() and not second)):
        raise ProviderError(
            "the Redis URL has no name of the master in its path:"
            " redis+sentinel://sentinel1,sentinel2/mymaster, or .../mymaster/0 with a database"
        )
    if kind == SENTINEL or (first and not first.lstrip("-").isdecimal()):
        if not MASTER_NAME.fullmatch(first):
            raise ProviderError(
                "the path of the Redis URL must be the number of a database or the name of a Sentinel master"
                f" (letters, digits, '.', '-', '_'){ENCODE_HINT}"
            )
        return first, _database(second, options)
    return None, _database(path if first else "", options)


def _is_cluster(
    options: Options, hosts: tuple[Address, ...], master: str | None, db: int, unix: bool, kind: str
) -> bool:
    implied = kind == CLUSTER or (len(hosts) > 1 and master is None)
    cluster = options.boolean("cluster", implied)
    if (cluster or kind == CLUSTER) and (master is not None or unix):
        raise ProviderError(
            "cluster=true and +cluster fit only a Redis URL with hosts and neither a socket nor the name of a master"
        )
    if implied and not cluster:
        raise ProviderError(
            "cluster=false does not fit a Redis URL with +cluster, or with several hosts and no name of a master"
        )
    if cluster and db:
        raise ProviderError("Redis Cluster has the database 0 only; leave the database out of the Redis URL")
    return cluster


def _database(path: str, options: Options) -> int:
    text = path.strip("/")
    texts = [each for each in (text, options.text("db", "")) if each]
    if not all(each.isascii() and each.isdecimal() and len(each) < 7 for each in texts):
        raise ProviderError(f"the database in the Redis URL must be a number{ENCODE_HINT}")
    if len(set(map(int, texts))) > 1:
        raise ProviderError("the option db of the Redis URL is not the database in the path; one of them is enough")
    return int(texts[0]) if texts else 0


def _heartbeat(options: Options) -> float:
    """Return the heartbeat; redis-py's name of the option counts if ours is missing."""
    theirs = options.seconds("health_check_interval", HEARTBEAT, SHORTEST_TIMEOUT, LONGEST_HEARTBEAT, zero=True)
    return options.seconds("heartbeat", theirs, SHORTEST_TIMEOUT, LONGEST_HEARTBEAT, zero=True)


def _tell_moot(options: Options) -> None:
    """Log the options without effect in one line, without their values."""
    moot = options.moot()
    if moot:
        told = ", ".join(f"{name} ({reason})" for name, reason in moot.items())
        logger.warning("options of the Redis URL that have no effect here: %s", told)
