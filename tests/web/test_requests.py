"""What a request finds in its session, when it is stored, and what the response says of it."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest

from chuk_sessions import MetadataError, SessionManager
from chuk_sessions.ids import is_opaque
from chuk_sessions.providers import redis
from chuk_sessions.web import Flash, Session, SessionMiddleware
from chuk_sessions.web.asgi import Message, Receive, Scope, Send
from tests.support.asgi import Browser, application, reply

NAME = "__Host-session"
Open = Callable[..., Browser]


async def show(session: Session, scope: Scope) -> Any:
    return dict(session)


async def put(session: Session, scope: Scope) -> Any:
    """The query is `key=value`."""
    key, _, value = scope.get("query_string", b"").decode().partition("=")
    session[key] = value
    return dict(session)


async def untouched(session: Session, scope: Scope) -> Any:
    return None


async def log_in(session: Session, scope: Scope) -> Any:
    await session.login("alice", role="admin")
    return session.user_id


async def log_out(session: Session, scope: Scope) -> Any:
    await session.invalidate()
    return None


async def test_what_is_set_is_there_in_the_next_request(open_browser: Open) -> None:
    """The cookie has an id that tells nothing, and is sent once."""
    browser = open_browser(put=put, index=show)
    first = await browser.request("GET", "/put", query_string=b"a=1")
    pattern = f"{NAME}=(sess-[0-9a-f]{{38}}); path=/; httponly; samesite=lax; secure"
    match = re.fullmatch(pattern, first.set_cookie or "")
    assert match
    assert is_opaque(match[1])
    assert (first.header("vary"), first.header("cache-control")) == ("Cookie", "private, no-store")
    second = await browser.get()
    assert second.json() == {"a": "1"}
    assert (second.set_cookie, second.header("vary"), second.header("cache-control")) == (None, "Cookie", None)


async def test_a_response_that_looked_at_no_session_says_nothing(open_browser: Open) -> None:
    """Neither Vary nor a cookie, with a session and without."""
    browser = open_browser(index=untouched, put=put)
    for _ in range(2):
        answer = await browser.get()
        assert answer.messages[0]["headers"] == []
        await browser.request("GET", "/put", query_string=b"a=1")


async def test_nothing_is_stored_while_it_is_empty(open_browser: Open, web_manager: SessionManager) -> None:
    """A visitor who leaves nothing has no session."""
    browser = open_browser(index=show)
    assert (await browser.get()).set_cookie is None
    assert await web_manager.count_sessions() == 0


@pytest.mark.parametrize(
    "dead",
    ["sess-" + "0" * 38, "sess-bob-1767225600-" + "a" * 38, "made-up", "", "sess-" + "0" * 37, "null", "x" * 9000],
)
async def test_an_id_of_the_client_is_never_adopted(open_browser: Open, web_manager: SessionManager, dead: str) -> None:
    """Unknown, malformed or invented: no clearing cookie, and a new id once something is set."""
    browser = open_browser(index=show, put=put)
    browser.cookies[NAME] = dead
    assert (await browser.get()).set_cookie is None
    await browser.request("GET", "/put", query_string=b"a=1")
    assert browser.cookies[NAME] != dead
    assert not await web_manager.validate_session(dead[:100] or "x")
    assert await web_manager.count_sessions() == 1


async def test_the_id_of_another_sandbox_is_unknown(web_manager: SessionManager, open_browser: Open) -> None:
    other = SessionManager("other", web_manager.session_factory, strict=True, opaque_ids=True)
    browser = open_browser(index=show)
    browser.cookies[NAME] = await other.allocate_session(custom_metadata={"secret": 1})
    assert (await browser.get()).json() == {}


async def test_a_nested_change_is_stored_and_an_equal_value_is_not(
    open_browser: Open, web_manager: SessionManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nested(session: Session, scope: Scope) -> Any:
        session.setdefault("cart", {"items": []})["items"].append("book")
        return session.modified

    async def same(session: Session, scope: Scope) -> Any:
        session["cart"] = {"items": ["book", "book"]}
        session["n"], session["none"] = 1, None
        return session.modified

    browser = open_browser(nested=nested, same=same, index=show)
    assert (await browser.get("/nested")).json() is True
    assert (await browser.get("/nested")).json() is True
    assert (await browser.get("/same")).json() is True
    written: list[Any] = []
    monkeypatch.setattr(web_manager, "update_session_metadata", lambda *a, **k: written.append(a))
    assert (await browser.get("/same")).json() is False
    assert written == []
    assert (await browser.get()).json() == {"cart": {"items": ["book", "book"]}, "n": 1, "none": None}


async def test_a_value_of_another_type_is_a_change(open_browser: Open) -> None:
    """1, 1.0 and True are equal in Python and not in JSON."""
    values: list[Any] = [1, 1.0, True, [1], [True], "1"]
    todo = list(values)

    async def step(session: Session, scope: Scope) -> Any:
        before = session.get("x")
        if todo:
            session["x"] = todo.pop(0)
        return [type(before).__name__, before]

    browser = open_browser(index=step)
    await browser.get()
    for value in values:
        assert (await browser.get()).json() == [type(value).__name__, value]


async def test_a_key_deleted_by_one_request_while_another_adds_one(open_browser: Open) -> None:
    """Both take effect; also if the deleted one was the last that its request knew."""
    both, gate = asyncio.Event(), []

    async def meet() -> None:
        gate.append(1)
        if len(gate) == 2:
            both.set()
        await both.wait()

    async def delete(session: Session, scope: Scope) -> Any:
        del session["a"]
        await meet()

    async def add(session: Session, scope: Scope) -> Any:
        session["b"] = 2
        await meet()

    browser = open_browser(put=put, delete=delete, add=add, index=show)
    await browser.request("GET", "/put", query_string=b"a=1")
    await asyncio.gather(browser.get("/delete"), browser.get("/add"))
    assert (await browser.get()).json() == {"b": 2}


async def test_fifty_overlapping_requests_lose_nothing(open_browser: Open) -> None:
    """Each sets a key of its own while all others are under way."""
    inside, all_in = [], asyncio.Event()

    async def slow(session: Session, scope: Scope) -> Any:
        inside.append(1)
        if len(inside) == 50:
            all_in.set()
        await all_in.wait()
        key = scope["query_string"].decode()
        session[key] = [key]

    browser = open_browser(put=put, slow=slow, index=show)
    await browser.request("GET", "/put", query_string=b"a=1")
    await asyncio.gather(*(browser.request("GET", "/slow", query_string=b"key-%d" % n) for n in range(50)))
    expected = {"a": "1"} | {f"key-{n}": [f"key-{n}"] for n in range(50)}
    assert (await browser.get()).json() == expected


async def test_fifty_requests_in_two_processes_lose_nothing(redis_url: str) -> None:
    """Two managers with connections of their own, as if each were another process."""
    inside, all_in = [], asyncio.Event()

    async def slow(session: Session, scope: Scope) -> Any:
        inside.append(1)
        if len(inside) == 50:
            all_in.set()
        await all_in.wait()
        session[scope["query_string"].decode()] = [1]

    app = application(put=put, slow=slow, index=show)
    urls = [f"{redis_url}?client_name=web-{n}" for n in range(2)]
    managers = [SessionManager("shop", redis.factory(url), strict=True, opaque_ids=True) for url in urls]
    one = Browser(SessionMiddleware(app, managers[0]))
    await one.request("GET", "/put", query_string=b"a=1")
    two = Browser(SessionMiddleware(app, managers[1]), **one.cookies)
    requests = ((one, two)[n % 2].request("GET", "/slow", query_string=b"key-%d" % n) for n in range(50))
    await asyncio.gather(*requests)
    assert len((await two.get()).json()) == 51


async def test_what_was_set_is_stored_before_the_response_begins(web_manager: SessionManager) -> None:
    """Who follows a redirect at once finds it; the first chunk is not held back for what comes later."""
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["session"]["a"] = 1
        await reply(send, 303)

    async def look(message: Message) -> None:
        if message["type"] == "http.response.start":
            seen.extend([info["custom_metadata"] async for info in web_manager.iter_sessions()])

    async def nothing() -> Message:
        return {"type": "http.disconnect"}

    scope = Browser(app).scope("http", "/", {}, method="POST")
    await SessionMiddleware(app, web_manager)(scope, nothing, look)
    assert seen == [{"a": 1}]


async def test_a_copy_of_a_session_is_a_plain_dict(open_browser: Open) -> None:
    """As templates, tasks and logs make them."""

    async def copies(session: Session, scope: Scope) -> Any:
        session["cart"] = ["book"]
        made = [copy.copy(session), copy.deepcopy(session), session.copy(), dict(session), {**session}]
        made.append(pickle.loads(pickle.dumps(session)))
        assert session == {"cart": ["book"]}
        assert json.dumps(session) == '{"cart": ["book"]}'
        return [type(each) is dict and each == session for each in made]

    assert (await open_browser(index=copies).get()).json() == [True] * 6


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
    assert info["expires_at"] > info["created_at"][:10]
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
