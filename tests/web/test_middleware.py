"""Several middlewares, managers by tenant, mounted applications; and the arguments."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.providers import memory
from chuk_sessions.web import Cookie, Header, Session, SessionMiddleware
from chuk_sessions.web.asgi import ASGIApp, Receive, Scope, Send
from tests.support.asgi import Browser, application, reply
from tests.web.conftest import on_memory

NAME = "__Host-session"


async def fill(session: Session, scope: Scope) -> Any:
    session["n"] = session.get("n", 0) + 1
    return session["n"]


APP = application(index=fill)


async def test_a_manager_for_each_tenant() -> None:
    """By a function of the scope, asynchronous or not; None is an application without sessions."""
    managers = {"a": on_memory("a"), "b": on_memory("b")}
    found: list[bool] = []

    def choose(scope: Scope) -> SessionManager | None:
        return managers.get(dict(scope["headers"])[b"x-tenant"].decode())

    async def choose_later(scope: Scope) -> SessionManager | None:
        return choose(scope)

    async def bare(scope: Scope, receive: Receive, send: Send) -> None:
        found.append("session" in scope)
        await reply(send)

    for chooser in (choose, choose_later):
        browser = Browser(SessionMiddleware(APP, chooser))
        for tenant, number in (("a", 1), ("a", 2), ("b", 1)):
            assert (await browser.get(**{"x-tenant": tenant})).json() == number
    assert (await Browser(SessionMiddleware(bare, choose)).get(**{"x-tenant": "none"})).status == 200
    assert found == [False]


@pytest.mark.parametrize("options", [{}, {"strict": True}, {"opaque_ids": True}])
async def test_a_manager_that_cannot_serve_browsers(options: dict[str, Any]) -> None:
    """Is refused when the middleware is made, or chosen; the error says what to change."""
    manager = SessionManager("shop", memory.factory(), **options)
    missing = ", ".join(f"{name}=True" for name in ("strict", "opaque_ids") if name not in options)
    with pytest.raises(ValueError, match=f"need a manager with {missing}"):
        SessionMiddleware(APP, manager)
    with pytest.raises(ValueError, match=f"need a manager with {missing}"):
        await Browser(SessionMiddleware(APP, lambda scope: manager)).get()


async def test_what_is_no_manager() -> None:
    with pytest.raises(TypeError, match="must be a SessionManager"):
        SessionMiddleware(APP, "redis://localhost")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be a SessionManager"):
        await Browser(SessionMiddleware(APP, lambda scope: "x")).get()  # type: ignore[arg-type,return-value]


async def test_the_same_middleware_twice_is_one_session() -> None:
    """As of an application that is mounted in another one: one read, one commit, one cookie."""
    manager = on_memory()
    browser = Browser(SessionMiddleware(SessionMiddleware(APP, manager), manager))
    for number in (1, 2):
        answer = await browser.get()
        assert answer.json() == number
        assert len(answer.all("set-cookie")) == (1 if number == 1 else 0)
    assert await manager.count_sessions() == 1


@pytest.mark.parametrize(
    ("sandbox", "options"), [("other", {}), ("shop", {"transport": Header()}), ("shop", {"session_cookie": "b"})]
)
async def test_two_sessions_need_two_keys(sandbox: str, options: dict[str, Any]) -> None:
    """Else they would write over each other; with another key each keeps its own."""
    outer, inner = on_memory(), on_memory(sandbox)
    with pytest.raises(RuntimeError, match="scope_key of its own"):
        await Browser(SessionMiddleware(SessionMiddleware(APP, inner, **options), outer)).get()
    seen: list[Any] = []

    async def both(scope: Scope, receive: Receive, send: Send) -> None:
        scope["admin"]["a"] = scope["session"]["b"] = scope.get("query_string", b"").decode()
        seen.append((dict(scope["admin"]), dict(scope["session"])))
        await reply(send)

    inside = SessionMiddleware(both, inner, transport=Cookie("admin"), scope_key="admin")
    browser = Browser(SessionMiddleware(inside, outer))
    answer = await browser.request("GET", query_string=b"1")
    assert len(answer.all("set-cookie")) == 2
    assert answer.header("vary") == "Cookie"
    assert set(browser.cookies) == {NAME, "__Host-admin"}
    assert seen == [({"a": "1"}, {"b": "1"})]


async def test_a_session_of_another_library_is_left_alone() -> None:
    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        scope["session"] = {}
        await SessionMiddleware(APP, on_memory())(scope, receive, send)

    with pytest.raises(RuntimeError, match="scope_key of its own"):
        await Browser(other).get()


async def test_mounted_applications_with_cookies_of_their_own() -> None:
    """Each for its path; the browser sends both below it, the longer path first."""
    manager = on_memory()
    apps = {path: SessionMiddleware(APP, manager, path=path) for path in ("/one", "/two")}
    for path, app in apps.items():
        answer = await Browser(app).request("GET", "/", root_path=path)
        assert f"; path={path};" in str(answer.set_cookie)
        assert str(answer.set_cookie).startswith("__Secure-session=")


async def test_other_kinds_of_scope_pass() -> None:
    """Lifespan, above all."""
    kinds: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        kinds.append(scope["type"])

    async def nothing(*_: Any) -> Any: ...

    await SessionMiddleware(app, on_memory())({"type": "lifespan"}, nothing, nothing)
    assert kinds == ["lifespan"]


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"transport": Cookie(), "session_cookie": "x"}, TypeError, "name: give these to transport=Cookie"),
        ({"secret_key": "x"}, TypeError, "secret_key"),
        ({"exclude": "/static/"}, TypeError, "not one str"),
        ({"exclude": ["static"]}, ValueError, "must begin with /"),
        ({"rolling": "yes"}, TypeError, "rolling must be a bool"),
        ({"save_on_5xx": 1}, TypeError, "save_on_5xx must be a bool"),
        ({"on_outage": "ignore"}, ValueError, "on_outage must be"),
        ({"retry_after": -1}, ValueError, "retry_after must be"),
        ({"retry_after": 1.5}, ValueError, "retry_after must be"),
        ({"websocket_recheck": -1}, ValueError, "websocket_recheck must be"),
        ({"websocket_recheck": None}, TypeError, "websocket_recheck must be"),
        ({"max_bytes": 0}, ValueError, "max_bytes must be"),
        ({"max_bytes": float("nan")}, ValueError, "max_bytes must be"),
        ({"trusted_origins": "https://a.b"}, TypeError, "not one str"),
        ({"trusted_origins": ["a.b"]}, ValueError, "an origin is"),
        ({"trusted_origins": ["https://a.b:443"]}, ValueError, "no browser sends"),
        ({"trusted_origins": ["http://a.b:80"]}, ValueError, "no browser sends"),
        ({"trusted_origins": ["https://me@a.b"]}, ValueError, "no browser sends"),
        ({"trusted_origins": ["https://m\xfcller.example"]}, ValueError, "no browser sends"),
        ({"trusted_origins": ["https://a.b/"]}, ValueError, "an origin is"),
    ],
)
def test_arguments_out_of_range(options: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        SessionMiddleware(APP, on_memory(), **options)


async def test_a_secure_cookie_over_plain_http_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """The usual cause of a login that is forgotten: with the cure."""
    cases: list[tuple[dict[str, Any], int]] = [({}, 1), ({"https_only": False}, 0)]
    for options, lines in cases:
        caplog.clear()
        app: ASGIApp = SessionMiddleware(APP, on_memory(), **options)
        for scheme in ("https", "http", "http"):
            await Browser(app).request("GET", scheme=scheme)
        assert caplog.text.count("--proxy-headers") == lines


def test_nothing_of_the_web_is_loaded_unasked() -> None:
    """And no framework ever."""
    code = """
import sys
import chuk_sessions
assert not [name for name in sys.modules if name.startswith("chuk_sessions.web")]
import chuk_sessions.web, chuk_sessions.web.testing
found = {name.partition(".")[0] for name in sys.modules}
assert not found & {"starlette", "fastapi", "httpx", "litestar", "quart", "flask", "aiohttp"}, found
assert not [name for name in sys.modules if "redis" in name]
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)
