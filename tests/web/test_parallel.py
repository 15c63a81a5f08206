"""Logins, logouts and writes of one browser at the same time, each of which has read the session before any acts."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.web import Session
from chuk_sessions.web.asgi import Scope
from tests.support.asgi import Browser, Reply

Open = Callable[..., Browser]
NAME = "__Host-session"


class Together:
    """Endpoints that act once so many requests are inside."""

    def __init__(self, count: int) -> None:
        self.barrier = asyncio.Barrier(count)

    async def login(self, session: Session, scope: Scope) -> Any:
        await self.barrier.wait()
        await session.login("alice", role="editor")

    async def logout(self, session: Session, scope: Scope) -> Any:
        await self.barrier.wait()
        await session.invalidate()

    async def write(self, session: Session, scope: Scope) -> Any:
        await self.barrier.wait()
        session["late"] = True

    async def renew(self, session: Session, scope: Scope) -> Any:
        await self.barrier.wait()
        return await session.renew()


async def fill(session: Session, scope: Scope) -> Any:
    session["cart"] = ["book"]


async def show(session: Session, scope: Scope) -> Any:
    return {"user": session.user_id, **session}


async def answers(open_browser: Open, *paths: str) -> tuple[Browser, str, list[Reply]]:
    """What requests for these paths were answered, of one browser that had a cart; and the id that it had then."""
    together = Together(len(paths))
    endpoints = {"login": together.login, "logout": together.logout, "write": together.write, "renew": together.renew}
    browser = open_browser(fill=fill, index=show, **endpoints)
    await browser.get("/fill")
    before = browser.cookies[NAME]
    found = await asyncio.gather(*(browser.copy().get(f"/{path}") for path in paths))
    assert [each.status for each in found] == [200] * len(paths)
    return browser, before, list(found)


async def seen_with(browser: Browser, reply: Reply) -> dict[str, Any]:
    """What the browser sees next, if this answer was the last that it got."""
    after = browser.copy()
    after.take(reply)
    found: dict[str, Any] = (await after.get()).json()
    return found


async def test_two_logins_at_once(open_browser: Open, web_manager: SessionManager) -> None:
    """As of a double click: each cookie that was given out is of a login, the cart is in one of them."""
    browser, before, found = await answers(open_browser, "login", "login")
    assert not await web_manager.validate_session(before)
    seen = [await seen_with(browser, each) for each in found]
    assert [each["user"] for each in seen] == ["alice", "alice"]
    assert [each.get("cart") for each in seen].count(["book"]) >= 1
    assert len(await web_manager.list_user_sessions("alice")) == 2


@pytest.mark.parametrize("order", list(itertools.permutations(("login", "logout", "write"))), ids="-".join)
async def test_a_login_a_logout_and_a_write_at_once(
    open_browser: Open, web_manager: SessionManager, order: tuple[str, ...]
) -> None:
    """The session that was there has ended, whoever came first; the write is nobody's cookie, and revives nothing."""
    browser, before, found = await answers(open_browser, *order)
    replies = dict(zip(order, found, strict=True))
    assert not await web_manager.validate_session(before)
    assert replies["write"].set_cookie is None
    assert "Max-Age=0" in (replies["logout"].set_cookie or "")
    assert await seen_with(browser, replies["logout"]) == {"user": None}
    seen = await seen_with(browser, replies["login"])
    assert (seen["user"], seen["role"]) == ("alice", "editor")
    assert len(await web_manager.list_user_sessions("alice")) == 1


async def test_a_rolling_answer_after_a_renewal_with_a_grace(open_browser: Open, web_manager: SessionManager) -> None:
    """It was asked for with the old id, which it does not give out again: the browser has the new one."""
    inside, go = asyncio.Event(), asyncio.Event()

    async def slow(session: Session, scope: Scope) -> Any:
        inside.set()
        await go.wait()

    async def renew(session: Session, scope: Scope) -> Any:
        return await session.renew(60)

    browser = open_browser({"rolling": True, "max_age": "lifetime"}, fill=fill, slow=slow, renew=renew)
    await browser.get("/fill")
    late = asyncio.create_task(browser.copy().get("/slow"))
    await inside.wait()
    await browser.get("/renew")
    go.set()
    answer = await late
    assert (answer.status, answer.set_cookie) == (200, None)
    assert await web_manager.validate_session(browser.cookies[NAME])


async def test_a_renewal_and_a_write_at_once(open_browser: Open, web_manager: SessionManager) -> None:
    """The write is in the renewed session or nowhere; the old id is dead."""
    browser, before, (renewed, written) = await answers(open_browser, "renew", "write")
    assert not await web_manager.validate_session(before)
    assert written.set_cookie is None
    assert (await seen_with(browser, renewed))["cart"] == ["book"]
