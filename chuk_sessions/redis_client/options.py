"""The options after the ``?`` of a Redis URL, including those of redis-py.

redis-py passes every option of a URL to its connections and pools. The lists here are the arguments of these that a URL
can hold, in version 8, in earlier versions and in valkey-py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import parse_qsl

from chuk_sessions.exceptions import ProviderError

__all__ = ["MOOT", "TLS_OPTIONS", "Options"]

T = TypeVar("T")

TRUE, FALSE = ("true", "1", "yes", "on", "t", "y"), ("false", "0", "no", "off", "f", "n")
SECRETS = ("password", "sentinel_password", "ssl_password")

TLS_OPTIONS = (
    "ssl_ca_certs",
    "ssl_ca_path",
    "ssl_ca_data",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_ciphers",
    "ssl_exclude_verify_flags",
    "ssl_include_verify_flags",
    "ssl_keyfile",
    "ssl_min_version",
    "ssl_password",
    "ssl_validate_ocsp",
    "ssl_validate_ocsp_stapled",
)

ONE_CONNECTION = "all callers of an event loop share one connection per server"
OWN_RULES = "this client has its own rules for sending a command again"
UTF_8 = "text is UTF-8"
ALIVE = "the option heartbeat checks idle connections"
MASTERS = "each command goes to the master of its key"
UNUSED = "this client has nothing like it"

# Options of redis-py that have no effect here, and the reason.
MOOT = {
    **dict.fromkeys(
        ("max_connections", "timeout", "single_connection_client", "auto_close_connection_pool"), ONE_CONNECTION
    ),
    **dict.fromkeys(
        ("retry_on_timeout", "retry_on_error", "cluster_error_retry_attempts", "reinitialize_steps"), OWN_RULES
    ),
    **dict.fromkeys(("decode_responses", "encoding", "encoding_errors", "charset", "errors"), UTF_8),
    **dict.fromkeys(("socket_keepalive", "socket_keepalive_options"), ALIVE),
    **dict.fromkeys(
        (
            "dynamic_startup_nodes",
            "load_balancing_strategy",
            "read_from_replicas",
            "readonly_mode",
            "require_full_coverage",
            "skip_full_coverage_check",
        ),
        MASTERS,
    ),
    **dict.fromkeys(
        (
            "driver_info",
            "force_master_ip",
            "legacy_responses",
            "lib_name",
            "lib_version",
            "min_other_sentinels",
            "socket_read_size",
            "socket_type",
        ),
        UNUSED,
    ),
}

UNCHECKED = "must be left out: revocation is not checked here"
# Options that must be written in another way, or need another part of the URL, and the words of the error.
MISPLACED = {
    **dict.fromkeys(TLS_OPTIONS, "needs a URL that begins with rediss://"),
    **dict.fromkeys(
        ("sentinel_username", "sentinel_password"),
        "needs the URL of Sentinels: redis+sentinel://sentinel1,sentinel2/mymaster",
    ),
    **dict.fromkeys(("ssl_ocsp_context", "ssl_ocsp_expected_cert"), UNCHECKED),
    **dict.fromkeys(("host", "port"), "must stand before the '?': redis://host:port/0"),
    **dict.fromkeys(
        ("master_name", "service_name"), "must stand in the path: redis+sentinel://sentinel1,sentinel2/mymaster"
    ),
    "path": "must stand before the '?': unix:///run/redis.sock",
    "ssl": "must be replaced by the scheme: rediss:// is over TLS, redis:// is not",
    "credential_provider": "must be a function that is given to redis.factory(url, credentials=function)",
}


class Options:
    """The options of a query. The parser reads each by name; an option that it never reads is unknown.

    A blank option counts as not set.
    """

    def __init__(self, query: str) -> None:
        self._values = dict(parse_qsl(query, keep_blank_values=True))
        self._known: set[str] = set()
        # If a password has a '?' in it, its rest is the query. If it has an '&' in it, its rest looks like an option.
        self._may_be_secret = "@" in query or not self._values.keys().isdisjoint(SECRETS)

    def text(self, name: str, default: T) -> str | T:
        """Return the text of an option."""
        self._known.add(name)
        return self._values.get(name) or default

    def seconds(self, name: str, default: float, least: float, most: float = float("inf"), zero: bool = False) -> float:
        """Return a number of seconds; with ``zero`` it may also be 0, which turns something off."""
        text = self.text(name, None)
        if text is None:
            return default
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if zero and seconds == 0:
            return 0.0
        if not least <= seconds <= most or seconds == float("inf"):
            up_to = "up" if most == float("inf") else f"to {most:g}"
            off = ", or 0, which turns it off" if zero else ""
            raise ProviderError(
                f"the option {name} of the Redis URL must be a number of seconds from {least:g} {up_to}{off}"
            )
        return seconds

    def integer(self, name: str, default: int, least: int, most: int) -> int:
        """Return a whole number."""
        text = self.text(name, None)
        if text is None:
            return default
        if not (text.isascii() and text.isdecimal() and len(text) < 10) or not least <= int(text) <= most:
            raise ProviderError(f"the option {name} of the Redis URL must be a whole number from {least} to {most}")
        return int(text)

    def boolean(self, name: str, default: bool) -> bool:
        """Return whether an option is on."""
        text = self.text(name, None)
        if text is None:
            return default
        if text.lower() not in (*TRUE, *FALSE):
            raise ProviderError(f"the option {name} of the Redis URL must be true or false")
        return text.lower() in TRUE

    def one_of(self, name: str, values: Mapping[str, T], default: T) -> T:
        """Return the value that belongs to the word of an option."""
        text = self.text(name, None)
        if text is None:
            return default
        if text.lower() not in values:
            raise ProviderError(f"the option {name} of the Redis URL must be one of {', '.join(values)}")
        return values[text.lower()]

    def moot(self) -> dict[str, str]:
        """Return the options of redis-py in the URL that have no effect, each with the reason."""
        return {name: reason for name, reason in MOOT.items() if name in self._values}

    def check_all_used(self) -> None:
        """Raise ProviderError for the first unknown or misplaced option."""
        for name in self._values:
            if name in self._known or name in MOOT:
                continue
            if name in MISPLACED:
                raise ProviderError(f"the option {name} of the Redis URL {MISPLACED[name]}")
            shown = repr(name) if name.isidentifier() and not self._may_be_secret else "(not shown)"
            raise ProviderError(f"the Redis URL has an unknown option {shown}; known: {', '.join(sorted(self._known))}")
