"""The configuration that a Redis URL describes, as one frozen object."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

__all__ = ["Address", "Credentials", "Login", "RedisConfig", "TLSConfig"]

DEFAULT_PORT = 6379
TIMEOUT = 5.0  # seconds for a command, and for connecting and logging in
SHORTEST_TIMEOUT = 0.05  # seconds; for shorter timeouts, timers of a millisecond are too coarse
RECONNECT_GRACE = 2.0  # seconds that commands wait for a lost connection before they fail at once
MAX_IN_FLIGHT = 10_000  # commands written and not answered yet, per connection
HEARTBEAT = 30.0  # seconds that a connection may be idle before it is checked; with 0 it is never checked
LONGEST_HEARTBEAT = 86_400.0
MAX_VALUE_BYTES = 64 << 20  # of one value; also the bytes that may be written and unanswered on a connection
LEAST_VALUE_BYTES, MOST_VALUE_BYTES = 1 << 10, 512 << 20  # the server's default of proto-max-bulk-len is 512 MB

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Login:
    """A login that ends, as an answer of ``credentials``: it is renewed while the connection goes on.

    Attributes:
        user: The ACL user; None for the default user.
        password: The password or the token. No representation shows it.
        renew_in: How many seconds from now the login must be renewed at the latest. 0 or less counts as 1. With None it
            is never renewed: the next connection asks for another one.
    """

    user: str | None
    password: str = field(repr=False)
    renew_in: float | None = None


Answer = str | tuple[str | None, str] | Login
Credentials = Callable[[], Answer | Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class TLSConfig:
    """The settings of TLS. Files are in PEM format; without a ``ca_`` field the system's authorities are used.

    ``minimum_version`` is a member of ``ssl.TLSVersion``; the flags are sums of members of ``ssl.VerifyFlags``.
    """

    ca_certs: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    check_hostname: bool = True
    verify: bool = True
    ca_path: str | None = None  # a folder of authorities
    ca_data: str | None = None  # authorities as text, in PEM format
    key_password: str | None = field(default=None, repr=False)
    ciphers: str | None = None
    minimum_version: int | None = None
    flags_on: int = 0
    flags_off: int = 0


@dataclass(frozen=True, slots=True)
class RedisConfig:
    """How to reach one database: on one server, behind Sentinels (``master``), or in a cluster (``cluster``).

    ``host`` and ``port`` are the address of the server. With Sentinels or a cluster, ``hosts`` are the servers to ask
    for it. No representation shows a password. Times are in seconds.
    """

    host: str
    port: int = DEFAULT_PORT
    path: str | None = None  # of a Unix socket, in place of host and port
    hosts: tuple[Address, ...] = ()
    master: str | None = None
    cluster: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    credentials: Credentials | None = field(default=None, repr=False)
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    db: int = 0
    tls: TLSConfig | None = None
    timeout: float = TIMEOUT
    connect_timeout: float = TIMEOUT
    reconnect_grace: float = RECONNECT_GRACE
    max_in_flight: int = MAX_IN_FLIGHT
    heartbeat: float = HEARTBEAT
    max_value_bytes: int = MAX_VALUE_BYTES
    protocol: int = 2
    client_name: str | None = None
    timings: bool = False  # whether round trips are measured

    @property
    def address(self) -> str:
        """The name of the server or deployment for messages: ``host:port``, a path, or words about its servers."""
        if self.path is not None:
            return self.path
        if self.master is not None:
            return f"the master {self.master!r} of the Sentinels"
        if self.cluster:
            return f"the cluster at {', '.join(map(shown, self.hosts))}"
        return shown((self.host, self.port))

    @property
    def server(self) -> str:
        """The name of the server for metrics: ``host:port``, a path, or the name of a master."""
        return self.address if self.master is None else self.master

    def at(self, address: Address) -> RedisConfig:
        """Return the configuration of the same database on the server at ``address``."""
        return replace(self, host=address[0], port=address[1], hosts=(), master=None, cluster=False)

    def of_sentinel(self, address: Address) -> RedisConfig:
        """Return the configuration for the Sentinel at ``address``; it has no login of the data servers."""
        return replace(
            self.at(address),
            username=self.sentinel_username,
            password=self.sentinel_password,
            credentials=None,
            db=0,
            protocol=2,
            timings=False,
        )


def shown(address: Address) -> str:
    """Return ``host:port``, with an IPv6 host in brackets."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
