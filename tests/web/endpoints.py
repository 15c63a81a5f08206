"""Endpoints that several files ask for, and what they have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chuk_sessions.web import Session
from chuk_sessions.web.asgi import Scope
from tests.support.asgi import Browser

NAME = "__Host-session"
Open = Callable[..., Browser]


async def show(session: Session, scope: Scope) -> Any:
    return dict(session)


async def put(session: Session, scope: Scope) -> Any:
    """The query is `key=value`."""
    key, _, value = scope.get("query_string", b"").decode().partition("=")
    session[key] = value
    return dict(session)


async def untouched(session: Session, scope: Scope) -> Any:
    return None


async def log_in(session: Session, scope: Scope) -> Any:
    await session.login("alice", role="admin")
    return session.user_id


async def log_out(session: Session, scope: Scope) -> Any:
    await session.invalidate()
    return None


def check_two_logins(one: Any, two: Any) -> None:
    """The test clients of an example, logged in as alice in that order: each finds itself, and a WebSocket the user."""
    for each in (one, two):
        assert each.post("/login/alice").json() == {"welcome": "alice"}
    for each, expected in ((one, [True, False]), (two, [False, True])):
        assert [found["this"] for found in each.get("/sessions").json()] == expected
    with one.websocket_connect("wss://shop.example/whoami") as socket:
        socket.send_text("?")
        assert socket.receive_text() == "alice"
