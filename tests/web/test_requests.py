"""What a request finds in its session, and what requests that overlap do to it."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import re
from typing import Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.ids import is_opaque
from chuk_sessions.providers import redis
from chuk_sessions.web import Session, SessionMiddleware
from chuk_sessions.web.asgi import Message, Receive, Scope, Send
from tests.support.asgi import Browser, application, reply
from tests.web.endpoints import NAME, Open, put, show, untouched


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
    """1, 1.0 and True are equal in Python and not in JSON; so are 0.0 and -0.0."""
    values: list[Any] = [1, 1.0, True, [1], [True], "1", 0.0, -0.0, [0.0], [-0.0]]
    todo = list(values)

    async def step(session: Session, scope: Scope) -> Any:
        before = session.get("x")
        if todo:
            session["x"] = todo.pop(0)
        return repr(before)

    browser = open_browser(index=step)
    await browser.get()
    for value in values:
        assert (await browser.get()).json() == repr(value)


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
