"""Managers for browsers on every store that has what a web session needs, and the application around them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.providers import memory, redis
from chuk_sessions.web import SessionMiddleware
from tests.support.asgi import Browser, Endpoint, application
from tests.support.log_threads import log_threads_ended

ON_STORES = [pytest.param("memory"), pytest.param("redis", marks=pytest.mark.redis)]


@pytest.fixture(autouse=True)
def no_log_threads() -> Iterator[None]:
    """Litestar and Quart begin one for each application."""
    with log_threads_ended():
        yield


@pytest.fixture(params=ON_STORES)
def web_manager(request: pytest.FixtureRequest) -> SessionManager:
    """A manager for browsers, on memory and on Redis."""
    if request.param == "memory":
        return on_memory()
    return SessionManager("shop", redis.factory(request.getfixturevalue("redis_url")), strict=True, opaque_ids=True)


def on_memory(sandbox_id: str = "shop", **options: Any) -> SessionManager:
    return SessionManager(sandbox_id, memory.factory(memory.MemoryStore()), strict=True, opaque_ids=True, **options)


@pytest.fixture
def open_browser(web_manager: SessionManager) -> Callable[..., Browser]:
    """A browser before an application of these endpoints; `options` are of the middleware."""

    def make(options: dict[str, Any] | None = None, **endpoints: Endpoint) -> Browser:
        return Browser(SessionMiddleware(application(**endpoints), web_manager, **(options or {})))

    return make
