"""The examples of web applications do what they say."""

from __future__ import annotations

from fastapi.testclient import TestClient

from chuk_sessions import SessionManager
from examples.fastapi_login import create_app


def test_fastapi_login(web_manager: SessionManager) -> None:
    """Two browsers of one user; the cart of a visitor stays at the login."""
    app = create_app(web_manager)
    with (
        TestClient(app, base_url="https://shop.example") as one,
        TestClient(app, base_url="https://shop.example") as two,
    ):
        assert one.get("/sessions").status_code == 401
        one.post("/cart/book")
        for each in (one, two):
            assert each.post("/login/alice").json() == {"welcome": "alice"}
        assert one.post("/cart/pen").json() == ["book", "pen"]
        assert [each["this"] for each in one.get("/sessions").json()] == [True, False]
        with one.websocket_connect("wss://shop.example/whoami") as socket:
            socket.send_text("?")
            assert socket.receive_text() == "alice"
        assert two.post("/logout/everywhere").json() == 2
        assert one.get("/sessions").status_code == 401
        assert one.post("/logout").status_code == 200


def test_the_memory_of_the_process() -> None:
    """Is where the sessions are by default."""
    assert TestClient(create_app(), base_url="https://shop.example").post("/login/bob").status_code == 200
