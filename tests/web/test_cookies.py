"""The cookie as a browser gets it, and what is made of the Cookie headers that browsers and attackers send."""

from __future__ import annotations

import time
from typing import Any

import pytest

from chuk_sessions.web import Cookie, SessionMiddleware
from chuk_sessions.web.asgi import Headers
from tests.web.conftest import on_memory

ID, OTHER, THIRD = (f"sess-{digit * 38}" for digit in "0ab")
LONG_AGO = "Max-Age=0; expires=Thu, 01 Jan 1970 00:00:00 GMT"


def issued(cookie: Cookie, seconds_left: float = 3600.7) -> str:
    headers: Headers = []
    cookie.issue(headers, ID, seconds_left)
    ((name, value),) = headers
    assert name == b"set-cookie"
    return value.decode()


def cleared(cookie: Cookie) -> str:
    headers: Headers = []
    cookie.clear(headers)
    return headers[0][1].decode()


def ids(cookie: Cookie, *values: bytes | str) -> list[str]:
    headers = [(b"cookie", value.encode("latin-1") if isinstance(value, str) else value) for value in values]
    return list(cookie.ids({"headers": [(b"host", b"x"), *headers]}))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "__Host-session={}; path=/; httponly; samesite=lax; secure"),
        ({"name": "sid"}, "__Host-sid={}; path=/; httponly; samesite=lax; secure"),
        ({"name": "__Host-sid"}, "__Host-sid={}; path=/; httponly; samesite=lax; secure"),
        ({"path": "/app"}, "__Secure-session={}; path=/app; httponly; samesite=lax; secure"),
        ({"domain": "a.b"}, "__Secure-session={}; path=/; httponly; samesite=lax; secure; domain=a.b"),
        ({"secure": False}, "session={}; path=/; httponly; samesite=lax"),
        (
            {"same_site": "none", "partitioned": True},
            "__Host-session={}; path=/; httponly; samesite=none; secure; partitioned",
        ),
    ],
)
def test_names_and_attributes(options: dict[str, Any], text: str) -> None:
    """The prefix that browsers enforce where they can; a deletion repeats what a browser knows the cookie by."""
    cookie = Cookie(**options)
    assert issued(cookie) == text.format(ID)
    assert cleared(cookie) == text.format("").replace("; httponly", f"; {LONG_AGO}; httponly")
    assert text.startswith(f"{cookie.wire_name}=")


@pytest.mark.parametrize(
    ("max_age", "age"), [("session", ""), (None, ""), ("lifetime", "Max-Age=3600; "), (60, "Max-Age=60; ")]
)
def test_how_long_a_browser_keeps_it(max_age: Any, age: str) -> None:
    assert issued(Cookie(max_age=max_age)) == f"__Host-session={ID}; path=/; {age}httponly; samesite=lax; secure"


def test_a_session_that_is_about_to_end_keeps_its_cookie() -> None:
    """An age of 0 would take it away."""
    assert "Max-Age=1; " in issued(Cookie(max_age="lifetime"), 0.9)


def test_an_age_of_nothing_expires_at_once() -> None:
    """And no session is found by such a cookie, should a client keep it."""
    for age in (0, -1):
        cookie = Cookie(max_age=age)
        assert f"Max-Age={age}; " in issued(cookie)
        assert ids(cookie, f"__Host-session={ID}") == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "a b"}, "no name of a cookie"),
        ({"name": ""}, "no name of a cookie"),
        ({"name": "a=b"}, "no name of a cookie"),
        ({"name": "__Host-a", "path": "/app"}, "no domain and the path /"),
        ({"name": "__Host-a", "domain": "a.b"}, "no domain and the path /"),
        ({"name": "__Host-a", "secure": False}, "must be secure"),
        ({"same_site": "Lax"}, "same_site must be one of"),
        ({"same_site": "none", "secure": False}, "need secure=True"),
        ({"partitioned": True, "secure": False}, "need secure=True"),
        ({"path": "app"}, "path must begin with /"),
        ({"path": "/a; domain=evil"}, "path must begin with /"),
        ({"domain": "a.b\r\nx: y"}, "name of a domain"),
        ({"domain": ""}, "name of a domain"),
        ({"max_age": "forever"}, "max_age must be"),
        ({"max_age": True}, "max_age must be"),
        ({"max_age": 1.5}, "max_age must be"),
        ({"name": "__host-a", "secure": False}, "must be secure"),
        ({"name": "__SECURE-a", "secure": False}, "must be secure"),
        ({"path": "/\u017c"}, "ASCII"),
        ({"domain": "m\xfcller.example"}, "xn--"),
    ],
)
def test_what_a_browser_would_refuse_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Cookie(**options)


@pytest.mark.parametrize("flag", ["secure", "partitioned"])
def test_a_flag_is_a_bool(flag: str) -> None:
    """ "false" out of a configuration would count as true."""
    with pytest.raises(TypeError, match=f"{flag} must be a bool"):
        Cookie(**{flag: "false"})  # type: ignore[arg-type]


def test_the_names_of_starlette() -> None:
    """Its middleware calls some of the attributes otherwise."""

    async def app(*_: Any) -> None: ...

    options: dict[str, Any] = {"session_cookie": "s", "max_age": None, "https_only": False, "path": "/a"}
    made = SessionMiddleware(app, on_memory(), **options, same_site="strict")
    assert made.settings.transport == Cookie(name="s", max_age=None, secure=False, path="/a", same_site="strict")
    made = SessionMiddleware(app, on_memory(), domain="a.b", partitioned=True)
    assert made.settings.transport == Cookie(domain="a.b", partitioned=True)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (f"__Host-session={ID}", [ID]),
        (f"a=b; __Host-session={ID}; c=d", [ID]),
        (f"a=b;__Host-session={ID};c=d", [ID]),
        (f'__Host-session="{ID}"', [ID]),
        (f"  __Host-session={ID}  ", [ID]),
        (f"__Host-session={ID}; __Host-session={OTHER}", [ID, OTHER]),
        (f"__Host-session={ID}; __Host-session={ID}; __Host-session={OTHER}; __Host-session={THIRD}", [ID, OTHER]),
        (f"__Host-session=junk; __Host-session={ID}", [ID]),
        (f"x__Host-session={ID}", []),
        (f"__Host-session2={ID}", []),
        (f"__host-session={ID}", []),
        (f"session={ID}", []),
        (f"a=__Host-session={ID}", []),
        (f"__Host-session={ID}x", []),
        (f"__Host-session={ID}\n", []),
        (f"__Host-session={ID} x", []),
        (f"__Host-session={ID}\0", []),
        (f"__Host-session={ID[:-1]}\xe9", []),
        (f"__Host-session={ID[:-1]}", []),
        ("__Host-session=", []),
        ("__Host-session", []),
        (";;;===;; =", []),
        ("", []),
        ("__Host-session=../../etc/passwd", []),
        (f"__Host-session=sess-{'9' * 2000}-{'0' * 38}", []),
    ],
)
def test_what_is_read_from_a_header(header: str, found: list[str]) -> None:
    """Only values in the form of our ids, of our very name; at most two."""
    assert ids(Cookie(), header) == found


def test_several_cookie_headers() -> None:
    """As HTTP/2 sends them."""
    assert ids(Cookie(), "a=b", f"__Host-session={ID}", f"__Host-session={OTHER}") == [ID, OTHER]


@pytest.mark.parametrize(
    "header",
    [
        b"; ".join(b"c%d=%d" % (n, n) for n in range(10_000)),
        b"; ".join([b"__Host-session=junk"] * 10_000),
        b"; ".join(b"__Host-session=sess-%038x" % n for n in range(10_000)),
        b"__Host-session=" + b"a" * 1_000_000,
        b"__Host-session=" + b" " * 1_000_000,
        b"__Host-session=" + b";" * 1_000_000,
        b"__Host-session=" + b"; " * 500_000,
        b"__Host-session=" + b"\t" * 500_000 + b";" + b" " * 500_000 + b"__Host-session=",
        b"__Host-session=" * 70_000,
        b"\xff\x00" * 500_000 + b"__Host-session=",
    ],
)
def test_a_hostile_header_takes_no_time(header: bytes) -> None:
    """Megabytes are read once: no pattern here goes back."""
    begin = time.perf_counter()
    assert len(ids(Cookie(), header)) <= 2
    assert time.perf_counter() - begin < 2
