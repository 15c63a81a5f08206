"""Ids in headers, for programs."""

from __future__ import annotations

from typing import Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.web import Bearer, Header, Session, SessionMiddleware
from chuk_sessions.web.asgi import Scope
from tests.support.asgi import Browser, application


async def fill(session: Session, scope: Scope) -> Any:
    session["n"] = session.get("n", 0) + 1
    return session["n"]


async def login(session: Session, scope: Scope) -> Any:
    await session.login("alice")


async def logout(session: Session, scope: Scope) -> Any:
    await session.invalidate()


@pytest.mark.parametrize(
    ("transport", "header", "prefix"),
    [
        (Header("X-Session"), "x-session", ""),
        (Bearer(), "authorization", "Bearer "),
        (Bearer(), "authorization", "bearer  "),
    ],
)
async def test_the_id_comes_back_in_a_header(
    web_manager: SessionManager, transport: Header, header: str, prefix: str
) -> None:
    """When the session is new or has got a new id; empty when it has ended. No cookie, no Vary."""
    app = application(fill=fill, login=login, logout=logout)
    client = Browser(SessionMiddleware(app, web_manager, transport=transport))
    first = await client.get("/fill")
    session_id = first.header("x-session") or ""
    assert await web_manager.validate_session(session_id)
    assert (first.header("vary"), first.set_cookie, first.header("cache-control")) == (None, None, "private, no-store")
    second = await client.get("/fill", **{header: prefix + session_id})
    assert (second.json(), second.header("x-session")) == (2, None)
    renewed = (await client.get("/login", **{header: prefix + session_id})).header("x-session") or ""
    assert renewed not in ("", session_id)
    assert (await client.get("/logout", **{header: prefix + renewed})).header("x-session") == ""
    assert (await client.get("/fill", **{header: prefix + renewed})).json() == 1


@pytest.mark.parametrize("value", ["", "x", "Basic abc", "Bearer", "Bearer ", "Bearer x" * 1000, "\xe9\x00", "sess-"])
async def test_what_is_no_id_is_no_session(web_manager: SessionManager, value: str) -> None:
    for transport in (Header(), Bearer()):
        client = Browser(SessionMiddleware(application(fill=fill), web_manager, transport=transport))
        assert (await client.get("/fill", **{"x-session": value, "authorization": value})).json() == 1


@pytest.mark.parametrize("name", ["", "X Session", "x:y", "x\r\n"])
def test_a_bad_name_of_a_header(name: str) -> None:
    with pytest.raises(ValueError, match="no name of a header"):
        Header(name)
