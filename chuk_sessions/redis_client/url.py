"""One Redis URL to one frozen configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from chuk_sessions.exceptions import ProviderError

__all__ = ["RedisConfig", "parse_url"]

DEFAULT_PORT = 6379
CONNECT_TIMEOUT = 5.0  # seconds, as socket_timeout of most Redis clients
ENCODE_HINT = "; in user and password, '/', '?', '#', '@', ':' and '%' must be percent-encoded"


@dataclass(frozen=True, slots=True)
class RedisConfig:
    """How to reach one database of one server. The password is in no representation of it."""

    host: str
    port: int = DEFAULT_PORT
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    connect_timeout: float = CONNECT_TIMEOUT

    @property
    def address(self) -> str:
        """``host:port`` for messages."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_url(url: str) -> RedisConfig:
    """``redis://[[user]:password@]host[:port][/db][?socket_connect_timeout=seconds]``.

    User and password may be percent-encoded, IPv6 hosts stand in brackets, host and port default to ``localhost`` and
    6379. Raises ProviderError that says what is wrong and shows nothing of the URL that may be part of a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except (ValueError, TypeError, AttributeError):
        raise ProviderError(f"the Redis URL has an invalid host or port{ENCODE_HINT}") from None
    _check_form(parts)
    options = _options(parts.query)
    return RedisConfig(
        host=parts.hostname or "localhost",
        port=DEFAULT_PORT if port is None else port,
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        db=_database(parts.path),
        connect_timeout=_seconds("socket_connect_timeout", options.get("socket_connect_timeout"), CONNECT_TIMEOUT),
    )


def _check_form(parts: SplitResult) -> None:
    if parts.scheme in ("rediss", "unix"):
        raise ProviderError(f"Redis URLs with {parts.scheme}:// are not supported by this version")
    if parts.scheme != "redis":
        known = parts.scheme if parts.scheme.isalpha() else "(none)"
        raise ProviderError(f"the Redis URL has the unknown scheme {known}; it must begin with redis://")
    if "," in parts.netloc.rpartition("@")[2]:
        raise ProviderError("Redis URLs with several hosts (Sentinel, Cluster) are not supported by this version")
    if parts.fragment:
        raise ProviderError(f"the Redis URL has a fragment ('#'){ENCODE_HINT}")
    if parts.username and not parts.password:
        raise ProviderError("the Redis URL has a user without a password; write redis://user:password@host")


def _database(path: str) -> int:
    text = path.strip("/")
    if not text:
        return 0
    if not (text.isascii() and text.isdecimal()):
        raise ProviderError(f"the path of the Redis URL must be a database number{ENCODE_HINT}")
    return int(text)


def _options(query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name in options:
        if name != "socket_connect_timeout":
            shown = repr(name) if name.isidentifier() else "that is no word"
            raise ProviderError(f"the Redis URL has an unknown option {shown}; known: socket_connect_timeout")
    return options


def _seconds(name: str, text: str | None, default: float) -> float:
    if text is None:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ProviderError(f"the option {name} of the Redis URL must be a number of seconds over 0")
    return seconds
