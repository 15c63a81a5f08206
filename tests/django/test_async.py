"""Asynchronous servers: nothing of the middleware runs in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("django", minversion="5.1", reason="sessions of Django have asynchronous methods since 5.1")

from asgiref.sync import sync_to_async
from django.db import connections
from django.http import HttpResponse
from django.test import AsyncClient, Client, RequestFactory

from chuk_sessions.django import SessionMiddleware, SessionStore
from tests.django.conftest import Setting

COOKIE = "sessionid"


@pytest.fixture
def browser(setting: Setting) -> Any:
    return AsyncClient()


async def data(browser: Any) -> Any:
    return (await browser.get("/async/read")).json()["data"]


async def test_a_session_is_kept(browser: Any) -> None:
    """Whether the view awaits its session or not, and in synchronous views of the same server."""
    for path in ("/async/put/a/1", "/async/put-in-place/b/2", "/put/c/3"):
        assert (await browser.get(path)).status_code == 200
    assert await data(browser) == {"a": "1", "b": "2", "c": "3"}
    answer = await browser.get("/async/logout")
    assert answer.cookies[COOKIE]["max-age"] == 0
    assert await data(browser) == {}


async def test_a_login(browser: Any) -> None:
    """In a synchronous view, which runs in a thread."""
    await browser.get("/async/put/cart/tea")
    assert (await browser.get("/login/alice")).status_code == 200
    assert (await data(browser))["cart"] == "tea"
    assert (await browser.get("/who")).content == b"alice"
    await sync_to_async(connections.close_all)()


async def test_requests_that_overlap(browser: Any) -> None:
    """Each sets a key of its own; all are there."""
    await browser.get("/async/put/first/0")
    await asyncio.gather(*(browser.get(f"/async/put/key{n}/1") for n in range(50)))
    assert len(await data(browser)) == 51


async def test_every_request_saves(browser: Any, override: Callable[..., None]) -> None:
    """With that setting; a session that is not found is no error then."""
    override(SESSION_SAVE_EVERY_REQUEST=True)
    await browser.get("/async/put/a/1")
    assert COOKIE in (await browser.get("/nothing")).cookies
    browser.cookies[COOKIE] = f"sess-{1:038x}"
    answer = await browser.get("/nothing")
    assert (answer.status_code, len(answer.cookies)) == (200, 0)


async def test_a_logout_meanwhile(setting: Setting) -> None:
    """Holds: the late request fails."""
    made = SessionStore()
    await made.acreate()
    request = RequestFactory().get("/")
    request.COOKIES[COOKIE] = made.session_key

    async def view(request: Any) -> HttpResponse:
        await request.session.aset("a", 1)
        await made.adelete()
        return HttpResponse("x")

    from django.contrib.sessions.exceptions import SessionInterrupted

    answer: Any = SessionMiddleware(view)(request)
    with pytest.raises(SessionInterrupted):
        await answer


async def test_two_tasks_of_one_request(setting: Setting) -> None:
    """Save the session at the same time, and one of them changes it while the other is writing."""
    made = SessionStore()
    made.update({"a": 1, "names": []})

    async def change() -> None:
        await asyncio.sleep(0)
        made["names"].append("late")

    await asyncio.gather(made.asave(), change())
    del made["a"]
    await asyncio.gather(made.asave(), made.asave())
    assert await SessionStore(made.session_key).aload() == {"names": ["late"]}


async def test_no_thread(setting: Setting) -> None:
    """Is asked by the middleware, neither to read nor to write."""
    made = SessionStore()
    await made.acreate()
    request = RequestFactory().get("/")
    request.COOKIES[COOKIE] = made.session_key
    before = threading.enumerate()

    async def view(request: Any) -> HttpResponse:
        await request.session.aset("a", 1)
        return HttpResponse("x")

    answer: Any = SessionMiddleware(view)(request)
    assert (await answer).cookies[COOKIE].value == made.session_key
    assert threading.enumerate() == before
    assert await SessionStore(made.session_key).aload() == {"a": 1}


def test_asynchronous_views_of_a_synchronous_server(client: Client, override: Callable[..., None]) -> None:
    """Have an event loop for each request."""
    for n in range(3):
        client.get(f"/async/put/key{n}/1")
    assert len(client.get("/async/read").json()["data"]) == 3
