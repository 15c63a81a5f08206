"""What a request costs on Redis, exactly: a figure that changes here is a change of cost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("django", reason="Django is not installed")

from django.test import Client

from tests.support.wire import Wire


def spent(client: Client, path: str, wire: Wire) -> tuple[int, list[str]]:
    """The round trips and the commands of a request; before that the server has got the scripts."""
    client.get(path)
    wire.clear()
    assert client.get(path).status_code == 200
    return len(wire.writes), wire.commands


@pytest.mark.parametrize(
    ("path", "trips", "commands"),
    [
        ("/nothing", 0, []),
        ("/read", 1, ["HGETALL"]),
        ("/put/a/1", 2, ["HGETALL", "EVALSHA"]),
        ("/add/item", 2, ["HGETALL", "EVALSHA", "EVALSHA"]),
        ("/login/alice", 2, ["HGETALL", "EVALSHA"]),
    ],
)
def test_requests(
    redis_url: str, wire: Wire, override: Callable[..., None], path: str, trips: int, commands: list[str]
) -> None:
    """A key that is set to what it was is not written; the lifetime is. Two commands at once are one round trip."""
    override(CHUK_SESSIONS={"URL": redis_url})
    client = Client()
    client.get("/add/first")
    client.get("/read")
    assert spent(client, path, wire) == (trips, commands)


def test_a_first_request(redis_url: str, wire: Wire, override: Callable[..., None]) -> None:
    """No cookie, or one that is not ours, costs nothing until something is stored."""
    override(CHUK_SESSIONS={"URL": redis_url})
    Client().get("/put/a/1")
    wire.clear()
    browser = Client()
    browser.get("/read")
    browser.cookies["sessionid"] = "x" * 32
    browser.get("/read")
    assert wire.commands == []
    browser.get("/put/a/1")
    assert wire.commands == ["EVALSHA"]


def test_a_login_and_a_logout(redis_url: str, wire: Wire, override: Callable[..., None]) -> None:
    """The new key, the user and the data, the lifetime; and the end."""
    override(CHUK_SESSIONS={"URL": redis_url})
    for _ in range(2):
        browser = Client()
        browser.get("/put/a/1")
        wire.clear()
        browser.get("/login/bob")
        trips = len(wire.writes)
        browser.get("/read")
        wire.clear()
        browser.get("/logout")
    assert trips == 4  # the second time: the server has got the scripts
    assert wire.commands == ["HGETALL", "EVALSHA"]
