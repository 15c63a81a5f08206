"""The examples of web applications do what they say."""

from __future__ import annotations

import re

import pytest
from fastapi import FastAPI, WebSocketDisconnect
from fastapi.testclient import TestClient

from chuk_sessions import SessionManager
from chuk_sessions.exceptions import NotSent
from examples.fastapi_login import create_app
from examples.shop import create_app as create_shop
from tests.support.failing_provider import failing_factory
from tests.web.endpoints import check_two_logins


def test_fastapi_login(web_manager: SessionManager) -> None:
    """Two browsers of one user; the cart of a visitor stays at the login."""
    app = create_app(web_manager)
    with (
        TestClient(app, base_url="https://shop.example") as one,
        TestClient(app, base_url="https://shop.example") as two,
    ):
        assert one.get("/sessions").status_code == 401
        one.post("/cart/book")
        check_two_logins(one, two)
        assert one.post("/cart/pen").json() == ["book", "pen"]
        assert two.post("/logout/everywhere").json() == 2
        assert one.get("/sessions").status_code == 401
        assert one.post("/logout").status_code == 200


def test_the_memory_of_the_process() -> None:
    """Is where the sessions are by default."""
    assert TestClient(create_app(), base_url="https://shop.example").post("/login/bob").status_code == 200


def browser_at(app: FastAPI) -> TestClient:
    return TestClient(app, base_url="https://shop.example")


def test_the_shop(web_manager: SessionManager) -> None:
    """What `nox -s browser` looks at in a browser, without one."""
    app = create_shop(web_manager)
    one, two = browser_at(app), browser_at(app)
    assert one.get("/account").url.path == "/"
    for item in ("tea", "tea", "gold"):
        page = one.post(f"/cart/{item}").text
    assert '"in-cart-tea">2<' in page
    assert "gold" not in page
    agent = {"user-agent": "Mozilla/5.0 Firefox/151.0"}
    assert "Welcome, &lt;alice&gt;" in one.post("/login", content="user=%3Calice%3E", headers=agent).text
    two.post("/login", content="user=%3Calice%3E")
    with two.websocket_connect("wss://shop.example/whoami") as socket:
        assert socket.receive_text() == "<alice>"
    page = two.get("/account").text
    assert "Firefox" in page
    assert two.cookies["__Host-session"] not in page
    (revoke,) = re.findall(r"/sessions/\w+/revoke", page)
    assert "That browser is logged out" in two.post(revoke).text
    assert 'id="login"' in one.get("/").text
    assert 'id="login"' in two.post("/logout/everywhere").text
    two.post("/login", content="user=bob")
    assert "The cart is empty" in two.post("/empty").text
    assert 'id="login"' in two.post("/logout").text


def test_the_shop_without_its_storage() -> None:
    """A page of its own, and a socket that says to try again."""
    manager = SessionManager("shop", failing_factory(NotSent("down")), strict=True, opaque_ids=True)
    visitor = browser_at(create_shop(manager))
    visitor.cookies.set("__Host-session", f"sess-{0:038x}")
    answer = visitor.get("/")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert 'id="unavailable"' in answer.text
    with pytest.raises(WebSocketDisconnect) as caught, visitor.websocket_connect("wss://shop.example/whoami"):
        pass
    assert caught.value.code == 1013
