"""Tasks of one request that act on its session at the same time, and acts that fail half way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chuk_sessions import MetadataError, SessionManager, StorageError
from chuk_sessions.web import Session, SessionMiddleware
from chuk_sessions.web.asgi import Receive, Scope, Send
from tests.support.asgi import Browser, reply
from tests.web.endpoints import Open, log_in, show


async def fill(session: Session, scope: Scope) -> Any:
    session.update(a=1, l=[1])


@pytest.mark.parametrize("stored", [True, False])
async def test_two_tasks_save(open_browser: Open, web_manager: SessionManager, stored: bool) -> None:
    """What one has done the other does not do again: there is one session, and a deleted key is deleted once."""

    async def act(session: Session, scope: Scope) -> Any:
        session.pop("a", None)
        session["b"] = 2
        await asyncio.gather(session.save(), session.save(), session.increment("n"))

    browser = open_browser(fill=fill, act=act, index=show)
    if stored:
        await browser.get("/fill")
    await browser.get("/act")
    assert (await browser.get()).json() == {"b": 2, "n": 1} | ({"l": [1]} if stored else {})
    assert await web_manager.count_sessions() == 1


@pytest.mark.parametrize("first", [True, False])
async def test_one_task_logs_in_and_one_counts(open_browser: Open, web_manager: SessionManager, first: bool) -> None:
    """Neither is lost, and the client gets the new id."""

    async def act(session: Session, scope: Scope) -> Any:
        acts = [session.login("alice"), session.increment("n")]
        await asyncio.gather(*(acts if first else reversed(acts)))

    browser = open_browser(fill=fill, act=act, index=show)
    await browser.get("/fill")
    assert (await browser.get("/act")).set_cookie is not None
    assert (await browser.get()).json() == {"a": 1, "l": [1], "n": 1}
    assert len(await web_manager.list_user_sessions("alice")) == 1


async def test_a_response_that_begins_while_a_task_makes_the_session(web_manager: SessionManager) -> None:
    """The response waits for the id, and brings it to the client."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.ensure_future(scope["session"].login("alice"))
        await asyncio.sleep(0)
        await reply(send)
        await task

    assert (await Browser(SessionMiddleware(app, web_manager)).get()).set_cookie is not None
    assert await web_manager.count_sessions() == 1


@pytest.mark.parametrize("way", ["save", "renew", "login"])
@pytest.mark.parametrize("stored", [True, False])
async def test_a_list_that_grows_while_it_is_written(open_browser: Open, way: str, stored: bool) -> None:
    """What was appended on the way is a change that is still to be written."""

    async def act(session: Session, scope: Scope) -> Any:
        grown = session.setdefault("l", [1])
        grown.append(2)
        acts: dict[str, Callable[[], Awaitable[Any]]] = {
            "save": session.save,
            "renew": session.renew,
            "login": lambda: session.login("alice"),
        }
        task = asyncio.ensure_future(acts[way]())
        await asyncio.sleep(0)
        grown.append(3)
        await task

    browser = open_browser(fill=fill, act=act, index=show)
    if stored:
        await browser.get("/fill")
    await browser.get("/act")
    assert (await browser.get()).json()["l"] == [1, 2, 3]


@pytest.mark.parametrize("way", ["outage", "cancelled"])
async def test_a_cleared_session_whose_end_failed(
    open_browser: Open, web_manager: SessionManager, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """It is still to end, and does so at the next commit: a user who was logged out does not keep an empty one."""
    delete = web_manager.delete_session

    async def fail(session_id: str) -> bool:
        if way == "outage":
            raise StorageError("down")
        raise asyncio.CancelledError

    async def act(session: Session, scope: Scope) -> Any:
        session.clear()
        monkeypatch.setattr(web_manager, "delete_session", fail)
        with pytest.raises((StorageError, asyncio.CancelledError)):
            await session.save()
        monkeypatch.setattr(web_manager, "delete_session", delete)

    browser = open_browser(login=log_in, act=act)
    await browser.get("/login")
    assert "Max-Age=0" in ((await browser.get("/act")).set_cookie or "")
    assert await web_manager.count_sessions() == 0


@pytest.mark.parametrize("why", ["data", "outage"])
async def test_a_login_that_fails_leaves_nobody_the_data_of_another_user(
    open_browser: Open, web_manager: SessionManager, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """Data that cannot be stored is refused before anything happens; a session that was ended takes its data along."""

    async def fail(**_: Any) -> str:
        raise StorageError("down")

    async def bob(session: Session, scope: Scope) -> Any:
        await session.login("bob", secret=1)

    async def act(session: Session, scope: Scope) -> Any:
        if why == "data":
            with pytest.raises(MetadataError):
                await session.login("alice", bad=object())
        else:
            with monkeypatch.context() as patched:
                patched.setattr(web_manager, "allocate_session", fail)
                with pytest.raises(StorageError):
                    await session.login("alice")

    async def who(session: Session, scope: Scope) -> Any:
        return [session.user_id, dict(session)]

    browser = open_browser(bob=bob, act=act, who=who)
    await browser.get("/bob")
    await browser.get("/act")
    kept: list[Any] = ["bob", {"secret": 1}] if why == "data" else [None, {}]
    assert (await browser.get("/who")).json() == kept


async def test_clearing_the_session_of_a_user_logs_out(open_browser: Open, web_manager: SessionManager) -> None:
    """As with a logout that leaves a message: what is set after it is a visitor's, under a new id."""

    async def out(session: Session, scope: Scope) -> Any:
        session.clear()
        session["message"] = "bye"

    async def who(session: Session, scope: Scope) -> Any:
        return [session.user_id, dict(session)]

    browser = open_browser(login=log_in, out=out, who=who)
    await browser.get("/login")
    before = browser.copy()
    await browser.get("/out")
    assert (await browser.get("/who")).json() == [None, {"message": "bye"}]
    assert (await before.get("/who")).json() == [None, {}]
    assert await web_manager.list_user_sessions("alice") == []


async def test_clearing_the_session_of_a_user_too_late_for_a_cookie(web_manager: SessionManager) -> None:
    """It ends all the same; nothing is stored whose id nobody could get."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/login":
            await scope["session"].login("alice")
        await reply(send)
        if scope["path"] == "/out":
            scope["session"].clear()
            scope["session"]["message"] = "bye"

    browser = Browser(SessionMiddleware(app, web_manager))
    await browser.get("/login")
    await browser.get("/out")
    assert await web_manager.count_sessions() == 0


@pytest.mark.parametrize("stored", [True, False])
async def test_counting_on_what_this_request_has_set(open_browser: Open, stored: bool) -> None:
    """It counts from there, also if that was not stored yet; a deleted key counts as 0."""

    async def act(session: Session, scope: Scope) -> Any:
        session["n"] = 5
        first = await session.increment("n")
        session.pop("n")
        return [first, await session.increment("n"), await session.increment("n")]

    browser = open_browser(fill=fill, act=act, index=show)
    if stored:
        await browser.get("/fill")
    for _ in range(2):
        assert (await browser.get("/act")).json() == [6, 1, 2]
    assert (await browser.get()).json()["n"] == 2
