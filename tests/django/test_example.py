"""The example does what it says, in a process of its own: a process has one Django project."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("django", reason="Django is not installed")

ROOT = Path(__file__).parents[2]
USE = """
from django.core.management import call_command
from django.test import Client
from django.test.utils import setup_test_environment
from examples.django_login import application

setup_test_environment()
call_command("migrate", verbosity=0)
one, two = Client(HTTP_HOST="localhost"), Client(HTTP_HOST="localhost", enforce_csrf_checks=True)

def text(client, path="/", **data):
    return (client.post(path, data, follow=True) if data else client.get(path)).content.decode()

assert "cart: tea" in text(one, "/cart", item="tea")
key = one.cookies["sessionid"].value
page = text(one, "/login", user="alice")
assert "<p>alice</p><p>cart: tea</p><ul><li>Welcome, alice</li></ul>" in page and page.count("<tr>") == 1, page
assert one.cookies["sessionid"].value != key
assert two.post("/login", {"user": "alice"}).status_code == 403
two.handler.enforce_csrf_checks = False
assert text(two, "/login", user="alice").count("<tr>") == 2
page = text(one, "/logout/elsewhere", really="yes")
assert "1 other sessions have ended" in page and page.count("this one") == 1, page
assert "<p>nobody</p>" in text(two)
assert "<p>nobody</p>" in text(one, "/logout", really="yes")
call_command("chuk_sessions", "count")
"""


@pytest.mark.slow
@pytest.mark.parametrize("store", ["memory", pytest.param("redis", marks=pytest.mark.redis)])
def test_django_login(store: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    environment = os.environ | {"SESSION_PROVIDER": store, "DATABASE": str(tmp_path / "users.sqlite3")}
    environment["PYTHONPATH"] = str(ROOT)
    if store == "redis":
        environment["SESSION_REDIS_URL"] = request.getfixturevalue("redis_url")
    done = subprocess.run(
        [sys.executable, "-c", USE], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "0\n"
