"""Sessions that end in the middle of a request, values that compare badly, and helpers with other transports."""

from __future__ import annotations

import asyncio
import copy
import math
import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from chuk_sessions import MetadataError, SessionManager
from chuk_sessions.web import Bearer, Header, Session, SessionMiddleware
from chuk_sessions.web.asgi import Receive, Scope, Send
from chuk_sessions.web.testing import logged_in, read_session
from tests.support.asgi import Browser

NAME = "__Host-session"
Open = Callable[..., Browser]


async def fill(session: Session, scope: Scope) -> Any:
    session["a"] = 1


async def test_a_session_that_ends_in_the_middle(open_browser: Open, web_manager: SessionManager) -> None:
    """Every act says so, and none brings it back."""

    async def act(session: Session, scope: Scope) -> Any:
        await web_manager.delete_session(session.id or "")
        first = await session.increment("n")
        session["b"] = 1
        again = await session.increment("n")
        await session.save()
        renewed = await session.renew()
        await session.reload()
        return [first, again, renewed, dict(session)]

    async def reload(session: Session, scope: Scope) -> Any:
        await web_manager.delete_session(session.id or "")
        await session.reload()
        return [dict(session), await session.increment("n")]

    browser = open_browser(fill=fill, act=act, reload=reload)
    for path, told in (("/act", [None, None, False, {}]), ("/reload", [{}, None])):
        await browser.get("/fill")
        answer = await browser.get(path)
        assert (answer.json(), answer.set_cookie) == (told, None)
    assert await web_manager.count_sessions() == 0


async def test_a_session_that_ends_before_a_deleted_key_is_written_at_renewal(
    open_browser: Open, web_manager: SessionManager
) -> None:
    async def act(session: Session, scope: Scope) -> Any:
        await web_manager.delete_session(session.id or "")
        del session["a"]
        return await session.renew()

    browser = open_browser(fill=fill, act=act)
    await browser.get("/fill")
    assert (await browser.get("/act")).json() is False


async def test_rolling_does_not_bring_a_session_back(open_browser: Open, web_manager: SessionManager) -> None:
    async def act(session: Session, scope: Scope) -> Any:
        await web_manager.delete_session(session.id or "")

    browser = open_browser({"rolling": True}, fill=fill, act=act)
    await browser.get("/fill")
    assert (await browser.get("/act")).set_cookie is None
    assert await web_manager.count_sessions() == 0


async def test_a_login_of_somebody_else_at_the_same_time(open_browser: Open, web_manager: SessionManager) -> None:
    """The session became another user's under this request: its data is not for who logs in here."""

    async def act(session: Session, scope: Scope) -> Any:
        held = await web_manager.renew_session(session.id or "", 60, user_id="bob", custom_metadata={"secret": 1})
        await session.login("alice", mine=True)
        return [held is not None, dict(session)]

    browser = open_browser(fill=fill, act=act)
    await browser.get("/fill")
    assert (await browser.get("/act")).json() == [True, {"mine": True}]
    assert [info["custom_metadata"] for info in await web_manager.list_user_sessions("alice")] == [{"mine": True}]


async def test_values_that_json_writes_otherwise(open_browser: Open) -> None:
    """NaN in a list is not None; a UUID is stored as its text, and is then no change."""
    uid, changed = uuid.uuid4(), []

    async def act(session: Session, scope: Scope) -> Any:
        session["x"], session["id"] = [math.nan] if scope.get("query_string") else [None], uid
        changed.append(session.modified)

    browser = open_browser(act=act, index=lambda session, _: asyncio.sleep(0, [str(session["x"]), session["id"]]))
    for query, stored in ((b"", "[None]"), (b"nan", "[nan]"), (b"", "[None]"), (b"", "[None]")):
        await browser.request("GET", "/act", query_string=query)
        assert (await browser.get()).json() == [stored, str(uid)]
    assert changed == [True, True, True, False]


async def test_a_bad_key_is_a_change_until_it_is_stored(open_browser: Open) -> None:
    async def act(session: Session, scope: Scope) -> Any:
        scope["session"][(1, 2)] = 1
        return session.modified

    with pytest.raises(MetadataError, match="tuple"):
        await open_browser(act=act).get("/act")


async def test_counting_on_what_is_no_number(open_browser: Open) -> None:
    """Of a new session and of one that is stored."""

    async def act(session: Session, scope: Scope) -> Any:
        session["a"] = "text"
        with pytest.raises(MetadataError):
            await session.increment("a")
        return "refused"

    browser = open_browser(act=act)
    for _ in range(2):
        assert (await browser.get("/act")).json() == "refused"


async def test_renewal_of_what_grew_too_large(open_browser: Open) -> None:
    async def act(session: Session, scope: Scope) -> Any:
        session["big"] = "x" * 300
        with pytest.raises(MetadataError, match="max_bytes is 100"):
            await session.renew()
        session.clear()

    browser = open_browser({"max_bytes": 100}, fill=fill, act=act)
    await browser.get("/fill")
    assert (await browser.get("/act")).status == 200


async def test_an_exception_after_the_response_has_begun(web_manager: SessionManager) -> None:
    """Goes through; nothing that came after the beginning is stored."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["session"]["before"] = 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        scope["session"]["after"] = 1
        raise RuntimeError("bug")

    browser = Browser(SessionMiddleware(app, web_manager))
    with pytest.raises(RuntimeError, match="bug"):
        await browser.get()
    info = await web_manager.get_session_info(browser.cookies[NAME])
    assert info is not None
    assert info["custom_metadata"] == {"before": 1}


@pytest.mark.parametrize("transport", [Header("X-Session"), Bearer()])
async def test_helpers_with_headers(web_manager: SessionManager, transport: Header) -> None:
    """The id goes where the transport looks for it."""
    client = SimpleNamespace(headers={}, cookies=None, base_url=None)
    assert await read_session(client, web_manager, transport=transport) is None
    session_id = await logged_in(client, web_manager, "alice", transport=transport, a=1)
    assert list(client.headers) == ["authorization" if isinstance(transport, Bearer) else "X-Session"]
    info = await read_session(client, web_manager, transport=transport)
    assert info is not None
    assert (info["session_id"], info["custom_metadata"]) == (session_id, {"a": 1})


async def test_helpers_with_a_transport_of_ones_own(web_manager: SessionManager) -> None:
    client = SimpleNamespace(headers={}, cookies=None, base_url=None)
    with pytest.raises(TypeError, match="must be a Cookie, Header or Bearer"):
        await logged_in(client, web_manager, "alice", transport=SimpleNamespace())


WAYS: dict[str, Callable[[Session], list[Any]]] = {
    "item": lambda session: session["l"],
    "get": lambda session: session.get("l", []),
    "values": lambda session: next(iter(session.values())),
    "items": lambda session: next(iter(session.items()))[1],
    "setdefault": lambda session: session.setdefault("l", []),
    "copy": lambda session: session.copy()["l"],
    "copy.copy": lambda session: copy.copy(session)["l"],
    "dict": lambda session: dict(session)["l"],
    "unpacked": lambda session: {**session}["l"],
    "arguments": lambda session: (lambda **data: data)(**session)["l"],
    "united": lambda session: (session | {})["l"],
    "united from the right": lambda session: ({} | session)["l"],
    "updated": lambda session: updated(session)["l"],
    "matched": lambda session: matched(session),
}


def updated(session: Session) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    plain.update(session)
    return plain


def matched(session: Session) -> list[Any]:
    match session:
        case {"l": list(found)}:
            return found
    raise AssertionError


@pytest.mark.parametrize("way", WAYS)
async def test_a_list_is_changed_however_it_was_got(open_browser: Open, way: str) -> None:
    """Only a session that nobody has looked into is taken to be as it was."""

    async def change(session: Session, scope: Scope) -> Any:
        WAYS[way](session).append(2)

    async def fill(session: Session, scope: Scope) -> Any:
        session["l"] = [1]

    async def show(session: Session, scope: Scope) -> Any:
        return session["l"]

    browser = open_browser(fill=fill, change=change, index=show)
    await browser.get("/fill")
    await browser.get("/change")
    assert (await browser.get()).json() == [1, 2]


ID = f"sess-{7:038x}"
HOSTILE = {
    "10,000 cookies": "; ".join(f"c{n}={n}" for n in range(10_000)),
    "10,000 of our name": "; ".join(f"__Host-session={n}" for n in range(10_000)),
    "1 MB": f"__Host-session={'x' * 1_000_000}",
    "1 MB of names": "__Host-session" * 70_000,
    "control bytes": f"__Host-session={ID[:-1]}\x00; \r\n\x7f=\x1b",
    "not ASCII": f"__Host-session={ID[:-1]}\xe9; na\xefve=\xff",
    "names twice": f"__Host-session=a; __Host-session={ID}; __Host-session=b; __Host-session={ID}",
    "nothing": "",
    "only signs": ';;;===,,,"""',
}


@pytest.mark.parametrize("header", HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_header_is_a_visitors(
    open_browser: Open, web_manager: SessionManager, header: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither an error nor a session; what is set then is in one of its own, and nothing of the header is logged."""

    async def put(session: Session, scope: Scope) -> Any:
        assert (session.is_new, dict(session)) == (True, {})
        session["a"] = 1

    answer = await open_browser(put=put).get("/put", cookie=header)
    assert answer.status == 200
    assert ID not in (answer.set_cookie or "")
    assert await web_manager.count_sessions() == 1
    assert caplog.text == ""
