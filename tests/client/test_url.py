"""Redis URLs: what each part means, and errors that never show a password."""

from __future__ import annotations

import re
import ssl
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from pydantic import AnyUrl, RedisDsn, SecretStr

from chuk_sessions.exceptions import ProviderError
from chuk_sessions.redis_client.config import RedisConfig, TLSConfig
from chuk_sessions.redis_client.options import MOOT
from chuk_sessions.redis_client.url import parse_url, url_text

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://localhost:6379/0", RedisConfig("localhost")),
        ("redis://", RedisConfig("localhost")),
        ("redis://example", RedisConfig("example")),
        ("redis://example/", RedisConfig("example")),
        ("redis://example:7000/3", RedisConfig("example", 7000, db=3)),
        ("REDIS://example:7000/3", RedisConfig("example", 7000, db=3)),
        ("redis://[::1]:7000", RedisConfig("::1", 7000)),
        ("redis://:pw@example", RedisConfig("example", password="pw")),
        ("redis://user:pw@example", RedisConfig("example", username="user", password="pw")),
        ("redis://us%40er:p%2Fw%23%3A@example", RedisConfig("example", username="us@er", password="p/w#:")),
        ("redis://a,b:p,w@example", RedisConfig("example", username="a,b", password="p,w")),
        ("redis://example?socket_connect_timeout=0.5", RedisConfig("example", connect_timeout=0.5)),
        ("redis://example?socket_timeout=2&reconnect_grace=9", RedisConfig("example", timeout=2, reconnect_grace=9)),
        ("redis://example?max_in_flight=7&protocol=3", RedisConfig("example", max_in_flight=7, protocol=3)),
        ("redis://example?client_name=app&db=4", RedisConfig("example", client_name="app", db=4)),
        ("rediss://example", RedisConfig("example", tls=TLSConfig())),
        (
            "rediss://example?ssl_ca_certs=/a&ssl_certfile=/b&ssl_keyfile=/c&ssl_check_hostname=false",
            RedisConfig("example", tls=TLSConfig("/a", "/b", "/c", check_hostname=False)),
        ),
        ("unix:///run/redis.sock?db=2", RedisConfig("localhost", path="/run/redis.sock", db=2)),
        (
            "redis://u:pw@one,two:26380/my-master.1/2?sentinel_username=s&sentinel_password=spw",
            RedisConfig(
                "one",
                26379,
                hosts=(("one", 26379), ("two", 26380)),
                master="my-master.1",
                username="u",
                password="pw",
                sentinel_username="s",
                sentinel_password="spw",
                db=2,
            ),
        ),
        ("redis://one/mymaster", RedisConfig("one", 26379, master="mymaster")),
        (
            "rediss://[::1]:7000,[::2]",
            RedisConfig("::1", 7000, hosts=(("::1", 7000), ("::2", 6379)), cluster=True, tls=TLSConfig()),
        ),
        ("redis://a,b/0", RedisConfig("a", hosts=(("a", 6379), ("b", 6379)), cluster=True)),
        ("redis://a:7000?cluster=true", RedisConfig("a", 7000, cluster=True)),
        ("unix://user:pw@/run/r%20s", RedisConfig("localhost", path="/run/r s", username="user", password="pw")),
        ("redis://a?heartbeat=5&max_value_bytes=1024", RedisConfig("a", heartbeat=5, max_value_bytes=1024)),
        ("redis://a?heartbeat=0", RedisConfig("a", heartbeat=0)),
        ("redis://a?max_value_bytes=536870912", RedisConfig("a", max_value_bytes=512 * 1024 * 1024)),
        ("valkey://a/1", RedisConfig("a", db=1)),
        ("valkeys://a:1", RedisConfig("a", 1, tls=TLSConfig())),
        ("valkey://a,b/m", RedisConfig("a", 26379, hosts=(("a", 26379), ("b", 26379)), master="m")),
        ("redis+sentinel://a:1/m/2", RedisConfig("a", 1, master="m", db=2)),
        ("rediss+sentinel://a/m?db=2", RedisConfig("a", 26379, master="m", db=2, tls=TLSConfig())),
        ("redis+sentinel://a/12/0", RedisConfig("a", 26379, master="12")),
        ("redis+cluster://a", RedisConfig("a", cluster=True)),
        ("redis+cluster://a/0?cluster=true", RedisConfig("a", cluster=True)),
        ("rediss+cluster://a,b", RedisConfig("a", hosts=(("a", 6379), ("b", 6379)), cluster=True, tls=TLSConfig())),
        ("valkeys+cluster://a", RedisConfig("a", cluster=True, tls=TLSConfig())),
        ("VALKEY+Sentinel://a/m", RedisConfig("a", 26379, master="m")),
        (" redis://a\n", RedisConfig("a")),
    ],
)
def test_parts_of_a_url(url: str, expected: RedisConfig) -> None:
    hosts = expected.hosts or ((expected.host, expected.port),)
    assert parse_url(url) == replace(expected, hosts=hosts)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (f"http://user:{SECRET}@example", "unknown scheme http"),
        (SECRET, "unknown scheme"),
        ("", "unknown scheme"),
        (f"redis://user:{SECRET}@example:port/0", "invalid host or port"),
        (f"redis://user:{SECRET}@example:70000", "invalid host or port"),
        (f"redis://user:{SECRET}@[::1/0", "invalid host or port"),
        (f"redis://user:{SECRET}#@example", "percent-encoded"),
        (f"redis://user:1234/{SECRET}@example:6379/0", "database"),
        (f"redis://user:12?{SECRET}@example", "unknown option"),
        (f"redis://user:1234/{SECRET}@example:6379/0", "name of a Sentinel master"),
        (f"redis://:{SECRET}@example/-1", "database"),
        (f"redis://:{SECRET}@example?socket_tiemout=1", "socket_tiemout"),
        (f"redis://:{SECRET}@example?socket_connect_timeout=soon", "socket_connect_timeout"),
        (f"redis://:{SECRET}@example?socket_connect_timeout=0", "socket_connect_timeout"),
        (f"redis://:{SECRET}@example?socket_connect_timeout=nan", "socket_connect_timeout"),
        ("redis://user@example", "without a password"),
        (f"redis://:{SECRET}@example?ssl_ca_certs=/a", "ssl_ca_certs"),
        (f"redis://:{SECRET}@example?max_in_flight=0", "max_in_flight"),
        (f"redis://:{SECRET}@example?protocol=4", "protocol"),
        (f"rediss://:{SECRET}@example?ssl_check_hostname=perhaps", "ssl_check_hostname"),
        (f"redis://user:12?{SECRET}&x@example", "unknown option"),
        (f"redis://h/{'1' * 5000}", "database"),
        ("unix://host/run/redis.sock", "path of a socket"),
        ("unix://", "path of a socket"),
        ("redis://:\udcff@example", "encoded"),
        (f"redis://:{SECRET}@one,,two", "invalid host or port"),
        (f"redis://:{SECRET}@one,two:port", "invalid host or port"),
        (f"redis://:{SECRET}@one,two/1", "database 0 only"),
        (f"redis://:{SECRET}@one,two?db=1", "database 0 only"),
        (f"redis://:{SECRET}@one,two?cluster=false", "cluster=false"),
        (f"redis://:{SECRET}@one/mymaster?cluster=true", "cluster=true"),
        ("unix:///run/redis.sock?cluster=true", "cluster=true"),
        (f"redis://one/mymaster/{SECRET}", "database"),
        (f"redis://one/my%20{SECRET}", "name of a Sentinel master"),
        ("redis://one/mymaster?sentinel_username=s", "sentinel_password"),
        (f"redis://one?sentinel_password={SECRET}", "sentinel_password"),
        (f"redis:{SECRET}", "unknown scheme"),
        ("redis://one/0?db=3", "the option db .* database in the path"),
        ("redis://one/0?ssl_ca_certs=/x.pem", "ssl_ca_certs .* needs a URL that begins with rediss://"),
        (f"redis://one/0?sentinel_username={SECRET}", "needs the URL of Sentinels"),
        ("redis://one:99999/0", "up to 65535"),
        ("redis://::1:7000/0", "in brackets"),
        (f"redis://:{SECRET}@h?heartbeat=-1", "heartbeat .* from 0.05 to 86400, or 0"),
        (f"redis://:{SECRET}@h?heartbeat=0.01", "heartbeat"),
        (f"redis://:{SECRET}@h?heartbeat=1e9", "heartbeat"),
        (f"redis://:{SECRET}@h?heartbeat=nan", "heartbeat"),
        (f"redis://:{SECRET}@h?health_check_interval=-1", "health_check_interval .* from 0.05 to 86400, or 0"),
        (f"redis://:{SECRET}@h?max_value_bytes=1023", "max_value_bytes .* from 1024 to 536870912"),
        (f"redis://:{SECRET}@h?max_value_bytes=536870913", "max_value_bytes"),
        (f"redis://:{SECRET}@h?max_value_bytes=64M", "max_value_bytes"),
        ("redis://u:pw@h?username=x", "a username before the host and another username"),
        (f"redis://u:{SECRET}@h?password=x", "a password before the host and another password"),
        (f"redis://h?password=x&{SECRET}", r"unknown option \(not shown\)"),
        (f"rediss://h?ssl_password=x&{SECRET}", r"unknown option \(not shown\)"),
        ("redis://h?username=u", "user without a password"),
        (f"redis://:{SECRET}@h/0?ssl_cert_reqs=none", "ssl_cert_reqs .* begins with rediss://"),
        (f"rediss://:{SECRET}@h/0?ssl_cert_reqs=perhaps", "ssl_cert_reqs .* one of required, optional, none"),
        (f"rediss://:{SECRET}@h/0?ssl_min_version=TLSv1", "ssl_min_version .* one of tlsv1_2, tlsv1_3"),
        (f"rediss://:{SECRET}@h/0?ssl_include_verify_flags=x", "ssl_include_verify_flags .* VERIFY_X509_STRICT"),
        (f"rediss://:{SECRET}@h/0?ssl_validate_ocsp=true", "ssl_validate_ocsp .* must be left out"),
        (f"redis://:{SECRET}@h/0?ssl=true", "ssl .* must be replaced by the scheme"),
        (f"redis://:{SECRET}@h/0?credential_provider=x", "must be a function that is given to redis.factory"),
        (f"redis://:{SECRET}@h/0?host=other", "host .* before the"),
        (f"redis://:{SECRET}@h/0?service_name=m", "service_name .* must stand in the path"),
        (f"redis+sentinel://:{SECRET}@h", "no name of the master in its path"),
        (f"redis+sentinel://:{SECRET}@h/0", "no name of the master in its path"),
        (f"redis+sentinel://:{SECRET}@h/my%20master", "name of a Sentinel master"),
        (f"redis+sentinel://:{SECRET}@h/m?cluster=true", "fit only a Redis URL with hosts"),
        (f"redis+cluster://:{SECRET}@h/m", "fit only a Redis URL with hosts"),
        (f"redis+cluster://:{SECRET}@h/3", "database 0 only"),
        (f"redis+cluster://:{SECRET}@h?cluster=false", "cluster=false does not fit"),
        (f"redis+cluster://:{SECRET}@h/m?cluster=false", "fit only a Redis URL with hosts"),
    ],
)
def test_a_url_that_cannot_be_used_says_why_and_shows_no_password(url: str, reason: str) -> None:
    with pytest.raises(ProviderError, match=reason) as caught:
        parse_url(url)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("username=u&password=p%40w", RedisConfig("h", username="u", password="p@w")),
        ("health_check_interval=10", RedisConfig("h", heartbeat=10)),
        ("health_check_interval=0", RedisConfig("h", heartbeat=0)),
        ("health_check_interval=10&heartbeat=20", RedisConfig("h", heartbeat=20)),
        ("db=2&protocol=3&client_name=app", RedisConfig("h", db=2, protocol=3, client_name="app")),
        ("socket_timeout=2&socket_connect_timeout=3", RedisConfig("h", timeout=2, connect_timeout=3)),
        ("socket_timeout=&client_name=&password=", RedisConfig("h")),
    ],
)
def test_options_of_redis_py_that_mean_something_here(
    query: str, expected: RedisConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """They do; a blank one is not set, as there."""
    assert parse_url(f"redis://h?{query}") == replace(expected, hosts=(("h", 6379),))
    assert caplog.records == []


@pytest.mark.parametrize(
    ("url", "username", "password"),
    [
        (f"redis://u@h?password={SECRET}", "u", SECRET),
        (f"redis://:{SECRET}@h?username=u", "u", SECRET),
        (f"redis://u:{SECRET}@h?username=u&password={SECRET}", "u", SECRET),
        (f"unix:///run/r.sock?username=u&password={SECRET}", "u", SECRET),
        (f"redis+sentinel://h/m?username=u&password={SECRET}", "u", SECRET),
    ],
)
def test_a_login_may_stand_in_the_options(url: str, username: str, password: str) -> None:
    config = parse_url(url)
    assert (config.username, config.password) == (username, password)
    assert SECRET not in repr(config)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("ssl_cert_reqs=required", TLSConfig()),
        ("ssl_cert_reqs=optional", TLSConfig()),
        ("ssl_cert_reqs=none", TLSConfig(verify=False)),
        ("ssl_cert_reqs=CERT_NONE", TLSConfig(verify=False)),
        ("ssl_ca_path=/ca&ssl_ca_data=PEM", TLSConfig(ca_path="/ca", ca_data="PEM")),
        ("ssl_certfile=/b&ssl_password=pw", TLSConfig(certfile="/b", key_password="pw")),
        ("ssl_ciphers=ECDHE", TLSConfig(ciphers="ECDHE")),
        ("ssl_min_version=TLSv1_3", TLSConfig(minimum_version=ssl.TLSVersion.TLSv1_3)),
        ("ssl_min_version=771", TLSConfig(minimum_version=ssl.TLSVersion.TLSv1_2)),
        (
            "ssl_include_verify_flags=[VERIFY_X509_STRICT, VERIFY_CRL_CHECK_LEAF]&ssl_validate_ocsp=false",
            TLSConfig(flags_on=ssl.VERIFY_X509_STRICT | ssl.VERIFY_CRL_CHECK_LEAF),
        ),
        ("ssl_exclude_verify_flags=VERIFY_X509_STRICT", TLSConfig(flags_off=ssl.VERIFY_X509_STRICT)),
    ],
)
def test_options_of_redis_py_for_tls(query: str, expected: TLSConfig) -> None:
    assert parse_url(f"rediss://h?{query}").tls == expected
    assert "pw" not in repr(parse_url(f"rediss://h?{query}"))


def test_options_of_redis_py_that_mean_nothing_here(caplog: pytest.LogCaptureFixture) -> None:
    """One line names them all, with the reason and without a value."""
    query = "&".join(f"{name}={SECRET}" for name in MOOT)
    assert parse_url(f"redis://:{SECRET}@h?{query}&client_name=app").client_name == "app"
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert all(name in record.getMessage() for name in MOOT)
    assert "max_connections (all callers of an event loop share one connection per server)" in record.getMessage()
    assert SECRET not in record.getMessage()
    caplog.clear()
    parse_url("redis://h")
    assert caplog.records == []


# The arguments that redis-py 8.1 passes on from a URL to its connections, pools and clients, as its signatures say.
REDIS_PY = """
    db password socket_timeout socket_connect_timeout retry_on_timeout retry_on_error encoding encoding_errors
    decode_responses socket_read_size health_check_interval client_name lib_name lib_version driver_info username
    protocol legacy_responses socket_keepalive socket_keepalive_options socket_type ssl_keyfile ssl_certfile
    ssl_cert_reqs ssl_include_verify_flags ssl_exclude_verify_flags ssl_ca_certs ssl_ca_data ssl_ca_path
    ssl_check_hostname ssl_min_version ssl_ciphers ssl_password max_connections timeout single_connection_client
    auto_close_connection_pool require_full_coverage read_from_replicas load_balancing_strategy dynamic_startup_nodes
    reinitialize_steps cluster_error_retry_attempts min_other_sentinels force_master_ip ssl_validate_ocsp
    ssl_validate_ocsp_stapled charset errors
"""


NUMBERS = "db socket_timeout socket_connect_timeout health_check_interval"
VALUES = {
    **dict.fromkeys(NUMBERS.split(), "1"),
    **dict.fromkeys(("ssl_include_verify_flags", "ssl_exclude_verify_flags"), "VERIFY_X509_STRICT"),
    **dict.fromkeys(("ssl_check_hostname", "ssl_validate_ocsp", "ssl_validate_ocsp_stapled"), "false"),
    "protocol": "2",
    "ssl_cert_reqs": "required",
    "ssl_min_version": "771",
    "username": "u&password=p",
}


@pytest.mark.parametrize("name", REDIS_PY.split())
def test_every_option_of_redis_py_is_accepted(name: str) -> None:
    assert parse_url(f"rediss://h?{name}={VALUES.get(name, 'x')}").host == "h"


@pytest.mark.parametrize("kind", [RedisDsn, AnyUrl])
def test_urls_of_pydantic(kind: type[AnyUrl]) -> None:
    config = parse_url(kind(f"redis://u:{SECRET}@h:7/3?client_name=app"))
    assert config == parse_url(f"redis://u:{SECRET}@h:7/3?client_name=app")


class Text(StrEnum):
    """A str that is more than one."""

    URL = "redis://h/3"


def test_a_kind_of_str_is_its_text() -> None:
    assert parse_url(Text.URL) == parse_url("redis://h/3")
    assert type(url_text(Text.URL)) is str


@pytest.mark.parametrize(
    "url", [5, b"redis://h", None, ["redis://h"], SecretStr(SECRET), Path("/x"), RedisDsn], ids=repr
)
def test_what_is_no_url_is_a_type_error(url: Any) -> None:
    with pytest.raises(TypeError, match=rf"must be a str or a URL of pydantic, got {type(url).__name__}") as caught:
        parse_url(url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("scheme", "instead"),
    [
        ("http", "redis://host:6379/0"),
        ("https", "rediss://host:6379/0"),
        ("tcp", "redis://host:6379/0"),
        ("async+redis", "redis://host:6379/0"),
        ("redis+tls", "rediss://host:6379/0"),
        ("redis+ssl", "rediss://host:6379/0"),
        ("sentinel", "redis+sentinel://sentinel1,sentinel2/mymaster"),
        ("redis-sentinel", "redis+sentinel://sentinel1,sentinel2/mymaster"),
        ("redissentinel", "redis+sentinel://sentinel1,sentinel2/mymaster"),
        ("rediss-sentinel", "rediss+sentinel://sentinel1,sentinel2/mymaster"),
        ("redis-cluster", "redis+cluster://node1,node2"),
        ("rediss-cluster", "rediss+cluster://node1,node2"),
        ("redis+socket", "unix:///run/redis.sock"),
        ("socket", "unix:///run/redis.sock"),
        ("unix+sentinel", "unix:///run/redis.sock"),
        ("redis+", "redis://host:6379/0"),
        ("redis+x", "redis://host:6379/0"),
    ],
)
def test_another_scheme_says_what_to_write(scheme: str, instead: str) -> None:
    with pytest.raises(
        ProviderError, match=f"unknown scheme {re.escape(scheme)}; write {re.escape(instead)} "
    ) as caught:
        parse_url(f"{scheme}://:{SECRET}@h")
    assert SECRET not in str(caught.value)


def test_the_configuration_shows_no_password() -> None:
    url = f"redis://user:{SECRET}@example/mymaster?sentinel_password={SECRET}"
    assert SECRET not in repr(parse_url(url))
    assert SECRET not in repr(parse_url("redis://example", lambda: SECRET))


def test_a_login_of_its_own_for_the_sentinels() -> None:
    """Neither gets what is the other's."""
    config = parse_url(f"rediss://u:{SECRET}@one/mymaster/3?sentinel_username=s&sentinel_password=spw")
    sentinel, server = config.of_sentinel(("one", 26379)), config.at(("two", 6379))
    assert (sentinel.username, sentinel.password, sentinel.db, sentinel.tls) == ("s", "spw", 0, TLSConfig())
    assert (server.username, server.password, server.db, server.tls) == ("u", SECRET, 3, TLSConfig())
    assert (server.address, server.master) == ("two:6379", None)


def test_one_source_of_credentials_only() -> None:
    with pytest.raises(ProviderError, match="credentials="):
        parse_url(f"redis://:{SECRET}@example", lambda: SECRET)


def test_the_address_of_an_ipv6_host_is_bracketed() -> None:
    assert parse_url("redis://[::1]:7000").address == "[::1]:7000"
    assert parse_url("redis://example").address == "example:6379"
