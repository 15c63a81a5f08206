"""The pages of ``applications``, as a Django project: with our sessions, and with Django's cached sessions.

A process has one project. The pages are asynchronous over ASGI and synchronous over WSGI, as they are in such servers.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

from benchmarks.web.applications import DATA, LIFETIME, Application
from benchmarks.web.wsgi import bridged

URLS = "benchmarks_urls"
CACHED = "django.core.cache.backends.redis.RedisCache"
ENGINES = {
    "chuk": {"SESSION_ENGINE": "chuk_sessions.django", "MIDDLEWARE": ["chuk_sessions.django.SessionMiddleware"]},
    "cached": {
        "SESSION_ENGINE": "django.contrib.sessions.backends.cache",
        "MIDDLEWARE": ["django.contrib.sessions.middleware.SessionMiddleware"],
    },
}


def asgi(engine: str, url: str | None) -> Application:
    """The project as asynchronous servers run it."""
    _set_up(engine, url, _asynchronous_pages())
    application: Application = import_module("django.core.asgi").get_asgi_application()

    async def call(scope: Any, receive: Any, send: Any) -> None:
        requests = [await receive()]

        async def receive_once() -> Any:
            """Django takes a second message for a client that has left."""
            return requests.pop() if requests else await asyncio.Event().wait()

        async def send_lower(message: Any) -> None:
            """ASGI asks for small letters in the names of headers."""
            if "headers" in message:
                message["headers"] = [(name.lower(), value) for name, value in message["headers"]]
            await send(message)

        await application(scope, receive_once, send_lower)

    return call


def wsgi(engine: str, url: str | None) -> Application:
    """The project as synchronous servers run it, called in the thread of the client, which waits meanwhile."""
    _set_up(engine, url, _pages())
    return bridged(import_module("django.core.wsgi").get_wsgi_application())


def _set_up(engine: str, url: str | None, pages: dict[str, Callable[..., Any]]) -> None:
    import_module("django.conf").settings.configure(
        ALLOWED_HOSTS=["*"],
        CACHES={"default": {"BACKEND": CACHED, "LOCATION": url}},
        CHUK_SESSIONS={"URL": url, "SANDBOX": "shop"},
        LOGGING_CONFIG=None,
        ROOT_URLCONF=URLS,
        SECRET_KEY="of the benchmarks",
        SESSION_COOKIE_AGE=LIFETIME,
        **ENGINES[engine],
    )
    path = import_module("django.urls").path
    urls: Any = ModuleType(URLS)
    urls.urlpatterns = [path(name, page) for name, page in pages.items()]
    sys.modules[URLS] = urls
    import_module("django").setup()


def _pages() -> dict[str, Callable[..., Any]]:
    response = import_module("django.http").HttpResponse
    overlap = import_module("benchmarks.web.overlap")

    def nothing(request: Any) -> Any:
        return response("x")

    def fill(request: Any) -> Any:
        request.session.update(DATA)
        return response("x")

    def read(request: Any) -> Any:
        return response(request.session["user"])

    def change(request: Any) -> Any:
        request.session["seen"] = request.session.get("seen", 0) + 1
        return response("x")

    def keep(request: Any, number: int) -> Any:
        request.session.get("user")
        overlap.wait_for_all()
        request.session[f"{overlap.KEY}{number}"] = number
        return response("x")

    def kept(request: Any) -> Any:
        return response(sum(key.startswith(overlap.KEY) for key in request.session.keys()))  # noqa: SIM118 (it is no dict)

    pages = {"nothing": nothing, "fill": fill, "read": read, "change": change}
    return pages | {"keep/<int:number>": keep, "kept": kept}


def _asynchronous_pages() -> dict[str, Callable[..., Any]]:
    response = import_module("django.http").HttpResponse

    async def nothing(request: Any) -> Any:
        return response("x")

    async def fill(request: Any) -> Any:
        await request.session.aupdate(DATA)
        return response("x")

    async def read(request: Any) -> Any:
        return response(await request.session.aget("user"))

    async def change(request: Any) -> Any:
        await request.session.aset("seen", await request.session.aget("seen", 0) + 1)
        return response("x")

    return {"nothing": nothing, "fill": fill, "read": read, "change": change}
