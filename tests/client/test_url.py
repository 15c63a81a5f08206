"""Redis URLs: what each part means, and errors that never show a password."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chuk_sessions.exceptions import ProviderError
from chuk_sessions.redis_client.config import RedisConfig, TLSConfig
from chuk_sessions.redis_client.url import parse_url

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
    ],
)
def test_a_url_that_cannot_be_used_says_why_and_shows_no_password(url: str, reason: str) -> None:
    with pytest.raises(ProviderError, match=reason) as caught:
        parse_url(url)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_url_that_is_no_text_is_a_provider_error() -> None:
    with pytest.raises(ProviderError):
        parse_url(5)  # type: ignore[arg-type]


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
