"""`Mcp-Session-Id`, with the answers that the specification of 2025-11-25 asks for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.web import McpHeader, SessionMiddleware
from chuk_sessions.web.asgi import Receive, Scope, Send, header
from tests.support.asgi import Browser, reply

INITIALIZE = json.dumps({"method": "initialize", "params": {"protocolVersion": "2025-11-25"}}).encode()
CALL = b'{"method": "tools/list"}'


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Echoes the body, and counts the calls of a session."""
    session = scope["session"]
    session["calls"] = session.get("calls", 0) + 1
    body = (await receive())["body"]
    await reply(send, body=json.dumps([body.decode(), dict(session), session.user_id]).encode())


def subject(scope: Scope) -> str | None:
    token = header(scope, b"authorization")
    return None if token is None else token.decode().removeprefix("Bearer ")


def client_of(manager: SessionManager, **options: Any) -> Browser:
    return Browser(SessionMiddleware(app, manager, transport=McpHeader(**options)))


async def test_a_session_of_the_protocol(web_manager: SessionManager) -> None:
    """Initialize, a call, the end, and a call after it."""
    client = client_of(web_manager)
    first = await client.request("POST", body=INITIALIZE)
    session_id = first.header("mcp-session-id") or ""
    assert session_id.isascii()
    assert session_id.isprintable()
    assert first.json() == [INITIALIZE.decode(), {"mcp_protocol": "2025-11-25", "calls": 1}, None]
    named = {"mcp-session-id": session_id}
    second = await client.request("POST", headers=named, body=CALL)
    assert (second.json()[1]["calls"], second.header("mcp-session-id")) == (2, None)
    assert (await client.request("GET", headers=named)).status == 200
    ended = await client.request("DELETE", headers=named)
    assert (ended.status, ended.body, ended.header("mcp-session-id")) == (204, b"", None)
    for method in ("POST", "GET", "DELETE"):
        assert (await client.request(method, headers=named, body=CALL)).status == 404


@pytest.mark.parametrize(
    "body",
    [
        *(CALL, b"", b"[]", b"5", b"{", b'{"method": "initialize"}', b"[" * 100_000, b"\xff\xfe", b"null"),
        b'{"method": "initialize", "params": {"protocolVersion": 5}}',
        b'{"method": "initialize", "params": {"protocolVersion": "%b"}}' % (b"x" * 1000),
        INITIALIZE + b" " * 300_000,
    ],
)
async def test_what_begins_no_session_needs_one(web_manager: SessionManager, body: bytes) -> None:
    client = client_of(web_manager)
    for method in ("POST", "GET", "DELETE"):
        assert (await client.request(method, body=body)).status == 400
    assert await web_manager.count_sessions() == 0


@pytest.mark.parametrize("session_id", ["", "x", "sess-" + "0" * 38, "\xe9", "x" * 10_000])
async def test_an_unknown_id_is_not_found(web_manager: SessionManager, session_id: str) -> None:
    """Also for `initialize`."""
    client = client_of(web_manager)
    for body in (CALL, INITIALIZE):
        assert (await client.request("POST", headers={"mcp-session-id": session_id}, body=body)).status == 404


async def test_a_session_is_no_authentication(web_manager: SessionManager) -> None:
    """Who has the id of another user's session, and a token of their own, finds nothing."""
    client = client_of(web_manager, subject=subject)
    first = await client.request("POST", headers={"authorization": "Bearer alice"}, body=INITIALIZE)
    assert first.json()[2] == "alice"
    session_id = first.header("mcp-session-id") or ""
    for token, status in (("Bearer alice", 200), ("Bearer bob", 404), (None, 404)):
        headers = {"mcp-session-id": session_id} | ({"authorization": token} if token else {})
        assert (await client.request("POST", headers=headers, body=CALL)).status == status
    assert len(await web_manager.list_user_sessions("alice")) == 1


async def test_preflights_pass(web_manager: SessionManager) -> None:
    assert (await client_of(web_manager).request("OPTIONS")).status == 200
