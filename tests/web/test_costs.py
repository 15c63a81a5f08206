"""What a session costs a request, exactly: commands and bytes on Redis; on memory it never gives control away.

A figure that changes here is a change of cost: if it is meant, write the new one down and say why in the commit.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.providers import redis
from chuk_sessions.web import Session, SessionMiddleware
from chuk_sessions.web.asgi import Scope
from tests.support.asgi import Browser, application
from tests.support.wire import Wire, run_without_suspending
from tests.web.conftest import on_memory

CART = [{"sku": f"item-{n}", "count": 1} for n in range(20)]


async def read(session: Session, scope: Scope) -> Any:
    return len(session)


async def nothing(session: Session, scope: Scope) -> Any:
    return None


async def equal(session: Session, scope: Scope) -> Any:
    session["cart"] = [dict(item) for item in CART]
    session["theme"] = "dark"


async def change(session: Session, scope: Scope) -> Any:
    session["cart"][0]["count"] += 1


async def swap(session: Session, scope: Scope) -> Any:
    session["new"] = session.pop("theme", None)


async def fill(session: Session, scope: Scope) -> Any:
    session.update(cart=CART, theme="dark")


async def login(session: Session, scope: Scope) -> Any:
    await session.login("alice", role="admin")


async def logout(session: Session, scope: Scope) -> Any:
    await session.invalidate()


async def count(session: Session, scope: Scope) -> Any:
    return await session.increment("seen")


ENDPOINTS = {
    **{"read": read, "nothing": nothing, "equal": equal, "change": change, "swap": swap, "fill": fill},
    **{"count": count, "login": login, "logout": logout},
}
# Of a session that is there: what the request costs beside reading it.
COSTS = {
    "nothing": ([], 0),
    "read": ([], 0),
    "equal": ([], 0),
    "change": (["EVALSHA"], 728),
    "swap": (["EVALSHA"], 201),
    "login": (["EVALSHA"], 313),
    "logout": (["EVALSHA"], 175),
    "count": (["EVALSHA"], 169),
}
READ = 143  # bytes of one EVALSHA, which reads and touches


@pytest.fixture
async def browser(wire: Wire, redis_url: str) -> Browser:
    """With a session, before a server that knows every script."""
    manager = SessionManager("shop", redis.factory(redis_url), strict=True, opaque_ids=True)
    made = Browser(SessionMiddleware(application(**ENDPOINTS), manager))
    for path in ("fill", *ENDPOINTS, "fill"):
        await made.get(f"/{path}")
    wire.clear()
    return made


@pytest.mark.parametrize("path", COSTS)
async def test_a_request_with_a_session(browser: Browser, wire: Wire, path: str) -> None:
    """One command to read it, and one more if something is different at the end; each in a write of its own."""
    commands, size = COSTS[path]
    await browser.get(f"/{path}")
    assert (wire.commands, wire.size) == (["EVALSHA", *commands], READ + size)
    assert len(wire.writes) == 1 + len(commands)


async def test_a_request_without_a_session_costs_nothing(browser: Browser, wire: Wire) -> None:
    """Without a cookie, with one that is none of ours, and on an excluded path with one."""
    stranger = browser.copy()
    for value in ("null", "x" * 4000, "sess-" + "0" * 37, "sess-" + "g" * 38, "", "\x01"):
        stranger.cookies = {"__Host-session": value, "other": "1"}
        await stranger.get("/read")
    stranger.cookies = {}
    await stranger.get("/read")
    assert wire.writes == []


async def test_an_excluded_path_costs_nothing(browser: Browser, wire: Wire) -> None:
    """Though the browser sends its cookie; there is no session then."""
    with pytest.raises(KeyError, match="static"):
        await browser.get("/static/app.css")
    assert wire.writes == []


async def test_a_new_session_is_one_command(browser: Browser, wire: Wire) -> None:
    """Also by a login."""
    for path, size in (("/fill", 791), ("/login", 275)):
        stranger = Browser(browser.app)
        wire.clear()
        await stranger.get(path)
        assert (wire.commands, wire.size) == (["EVALSHA"], size)


async def test_a_dead_id_is_one_read(browser: Browser, wire: Wire) -> None:
    """And of many cookies with our name two are tried."""
    dead = [f"sess-{n:038x}" for n in range(10_000)]
    header = "; ".join(f"__Host-session={each}" for each in dead)
    await browser.get("/read", cookie=header)
    assert wire.commands == ["EVALSHA"] * 2


async def test_ten_requests_at_once_share_their_reads(browser: Browser, wire: Wire) -> None:
    """The ten reads are one command, and the ten changes leave in one write."""
    await asyncio.gather(*(browser.get("/swap") for _ in range(10)))
    assert wire.commands == ["EVALSHA"] * 11
    assert len(wire.writes) <= 3


def test_on_memory_a_request_never_suspends() -> None:
    """All of it runs in one turn of the loop, but for what the application waits for."""
    browser = Browser(SessionMiddleware(application(**ENDPOINTS), on_memory()))
    for path in ("fill", *ENDPOINTS):
        run_without_suspending(browser.get(f"/{path}"))
