"""A storage that fails when a request begins: who asks for `on_outage="empty"`, and a manager that is looked up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chuk_sessions import SessionManager, StorageError
from chuk_sessions.exceptions import NotSent
from chuk_sessions.providers import memory
from chuk_sessions.web import Session, SessionMiddleware
from chuk_sessions.web.asgi import Scope
from tests.support.asgi import Browser, application
from tests.support.failing_provider import failing_factory
from tests.web.endpoints import NAME, log_in

ACTS: dict[str, Callable[[Session], Awaitable[Any]]] = {
    "invalidate": lambda session: session.invalidate(),
    "login": lambda session: session.login("alice"),
}


async def opened_while_down(manager: SessionManager, act: Callable[[Session], Awaitable[Any]], back: bool) -> Browser:
    """A browser that was logged in, and has acted on a session that could not be read; `back`: once it could be."""
    up = manager.session_factory

    async def acted(session: Session, scope: Scope) -> Any:
        assert (session.is_new, dict(session)) == (True, {})
        if back:
            manager.session_factory = up
        await act(session)

    app = application(login=log_in, act=acted)
    browser = Browser(SessionMiddleware(app, manager, on_outage="empty"))
    await browser.get("/login")
    manager.session_factory = failing_factory(NotSent("down"))
    try:
        await browser.get("/act")
    finally:
        manager.session_factory = up
    return browser


def fresh() -> SessionManager:
    return SessionManager("shop", memory.factory(memory.MemoryStore()), strict=True, opaque_ids=True)


@pytest.mark.parametrize("way", ACTS)
async def test_an_unread_session_is_not_ended_in_appearance_only(way: str) -> None:
    """A logout that does not reach the storage is an error: the session would live on."""
    with pytest.raises(StorageError) as caught:
        await opened_while_down(fresh(), ACTS[way], back=False)
    assert caught.value.reply.messages == []  # type: ignore[attr-defined]


async def test_clearing_an_unread_session_leaves_the_cookie() -> None:
    """The browser still has it, and with it what could not be ended."""

    async def clear(session: Session) -> None:
        session.clear()

    manager = fresh()
    browser = await opened_while_down(manager, clear, back=False)
    assert await manager.validate_session(browser.cookies[NAME])


@pytest.mark.parametrize("way", [*ACTS, "clear"])
async def test_an_unread_session_ends_if_the_storage_is_back(way: str) -> None:
    """A login leaves nothing of it either."""

    async def clear(session: Session) -> None:
        session.clear()

    manager = fresh()
    browser = await opened_while_down(manager, ACTS.get(way, clear), back=True)
    assert await manager.count_sessions() == len(browser.cookies) == (way == "login")


async def test_a_manager_that_cannot_be_looked_up() -> None:
    """Is an outage as any other."""

    async def choose(scope: Scope) -> SessionManager:
        raise StorageError("the tenants cannot be read")

    app = application(index=log_in)
    answer = await Browser(SessionMiddleware(app, choose)).get()
    assert (answer.status, answer.header("retry-after")) == (503, "2")
    with pytest.raises(StorageError, match="tenants"):
        await Browser(SessionMiddleware(app, choose, on_outage="empty")).get()
