"""CrossOriginGuard: what another site can make a browser send is refused, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from chuk_sessions.web import CrossOriginGuard
from chuk_sessions.web.asgi import Receive, Scope, Send
from tests.support.asgi import Browser, reply

OURS, THEIRS, TRUSTED = "https://shop.example", "https://evil.example", "https://app.example"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
    else:
        await reply(send)


BROWSER = Browser(CrossOriginGuard(app, trusted_origins=[TRUSTED], exclude=["/hook", "/api/"]))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"sec-fetch-site": "same-origin", "origin": "null"}, 200),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "cross-site", "origin": THEIRS}, 403),
        ({"sec-fetch-site": "cross-site", "origin": TRUSTED}, 200),
        ({"sec-fetch-site": "nonsense"}, 403),
        ({"sec-fetch-site": ""}, 403),
        ({"origin": OURS}, 200),
        ({"origin": f"{OURS}:443"}, 200),
        ({"origin": OURS.upper()}, 200),
        ({"origin": OURS, "host": "shop.example:443"}, 200),
        ({"origin": f"{OURS}:8443", "host": "shop.example:8443"}, 200),
        ({"origin": f"{OURS}:8443"}, 403),
        ({"origin": THEIRS}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({"origin": "https://", "host": ""}, 403),
        ({"origin": f"{OURS}.evil.example"}, 403),
        ({"origin": "https://evil.example/shop.example"}, 403),
        ({"origin": TRUSTED}, 200),
        ({"origin": "http://app.example"}, 403),
    ],
)
async def test_unsafe_methods(headers: dict[str, str], status: int) -> None:
    """A page cannot change these headers; where there is neither, no browser of this decade asks."""
    for method in ("POST", "PUT", "PATCH", "DELETE", "PURGE"):
        assert (await BROWSER.request(method, "/", headers)).status == status
    for method in ("GET", "HEAD", "OPTIONS"):
        assert (await BROWSER.request(method, "/", headers)).status == 200


@pytest.mark.parametrize(("path", "status"), [("/hook", 200), ("/hooks", 403), ("/api/x", 200), ("/api", 403)])
async def test_paths_that_are_left_out(path: str, status: int) -> None:
    assert (await BROWSER.request("POST", path, {"origin": THEIRS})).status == status


@pytest.mark.parametrize(
    ("path", "origin", "kind"),
    [
        ("/", OURS, "websocket.accept"),
        ("/", TRUSTED, "websocket.accept"),
        ("/", THEIRS, "websocket.close"),
        ("/hook", THEIRS, "websocket.accept"),
    ],
)
async def test_websockets(path: str, origin: str, kind: str) -> None:
    """Their handshake is a GET, and yet it acts."""
    async with BROWSER.socket(path, origin=origin) as socket:
        assert socket.messages[0]["type"] == kind


async def test_other_kinds_of_scope_pass() -> None:
    kinds: list[str] = []

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        kinds.append(scope["type"])

    async def nothing(*_: Any) -> Any: ...

    await CrossOriginGuard(note)({"type": "lifespan"}, nothing, nothing)
    assert kinds == ["lifespan"]
