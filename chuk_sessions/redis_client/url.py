"""One Redis URL to one frozen configuration."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from chuk_sessions.environment import variable
from chuk_sessions.exceptions import ProviderError
from chuk_sessions.redis_client.config import (
    DEFAULT_PORT,
    MAX_IN_FLIGHT,
    RECONNECT_GRACE,
    SHORTEST_TIMEOUT,
    TIMEOUT,
    Address,
    Credentials,
    RedisConfig,
    TLSConfig,
)

__all__ = ["INSECURE_VARIABLE", "parse_url"]

SENTINEL_PORT = 26379
ENCODE_HINT = "; in user and password, '/', '?', '#', '@', ':' and '%' must be percent-encoded"
INSECURE_VARIABLE = "REDIS_TLS_INSECURE"
MASTER_NAME = re.compile(r"[A-Za-z0-9._-]+")  # as in sentinel.conf, "The valid charset is ..."
# Options that exist, where another part of the URL has to be as well: what to tell when it is not.
MISPLACED = {
    "db": "does not go with a database in the path",
    **dict.fromkeys(
        ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"), "needs a URL that begins with rediss://"
    ),
    **dict.fromkeys(
        ("sentinel_username", "sentinel_password"), "needs the URL of Sentinels: redis://sentinel1,sentinel2/mymaster"
    ),
}
NETLOC_END = re.compile(r"[/?#]")
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")


def parse_url(url: str, credentials: Credentials | None = None) -> RedisConfig:
    """One of these forms, with options after a ``?``, to a configuration.

    * ``redis://[[user]:password@]host[:port][/db]``: one server. ``rediss``: over TLS. Host and port default to
      ``localhost`` and 6379. With ``cluster=true`` the server is one of a cluster.
    * ``redis://[[user]:password@]sentinel1[:port],sentinel2[:port]/master[/db]``: the master of that name, as the
      Sentinels know it. One Sentinel is enough; a path that is a number is always a database. Port 26379.
    * ``redis://[[user]:password@]node1[:port],node2[:port]``: a cluster, which has the database 0 only.
    * ``unix://[[user]:password@]/path[?db=0]``: a Unix socket.

    User and password may be percent-encoded and go to the data servers; IPv6 hosts stand in brackets. ``credentials``
    is asked for them at each connection instead: it returns a password or (user, password), or an awaitable of that.
    Options: ``socket_timeout``, ``socket_connect_timeout``, ``reconnect_grace`` (seconds), ``max_in_flight``,
    ``protocol`` (2 or 3), ``client_name``, ``db``, ``cluster``; with ``rediss`` also ``ssl_ca_certs``,
    ``ssl_certfile``, ``ssl_keyfile`` and ``ssl_check_hostname``; with Sentinels ``sentinel_username`` and
    ``sentinel_password``. ``REDIS_TLS_INSECURE=1`` turns the verification of TLS off.

    Raises ProviderError that says what is wrong and shows nothing of the URL that may be part of a password.
    """
    parts = _split(url)
    _check_form(parts, credentials)
    options = _Options(parts.query)
    unix = parts.scheme == "unix"
    master, db = _master_and_database("" if unix else parts.path, options)
    hosts = (
        (("localhost", DEFAULT_PORT),)
        if unix
        else _hosts(parts.hosts, DEFAULT_PORT if master is None else SENTINEL_PORT)
    )
    config = RedisConfig(
        host=hosts[0][0],
        port=hosts[0][1],
        path=unquote(parts.path) if unix else None,
        hosts=hosts,
        master=master,
        cluster=_is_cluster(options, hosts, master, db, unix),
        username=parts.username,
        password=parts.password,
        credentials=credentials,
        sentinel_username=None if master is None else options.text("sentinel_username", None),
        sentinel_password=None if master is None else options.text("sentinel_password", None),
        db=db,
        tls=_tls(options) if parts.scheme == "rediss" else None,
        timeout=options.seconds("socket_timeout", TIMEOUT, SHORTEST_TIMEOUT),
        connect_timeout=options.seconds("socket_connect_timeout", TIMEOUT, SHORTEST_TIMEOUT),
        reconnect_grace=options.seconds("reconnect_grace", RECONNECT_GRACE, 0.0),
        max_in_flight=options.integer("max_in_flight", MAX_IN_FLIGHT, 1, 1_000_000),
        protocol=options.integer("protocol", 2, 2, 3),
        client_name=options.text("client_name", None),
    )
    options.check_all_used()
    if config.sentinel_username and not config.sentinel_password:
        raise ProviderError("the Redis URL has a sentinel_username without a sentinel_password")
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
    """The parts of the URL. urlsplit does not see its hosts, as it refuses several. No text of it is in an error."""
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


def _check_form(parts: _Parts, credentials: Credentials | None) -> None:
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ProviderError(
            f"the Redis URL has the unknown scheme {parts.scheme}; it must begin with redis://, rediss:// or unix://"
        )
    if parts.fragment:
        raise ProviderError(f"the Redis URL has a fragment ('#'){ENCODE_HINT}")
    if parts.username and not parts.password:
        raise ProviderError("the Redis URL has a user without a password; write redis://user:password@host")
    if parts.password and credentials is not None:
        raise ProviderError("the Redis URL has a password and credentials= was given too; only one can be used")
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


def _master_and_database(path: str, options: _Options) -> tuple[str | None, int]:
    """What the path names: ``/db``, ``/master`` or ``/master/db``. The option ``db`` is for paths without one."""
    first, _, second = path.strip("/").partition("/")
    if first and not first.lstrip("-").isdecimal():
        if not MASTER_NAME.fullmatch(first):
            raise ProviderError(
                "the path of the Redis URL must be the number of a database or the name of a Sentinel master"
                f" (letters, digits, '.', '-', '_'){ENCODE_HINT}"
            )
        return first, _database(second or options.text("db", ""))
    return None, _database(path if first else options.text("db", ""))


def _is_cluster(options: _Options, hosts: tuple[Address, ...], master: str | None, db: int, unix: bool) -> bool:
    several = len(hosts) > 1 and master is None
    cluster = options.boolean("cluster", several)
    if cluster and (master is not None or unix):
        raise ProviderError(
            "cluster=true fits only a Redis URL with hosts and neither a socket nor the name of a master"
        )
    if several and not cluster:
        raise ProviderError("cluster=false does not fit a Redis URL with several hosts and no name of a master")
    if cluster and db:
        raise ProviderError("Redis Cluster has the database 0 only; leave the database out of the Redis URL")
    return cluster


def _database(path: str) -> int:
    text = path.strip("/")
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
        verify=variable(INSECURE_VARIABLE).lower() not in ("1", "true", "yes", "on"),
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
                if name in MISPLACED:
                    raise ProviderError(f"the option {name} of the Redis URL {MISPLACED[name]}")
                shown = repr(name) if name.isidentifier() and not self._may_be_secret else "(not shown)"
                raise ProviderError(
                    f"the Redis URL has an unknown option {shown}; known: {', '.join(sorted(self._known))}"
                )
