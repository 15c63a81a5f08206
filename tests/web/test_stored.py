"""When changes are stored, what is an error then, and what the response says of it."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime, timedelta
from typing import Any

import pytest

from chuk_sessions import MetadataError, SessionManager
from chuk_sessions.web import Session, SessionMiddleware
from chuk_sessions.web.asgi import Receive, Scope, Send
from tests.support.asgi import Browser, reply
from tests.web.endpoints import NAME, Open, log_in, log_out, put, show


@pytest.mark.parametrize("way", ["raise", "500"])
async def test_after_an_error_nothing_is_saved(open_browser: Open, web_manager: SessionManager, way: str) -> None:
    """Neither in a session that is there nor in a new one."""

    async def fail(session: Session, scope: Scope) -> Any:
        session["half"] = "done"
        if way == "raise":
            raise RuntimeError("bug")
        return 500

    browser = open_browser(put=put, fail=fail, index=show)
    for _ in range(2):
        if way == "raise":
            with pytest.raises(RuntimeError, match="bug"):
                await browser.get("/fail")
        else:
            assert (await browser.get("/fail")).set_cookie is None
        assert "half" not in (await browser.get()).json()
        await browser.request("GET", "/put", query_string=b"a=1")
    assert await web_manager.count_sessions() == 1


@pytest.mark.parametrize("way", ["raise", "500"])
async def test_after_an_error_the_cookie_of_a_login_is_sent(open_browser: Open, way: str) -> None:
    """The old id is worth nothing any more, and the user is logged in."""

    async def fail(session: Session, scope: Scope) -> Any:
        await session.login("alice")
        session["half"] = "done"
        if way == "raise":
            raise RuntimeError("bug")
        return 500

    browser = open_browser(put=put, fail=fail, index=show)
    await browser.request("GET", "/put", query_string=b"a=1")
    if way == "raise":
        with pytest.raises(RuntimeError, match="bug") as caught:
            await browser.get("/fail")
        assert caught.value.reply.status == 500  # type: ignore[attr-defined]
    else:
        await browser.get("/fail")
    assert (await browser.get()).json() == {"a": "1"}


async def test_save_on_5xx_saves(open_browser: Open) -> None:
    async def fail(session: Session, scope: Scope) -> Any:
        session["a"] = 1
        return 503

    browser = open_browser({"save_on_5xx": True}, fail=fail, index=show)
    await browser.get("/fail")
    assert (await browser.get()).json() == {"a": 1}


async def test_streaming_and_background_writes_are_kept(web_manager: SessionManager) -> None:
    """The first chunk is sent before they happen, and a login after it is refused."""
    refused: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        session = scope["session"]
        if scope["path"] == "/":
            await reply(send, body=str(dict(session)).encode())
            return
        session["before"] = 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        for act in (session.login("alice"), session.renew()):
            with pytest.raises(RuntimeError, match="response has begun") as caught:
                await act
            refused.append(str(caught.value))
        session["during"] = 2
        await send({"type": "http.response.body", "body": b"last"})
        session["after"] = 3

    browser = Browser(SessionMiddleware(app, web_manager))
    answer = await browser.get("/stream")
    assert answer.body == b"firstlast"
    assert len(refused) == 2
    assert (await browser.get()).body == b"{'before': 1, 'during': 2, 'after': 3}"


async def test_a_session_that_is_used_first_after_the_response_began_is_none(
    web_manager: SessionManager, caplog: pytest.LogCaptureFixture
) -> None:
    """The response went out without a look at the session, and the client cannot get an id any more."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        session = scope["session"]
        await reply(send)
        session["late"] = 1
        for act in (session.login("alice"), session.save(), session.increment("late")):
            with pytest.raises(RuntimeError, match="response has begun"):
                await act
        assert (session.id, session.created_at, session.expires_at, session.is_new) == (None, None, None, True)

    answer = await Browser(SessionMiddleware(app, web_manager)).get()
    assert answer.set_cookie is None
    assert "filled after the response had begun" in caplog.text
    assert await web_manager.count_sessions() == 0


async def test_a_new_session_after_the_response_began_is_dropped_with_a_warning(
    web_manager: SessionManager, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send)
        scope["session"]["late"] = 1

    assert (await Browser(SessionMiddleware(app, web_manager)).get()).set_cookie is None
    assert "dropped" in caplog.text
    assert await web_manager.count_sessions() == 0


async def test_an_application_may_replace_the_dict(open_browser: Open) -> None:
    """Also with a plain one, whose nested values it changes later."""

    async def replace(session: Session, scope: Scope) -> Any:
        scope["session"] = {"cart": []}
        scope["session"]["cart"].append("book")

    browser = open_browser(put=put, replace=replace, index=show)
    for _ in range(2):
        await browser.get("/replace")
        assert (await browser.get()).json() == {"cart": ["book"]}
        await browser.request("GET", "/put", query_string=b"a=1")


@pytest.mark.parametrize("thing", [None, [], "text", 5])
async def test_what_is_no_dict_in_its_place_is_an_error(open_browser: Open, thing: Any) -> None:
    """It reaches the application before the response begins, and nothing is lost."""

    async def replace(session: Session, scope: Scope) -> Any:
        scope["session"] = thing

    browser = open_browser(put=put, replace=replace, index=show)
    await browser.request("GET", "/put", query_string=b"a=1")
    with pytest.raises(TypeError, match="must be a dict") as caught:
        await browser.get("/replace")
    assert caught.value.reply.messages == []  # type: ignore[attr-defined]
    assert (await browser.get()).json() == {"a": "1"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), r"custom_metadata\['x'\] cannot be stored as JSON"),
        ([{"deep": {1, 2}}], r"\['x'\]\[0\]\['deep'\]"),
        ("x" * 300_000, r"300,0\d\d bytes of JSON, and max_bytes is 262,144; its largest keys: 'x' \(300,003 bytes\)"),
    ],
)
async def test_what_cannot_be_stored_is_an_error_of_the_application(
    open_browser: Open, value: object, message: str
) -> None:
    """It can catch it and answer something else; nothing was stored."""

    async def bad(session: Session, scope: Scope) -> Any:
        session["y"] = 1
        session["x"] = value

    browser = open_browser(put=put, bad=bad, index=show)
    for _ in range(2):
        with pytest.raises(MetadataError, match=message) as caught:
            await browser.get("/bad")
        assert caught.value.reply.messages == []  # type: ignore[attr-defined]
        before = (await browser.get()).json()
        assert before in ({}, {"a": "1"})
        await browser.request("GET", "/put", query_string=b"a=1")


async def test_a_key_that_is_no_text(open_browser: Open) -> None:
    """An int becomes the text that JSON makes of it; a tuple is an error."""

    async def number(session: Session, scope: Scope) -> Any:
        scope["session"][1] = "one"

    async def pair(session: Session, scope: Scope) -> Any:
        scope["session"][(1, 2)] = "pair"

    browser = open_browser(put=put, number=number, pair=pair, index=show)
    await browser.request("GET", "/put", query_string=b"a=1")
    await browser.get("/number")
    assert (await browser.get()).json() == {"a": "1", "1": "one"}
    with pytest.raises(MetadataError, match="must be a str, got tuple"):
        await browser.get("/pair")


@pytest.mark.parametrize("twice", [False, True])
async def test_a_value_that_contains_itself(open_browser: Open, twice: bool) -> None:
    """It is an error at once, in a new session and in one that has such a key; one that is there twice is none."""

    async def bad(session: Session, scope: Scope) -> Any:
        inner: list[Any] = []
        session["a"] = [inner, {"x": inner}]
        if not twice:
            inner.append({"round": [session["a"], session]})

    browser = open_browser(put=put, bad=bad, index=show)
    for _ in range(2):
        if twice:
            await browser.get("/bad")
            assert (await browser.get()).json() == {"a": [[], {"x": []}]}
        else:
            with pytest.raises(MetadataError, match="contains itself"):
                await browser.get("/bad")
        await browser.request("GET", "/put", query_string=b"a=1")


async def test_a_session_over_the_limit_may_become_smaller(open_browser: Open, web_manager: SessionManager) -> None:
    async def shrink(session: Session, scope: Scope) -> Any:
        del session["big"]

    browser = open_browser({"max_bytes": 100}, shrink=shrink, index=show)
    browser.cookies[NAME] = await web_manager.allocate_session(custom_metadata={"big": "x" * 200, "more": "y" * 200})
    await browser.get("/shrink")
    assert (await browser.get()).json() == {"more": "y" * 200}


async def test_excluded_paths_have_no_session(web_manager: SessionManager) -> None:
    """Within a mounted application too."""
    found: dict[str, bool] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        found[scope["path"]] = "session" in scope
        await reply(send)

    browser = Browser(SessionMiddleware(app, web_manager, exclude=("/static/", "/health")))
    for path in ("/static/app.css", "/health", "/healthy", "/", "/static"):
        await browser.get(path)
    await browser.request("GET", "/sub/static/x", root_path="/sub")
    assert found == {
        "/static/app.css": False,
        "/health": False,
        "/healthy": True,
        "/": True,
        "/static": True,
        "/sub/static/x": False,
    }


async def test_rolling_gives_the_whole_lifetime_again(open_browser: Open, web_manager: SessionManager) -> None:
    """With each response, and the cookie with it; not with an error."""
    browser = open_browser(
        {"rolling": True, "max_age": "lifetime"}, put=put, index=show, fail=lambda s, _: asyncio.sleep(0, 500)
    )
    await browser.request("GET", "/put", query_string=b"a=1")
    session_id = browser.cookies[NAME]
    await web_manager.set_session_ttl(session_id, 0.01)
    assert (await browser.get("/fail")).set_cookie is None
    assert re.search("Max-Age=86(400|399)", (await browser.get()).set_cookie or "")
    info = await web_manager.get_session_info(session_id)
    assert info is not None
    created, expires = (datetime.fromisoformat(info[name]) for name in ("created_at", "expires_at"))
    assert expires - created > timedelta(hours=23)
    assert (await browser.get()).json() == {"a": "1"}


async def test_the_headers_of_the_application_stay(web_manager: SessionManager) -> None:
    """Its cookies and its Cache-Control; Vary gets one more name."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["session"]["a"] = 1
        headers = [(b"set-cookie", b"theme=dark"), (b"vary", b"Accept"), (b"cache-control", b"max-age=5")]
        await reply(send, headers=tuple(headers))

    answer = await Browser(SessionMiddleware(app, web_manager)).get()
    assert answer.all("set-cookie")[0] == "theme=dark"
    assert answer.all("set-cookie")[1].startswith(f"{NAME}=sess-")
    assert (answer.header("vary"), answer.header("cache-control")) == ("Accept, Cookie", "max-age=5")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"X-Cookie-Consent", "X-Cookie-Consent, Cookie"),
        (b"Accept, cookie", "Accept, cookie"),
        (b"*", "*"),
    ],
)
async def test_vary_names_the_cookie_once(web_manager: SessionManager, before: bytes, after: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["session"]["a"] = 1
        await reply(send, headers=((b"vary", before),))

    assert (await Browser(SessionMiddleware(app, web_manager)).get()).header("vary") == after


async def test_rolling_sends_no_cookie_that_a_browser_keeps_anyway(open_browser: Open) -> None:
    browser = open_browser({"rolling": True}, put=put, index=show)
    await browser.request("GET", "/put", query_string=b"a=1")
    assert (await browser.get()).set_cookie is None


async def test_no_id_is_logged(
    open_browser: Open, web_manager: SessionManager, caplog: pytest.LogCaptureFixture
) -> None:
    """At no level, in a whole life of a session."""
    caplog.set_level(0)
    browser = open_browser(put=put, login=log_in, out=log_out, index=show)
    ids: set[str] = set()
    await browser.request("GET", "/put", query_string=b"a=1")
    for path in ("/login", "/", "/out"):
        ids |= set(browser.cookies.values())
        await browser.get(path)
    browser.cookies[NAME] = min(ids)
    await browser.get()
    assert len(ids) == 2
    assert not any(each in caplog.text for each in ids)
