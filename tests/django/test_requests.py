"""Requests of one browser, one after another and at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("django", reason="Django is not installed")

from django.http import HttpResponse
from django.test import Client

from chuk_sessions.django import SessionStore
from tests.django import project

COOKIE = "sessionid"


def like(client: Client) -> Client:
    """Another tab of that browser."""
    tab = Client(raise_request_exception=False)
    tab.cookies = client.cookies
    return tab


def data(client: Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/read").json()["data"]
    return found


def test_a_session_is_kept(client: Client) -> None:
    """In a key of our form; a request without one gets no cookie, and nothing is stored for it."""
    assert COOKIE not in client.get("/read").cookies
    assert client.get("/put/a/1").cookies[COOKIE].value.startswith("sess-")
    client.get("/put/b/2")
    client.get("/drop/a")
    assert data(client) == {"b": "2"}


def test_headers(client: Client) -> None:
    """`Vary` if the session was used; a request that changes nothing sets no cookie."""
    assert not client.get("/nothing").has_header("Vary")
    assert client.get("/put/a/1").headers["Vary"] == "Cookie"
    answer = client.get("/read")
    assert (answer.headers["Vary"], len(answer.cookies)) == ("Cookie", 0)


@pytest.mark.parametrize("made_up", [f"sess-{0:038x}", "x" * 32, "short", "sess-\xe9", "y" * 5000])
def test_a_key_that_a_client_made_up_is_not_adopted(client: Client, made_up: str) -> None:
    """Neither when it is read nor when something is written."""
    client.cookies[COOKIE] = made_up
    assert data(client) == {}
    key = client.get("/put/a/1").cookies[COOKIE].value
    assert key != made_up
    assert not SessionStore().exists(made_up)
    assert data(client) == {"a": "1"}


def test_a_dead_key_is_left_in_the_browser(client: Client) -> None:
    """A late answer must not delete the cookie that another tab has just got."""
    client.cookies[COOKIE] = f"sess-{1:038x}"
    assert COOKIE not in client.get("/read").cookies


def test_requests_that_overlap(client: Client) -> None:
    """Fifty at once, each with a key of its own: all are there."""
    client.get("/put/first/0")
    project.meeting.everybody = threading.Barrier(50)
    with ThreadPoolExecutor(50) as pool:
        list(pool.map(lambda n: like(client).get(f"/put-together/key{n}"), range(50)))
    assert len(data(client)) == 51


def test_one_request_drops_a_key_while_another_sets_one(client: Client) -> None:
    client.get("/put/old/1")
    answer = while_slow(client, lambda: client.get("/drop/old"))
    assert answer.status_code == 200
    assert data(client) == {"late": 1}


def while_slow(client: Client, act: Callable[[], object]) -> HttpResponse:
    """What a slow request gets that writes in the end; `act` happens after it has read its session."""
    meeting = project.meeting = project.Meeting()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(like(client).get, "/put-slowly/late")
        assert meeting.begun.wait(20)
        act()
        meeting.go_on.set()
        answer: HttpResponse = slow.result()
        return answer


def test_a_logout_during_a_slow_request_holds(client: Client) -> None:
    """The slow one fails as with Django's own engines, and brings no cookie."""
    client.get("/put/a/1")
    key = client.cookies[COOKIE].value
    answer = while_slow(client, lambda: client.get("/logout"))
    assert (answer.status_code, len(answer.cookies)) == (400, 0)
    assert not SessionStore().exists(key)


def test_an_exception_stores_nothing(client: Client) -> None:
    with pytest.raises(RuntimeError, match="bug"):
        client.get("/stumble")
    assert like(client).get("/stumble").status_code == 500
    assert data(client) == {}


def test_messages(client: Client) -> None:
    client.get("/leave")
    assert client.get("/left").json() == ["saved", "twice"]
    assert client.get("/left").json() == []


def test_the_session_of_the_test_client(client: Client) -> None:
    """Is written by the test, and read by it."""
    session = client.session
    session["a"] = [1]
    session.save()
    assert data(client) == {"a": [1]}
    client.get("/put/b/2")
    assert dict(client.session.items()) == {"a": [1], "b": "2"}


def test_every_request_saves(client: Client, override: Callable[..., None]) -> None:
    """With that setting requests that only read give the session its lifetime again."""
    override(SESSION_SAVE_EVERY_REQUEST=True)
    client.get("/put/a/1")
    assert COOKIE in client.get("/nothing").cookies
    assert data(client) == {"a": "1"}


@pytest.mark.parametrize("key", ["x" * 32, f"sess-{1:038x}"], ids=["of Django", "dead"])
def test_every_request_saves_and_there_is_no_session(client: Client, override: Callable[..., None], key: str) -> None:
    """That is no error, whether the view looks at the session or not; nothing is stored."""
    override(SESSION_SAVE_EVERY_REQUEST=True)
    client.cookies[COOKIE] = key
    for path in ("/nothing", "/read"):
        answer = client.get(path)
        assert (answer.status_code, len(answer.cookies)) == (200, 0)
