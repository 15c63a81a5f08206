"""The storage fails: 503, and nobody is logged out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("django", reason="Django is not installed")

from django import VERSION
from django.core.signals import got_request_exception
from django.http import FileResponse
from django.test import AsyncClient, Client, RequestFactory

from chuk_sessions.django import middleware
from chuk_sessions.exceptions import StorageError
from tests.django import project
from tests.support.groups import PATIENCE
from tests.support.servers import RedisServer

COOKIE = "sessionid"


@pytest.fixture
def server(own_server: RedisServer, override: Callable[..., None]) -> RedisServer:
    override(CHUK_SESSIONS={"URL": f"{own_server.url}?socket_connect_timeout=0.2"})
    return own_server


@pytest.fixture
def failed() -> Iterator[list[object]]:
    """The requests that Django counts as failed, of which it would tell the administrators."""
    found: list[object] = []

    def note(sender: object, request: Any, **rest: Any) -> None:
        found.append(request.path)

    got_request_exception.connect(note)
    yield found
    got_request_exception.disconnect(note)


def is_unavailable(answer: Any) -> bool:
    """Whether it says to try again, and nothing about the session."""
    assert not answer.cookies
    assert "sess-" not in answer.content.decode()
    headers = (answer.headers["Retry-After"], answer.headers["Cache-Control"])
    return (answer.status_code, *headers) == (503, "2", "no-store")


def when_back(client: Client, path: str) -> Any:
    """The answer when the server is there again, for which the client looks now and then."""
    deadline = time.monotonic() + PATIENCE
    while (answer := client.get(path)).status_code == 503:
        assert time.monotonic() < deadline
    return answer


@pytest.mark.parametrize("path", ["/read", "/put/a/2", "/who", "/logout", "/login/alice"])
def test_without_the_server(server: RedisServer, path: str, failed: list[object]) -> None:
    """When it is back, so is the session."""
    client = Client()
    client.get("/put/a/1")
    server.kill()
    assert is_unavailable(client.get(path))
    assert client.get("/nothing").status_code == 200
    assert failed == []


def test_the_server_is_back(server: RedisServer) -> None:
    """With what it had: nobody has to log in again."""
    client = Client()
    client.get("/login/alice")
    server.command("SAVE")
    server.kill()
    assert is_unavailable(client.get("/who"))
    server.restart()
    assert when_back(client, "/who").content == b"alice"


@pytest.mark.skipif(VERSION < (5, 1), reason="sessions of Django have asynchronous methods since 5.1")
async def test_asynchronous_views(server: RedisServer) -> None:
    client = AsyncClient()
    await client.get("/async/put/a/1")
    server.kill()
    for path in ("/async/read", "/async/put/a/2", "/async/put-in-place/a/2", "/async/logout", "/read", "/put/a/1"):
        assert is_unavailable(await client.get(path))
    assert is_unavailable(await AsyncClient().get("/async/put/a/1"))


def test_at_the_end_of_a_request(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """The answer of the view is not sent: what it says has not happened."""
    server.kill()
    middleware.outages._next_report = 0.0
    for _ in range(2):
        assert is_unavailable(Client().get("/put/a/1"))
    assert [each.levelno for each in caplog.records if not each.name.startswith("chuk_sessions.redis")] == [
        logging.ERROR
    ]


def test_a_file_that_is_not_sent(server: RedisServer, tmp_path: Path) -> None:
    """Is closed with the 503."""
    path = tmp_path / "file"
    path.write_text("x")
    file = path.open("rb")

    def view(request: Any) -> FileResponse:
        request.session["a"] = 1
        return FileResponse(file)

    server.kill()
    answer: Any = middleware.SessionMiddleware(view)(RequestFactory().get("/"))
    assert is_unavailable(answer)
    answer.close()
    assert file.closed


def test_outside_of_a_view(server: RedisServer) -> None:
    """A middleware that looks at the session fails, which Django makes a 500; ours makes that a 503."""
    client = Client(raise_request_exception=False)
    client.get("/put/a/1")
    server.kill()
    assert is_unavailable(client.get("/nothing", headers={"X-Needs-Session": "1"}))


def test_a_new_key_before_the_outage(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reaches the browser, because the old one has ended: the cart is there when the server is back."""

    def crash() -> None:
        server.command("SAVE")
        server.kill()

    client = Client()
    client.get("/put/cart/tea")
    monkeypatch.setattr(project.meeting, "act", crash)
    answer = client.get("/new-key")
    assert (answer.status_code, answer.cookies[COOKIE].value) == (503, client.cookies[COOKIE].value)
    server.restart()
    assert when_back(client, "/read").json()["data"] == {"cart": "tea"}


def test_another_error_is_a_500(server: RedisServer) -> None:
    client = Client(raise_request_exception=False)
    assert client.get("/stumble").status_code == 500


def test_the_middleware_of_django(server: RedisServer, override: Callable[..., None]) -> None:
    """Knows no outage: it is an error then, and still no logout."""
    names = ["django.contrib.sessions.middleware.SessionMiddleware"]
    override(MIDDLEWARE=names)
    client = Client()
    client.get("/put/a/1")
    key = client.cookies[COOKIE].value
    server.kill()
    with pytest.raises(StorageError) as caught:
        client.get("/read")
    assert key not in str(caught.value)
    assert client.cookies[COOKIE].value == key
