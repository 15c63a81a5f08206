"""Logins, logouts and renewals, and what a session can do beside holding data."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.web import Flash, Session
from chuk_sessions.web.asgi import Scope
from tests.web.endpoints import NAME, Open, log_in, log_out, put, show


async def test_a_logout_during_a_slow_request_holds(open_browser: Open, web_manager: SessionManager) -> None:
    """What the slow one wrote is dropped; it sets no cookie, and clears none that a login has set meanwhile."""
    inside, go = asyncio.Event(), asyncio.Event()

    async def slow(session: Session, scope: Scope) -> Any:
        inside.set()
        await go.wait()
        session["late"] = True

    browser = open_browser(put=put, slow=slow, out=log_out, index=show)
    await browser.request("GET", "/put", query_string=b"a=1")
    old, late = browser.cookies[NAME], browser.copy()
    task = asyncio.create_task(late.get("/slow"))
    await inside.wait()
    cleared = await browser.get("/out")
    expected = f"{NAME}=; path=/; Max-Age=0; expires=Thu, 01 Jan 1970 00:00:00 GMT; httponly; samesite=lax; secure"
    assert cleared.set_cookie == expected
    assert browser.cookies == {}
    go.set()
    assert (await task).set_cookie is None
    assert not await web_manager.validate_session(old)
    assert (await late.get()).json() == {}


async def test_a_login_ends_the_id_that_was_planted(open_browser: Open, web_manager: SessionManager) -> None:
    """The cart stays, the cookie is new, and the session is one of that user's."""
    browser = open_browser(put=put, login=log_in, index=show)
    await browser.request("GET", "/put", query_string=b"cart=book")
    planted = browser.cookies[NAME]
    assert (await browser.get("/login")).json() == "alice"
    assert browser.cookies[NAME] != planted
    assert not await web_manager.validate_session(planted)
    assert (await browser.get()).json() == {"cart": "book", "role": "admin"}
    listed = await web_manager.list_user_sessions("alice")
    assert [info["session_id"] for info in listed] == [browser.cookies[NAME]]


async def test_what_was_deleted_before_a_login_stays_deleted(open_browser: Open) -> None:
    async def swap(session: Session, scope: Scope) -> Any:
        del session["a"]
        session["b"] = 1
        await session.login("alice")

    browser = open_browser(put=put, swap=swap, index=show)
    await browser.request("GET", "/put", query_string=b"a=1")
    await browser.get("/swap")
    assert (await browser.get()).json() == {"b": 1}


async def test_a_login_of_another_user_drops_the_data(open_browser: Open, web_manager: SessionManager) -> None:
    """What alice left is not for bob; her session has ended."""

    async def other(session: Session, scope: Scope) -> Any:
        await session.login("bob", role="guest")
        return dict(session)

    browser = open_browser(put=put, login=log_in, other=other, index=show)
    await browser.get("/login")
    await browser.request("GET", "/put", query_string=b"secret=1")
    assert (await browser.get("/other")).json() == {"role": "guest"}
    assert (await browser.get()).json() == {"role": "guest"}
    assert await web_manager.list_user_sessions("alice") == []
    assert len(await web_manager.list_user_sessions("bob")) == 1


async def test_a_login_without_a_session_makes_one(open_browser: Open, web_manager: SessionManager) -> None:
    """With what was set before in the same request."""

    async def first(session: Session, scope: Scope) -> Any:
        session["a"] = 1
        await session.login("alice", b=2)
        session["c"] = 3

    browser = open_browser(first=first, index=show)
    await browser.get("/first")
    assert (await browser.get()).json() == {"a": 1, "b": 2, "c": 3}
    assert len(await web_manager.list_user_sessions("alice")) == 1


async def test_a_login_in_a_session_that_ended_meanwhile_brings_nothing_back(
    open_browser: Open, web_manager: SessionManager
) -> None:
    async def late(session: Session, scope: Scope) -> Any:
        await web_manager.delete_session(session.id or "")
        await session.login("alice", fresh=True)

    browser = open_browser(put=put, late=late, index=show)
    await browser.request("GET", "/put", query_string=b"a=1")
    await browser.get("/late")
    assert (await browser.get()).json() == {"fresh": True}


async def test_the_session_of_a_user_that_is_ended_elsewhere_is_anonymous(
    open_browser: Open, web_manager: SessionManager
) -> None:
    browser = open_browser(login=log_in, index=show)
    await browser.get("/login")
    assert await web_manager.delete_user_sessions("alice") == 1
    answer = await browser.get()
    assert (answer.json(), answer.set_cookie) == ({}, None)


async def test_clear_ends_a_session_as_in_starlette(open_browser: Open, web_manager: SessionManager) -> None:
    """Unless something is set again."""

    async def clear(session: Session, scope: Scope) -> Any:
        session.clear()
        if scope.get("query_string"):
            session["again"] = 1

    browser = open_browser(put=put, clear=clear, index=show)
    await browser.request("GET", "/put", query_string=b"a=1")
    await browser.request("GET", "/clear", query_string=b"again")
    assert (await browser.get()).json() == {"again": 1}
    await browser.get("/clear")
    assert browser.cookies == {}
    assert await web_manager.count_sessions() == 0


async def test_a_session_can_be_begun_anew_after_its_end(open_browser: Open, web_manager: SessionManager) -> None:
    async def restart(session: Session, scope: Scope) -> Any:
        await session.invalidate()
        session["fresh"] = session.is_new

    browser = open_browser(login=log_in, restart=restart, index=show)
    await browser.get("/login")
    before = browser.cookies[NAME]
    await browser.get("/restart")
    assert browser.cookies[NAME] != before
    assert (await browser.get()).json() == {"fresh": True}
    assert await web_manager.list_user_sessions("alice") == []


async def test_a_logout_without_a_session_clears_nothing(open_browser: Open) -> None:
    """But one whose session has died does, as the application asks for it."""
    browser = open_browser(out=log_out)
    assert (await browser.get("/out")).set_cookie is None
    browser.cookies[NAME] = "sess-" + "0" * 38
    assert "Max-Age=0" in str((await browser.get("/out")).set_cookie)


async def test_renewal_gives_a_new_id_with_a_grace(open_browser: Open, web_manager: SessionManager) -> None:
    async def renew(session: Session, scope: Scope) -> Any:
        session["b"] = 2
        return await session.renew(30)

    browser = open_browser(put=put, renew=renew, index=show)
    assert (await browser.get("/renew")).json() is True
    await browser.request("GET", "/put", query_string=b"a=1")
    old = browser.copy()
    assert (await browser.get("/renew")).json() is True
    assert browser.cookies != old.cookies
    for each in (browser, old):
        answer = await each.get()
        assert (answer.json(), answer.set_cookie) == ({"a": "1", "b": 2}, None)


async def test_renewal_of_a_session_that_has_ended(open_browser: Open, web_manager: SessionManager) -> None:
    async def renew(session: Session, scope: Scope) -> Any:
        await web_manager.delete_session(session.id or "")
        return await session.renew()

    browser = open_browser(put=put, renew=renew)
    await browser.request("GET", "/put", query_string=b"a=1")
    answer = await browser.get("/renew")
    assert (answer.json(), answer.set_cookie) == (False, None)


async def test_counting_is_atomic(open_browser: Open) -> None:
    """Twenty requests at once; the first one makes the session."""

    async def count(session: Session, scope: Scope) -> Any:
        return await session.increment("seen")

    browser = open_browser(count=count, index=show)
    assert (await browser.get("/count")).json() == 1
    found = await asyncio.gather(*(browser.get("/count") for _ in range(20)))
    assert sorted(each.json() for each in found) == list(range(2, 22))
    assert (await browser.get()).json() == {"seen": 21}


async def test_reload_and_save(open_browser: Open, web_manager: SessionManager) -> None:
    async def work(session: Session, scope: Scope) -> Any:
        session["mine"] = 1
        await session.save()
        await web_manager.update_session_metadata(session.id or "", {"theirs": 2})
        session["lost"] = True
        await session.reload()
        return dict(session)

    browser = open_browser(index=work)
    assert (await browser.get()).json() == {"mine": 1, "theirs": 2}


async def test_flashes_keep_their_order_whatever_the_clock_does(
    open_browser: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands still, or goes back."""
    ticks = iter([5, 5, 5, 5, 4, 3, 2, 1])

    async def leave(session: Session, scope: Scope) -> Any:
        scope["session"][1] = scope["session"]["_flash."] = None
        for n in range(8):
            session.flash(str(n))
        del scope["session"][1], scope["session"]["_flash."]

    async def take(session: Session, scope: Scope) -> Any:
        return [each.text for each in session.flashes()]

    browser = open_browser(leave=leave, take=take)
    monkeypatch.setattr("time.time_ns", lambda: next(ticks))
    await browser.get("/leave")
    assert (await browser.get("/take")).json() == list("01234567")


async def test_flashes_are_taken_once_and_none_is_lost(open_browser: Open) -> None:
    async def leave(session: Session, scope: Scope) -> Any:
        session.flash("saved", "success")
        session.flash(scope["query_string"].decode())

    async def take(session: Session, scope: Scope) -> Any:
        return session.flashes()

    browser = open_browser(put=put, leave=leave, take=take)
    await browser.request("GET", "/put", query_string=b"a=1")
    await asyncio.gather(*(browser.request("GET", "/leave", query_string=b"%d" % n) for n in range(3)))
    found = [Flash(*each) for each in (await browser.get("/take")).json()]
    assert sorted(found) == sorted([Flash("saved", "success")] * 3 + [Flash(str(n), "message") for n in range(3)])
    assert (await browser.get("/take")).json() == []


async def test_what_a_session_knows_of_itself(open_browser: Open) -> None:
    async def tell(session: Session, scope: Scope) -> Any:
        session["a"] = 1
        return [session.id, session.user_id, session.is_new, session.created_at, session.expires_at]

    browser = open_browser(index=tell)
    assert (await browser.get()).json() == [None, None, True, None, None]
    session_id, user, is_new, created, expires = (await browser.get()).json()
    assert (session_id, user, is_new) == (browser.cookies[NAME], None, False)
    assert created < expires
