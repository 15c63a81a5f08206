"""Real servers, synchronous and asynchronous: right data for each browser, and an end without a hang."""

from __future__ import annotations

import http.client
import importlib.util
import json
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("django", reason="Django is not installed")

from django import VERSION

from tests.support.web_servers import serving

BROWSERS, REQUESTS = 10, 20
COMMANDS = {
    "gunicorn": ["--preload", "--workers", "2", "--threads", "4", "--bind", "fd://FD", "tests.django.program:wsgi"],
    "uvicorn": ["--lifespan", "off", "--no-access-log", "--fd", "FD", "tests.django.program:asgi"],
}
# Sessions of Django have asynchronous methods since 5.1.
VIEWS = {"gunicorn": ("",), "uvicorn": ("", "/async") if VERSION >= (5, 1) else ("",)}


def get(port: int, path: str, cookie: str) -> tuple[Any, str]:
    """The answer to one request, and the cookie after it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    assert answer.status == 200, text
    return text, answer.headers.get("set-cookie", cookie).partition(";")[0]


def visit(port: int, browser: int, prefix: str) -> None:
    """Make the requests of one browser, and look at each answer."""
    cookie, names = "", []
    for n in range(REQUESTS):
        names.append(f"b{browser}-{n}")
        text, cookie = get(port, f"{prefix}/add/{names[-1]}", cookie)
        assert json.loads(text)["names"] == names


def overlap(port: int, pool: ThreadPoolExecutor, prefix: str) -> None:
    """Make fifty requests of one session at once, in all processes of the server, each with a key of its own."""
    _, cookie = get(port, f"{prefix}/put/first/1", "")
    list(pool.map(lambda n: get(port, f"{prefix}/put/key{n}/1", cookie), range(50)))
    text, _ = get(port, f"{prefix}/read", cookie)
    assert len(json.loads(text)["data"]) == 51


@pytest.mark.slow
@pytest.mark.parametrize("server", COMMANDS)
def test_requests(redis_url: str, server: str) -> None:
    """Two hundred of ten browsers; the sessions were used before the workers were forked."""
    if importlib.util.find_spec(server) is None:
        pytest.skip(f"{server} is not installed")
    views = VIEWS[server]
    command = [sys.executable, "-m", server, *COMMANDS[server]]
    running = serving(command, {"CHUK_TEST_URL": redis_url}, codes=(0, -signal.SIGTERM))
    with running as port, ThreadPoolExecutor(BROWSERS) as pool:
        list(pool.map(lambda browser: visit(port, browser, views[browser % len(views)]), range(BROWSERS)))
        overlap(port, pool, views[-1])
