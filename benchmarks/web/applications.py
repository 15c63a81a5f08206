"""One small application on the sessions of each library: pages that do nothing, read, or change one key.

They are as each library's documentation has them; a session lives for a day, and its cookie is not secure.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

CART = [{"sku": f"item-{number}", "count": 1} for number in range(5)]
DATA: dict[str, Any] = {"user": "alice", "theme": "dark", "cart": CART}
LIFETIME = 24 * 3600

Application = Callable[[Any, Any, Any], Any]


def _starlette(middleware: list[Any]) -> Application:
    """The pages, on Starlette."""
    responses = import_module("starlette.responses")
    route = import_module("starlette.routing").Route

    async def nothing(request: Any) -> Any:
        return responses.PlainTextResponse("x")

    async def fill(request: Any) -> Any:
        request.session.update(DATA)
        return responses.PlainTextResponse("x")

    async def read(request: Any) -> Any:
        return responses.PlainTextResponse(request.session["user"])

    async def change(request: Any) -> Any:
        request.session["seen"] = request.session.get("seen", 0) + 1
        return responses.PlainTextResponse("x")

    pages = {"/nothing": nothing, "/fill": fill, "/read": read, "/change": change}
    made: Application = import_module("starlette.applications").Starlette(
        routes=[route(path, page) for path, page in pages.items()], middleware=middleware
    )
    return made


def _middleware(module: str, **options: Any) -> Any:
    kind = getattr(import_module(module), "SessionMiddleware")  # noqa: B009 (mypy knows no better)
    return import_module("starlette.middleware").Middleware(kind, **options)


def bare(url: str | None) -> Application:
    """Without sessions: its pages that need one cannot be asked for."""
    return _starlette([])


def chuk(url: str | None) -> Application:
    """This library; in memory, or on the Redis of that URL."""
    return _starlette([_middleware("chuk_sessions.web", manager=manager_on(url), https_only=False)])


def manager_on(url: str | None, **options: Any) -> Any:
    """A manager of this library, in memory or on that Redis."""
    if url is None:
        factory = import_module("chuk_sessions.providers.memory").factory()
    else:
        factory = import_module("chuk_sessions.providers.redis").factory(url)
    return import_module("chuk_sessions").SessionManager("shop", factory, strict=True, opaque_ids=True, **options)


def starlette(url: str | None) -> Application:
    """Starlette's own: the whole session is in the cookie, signed."""
    return _starlette([_middleware("starlette.middleware.sessions", secret_key="a key", max_age=LIFETIME)])


def starsessions(url: str | None) -> Application:
    """starsessions, which loads each session by itself."""
    library = import_module("starsessions")
    store = import_module("starsessions.stores.redis").RedisStore(url) if url else library.InMemoryStore()
    middleware = import_module("starlette.middleware").Middleware
    options = {"store": store, "lifetime": LIFETIME, "cookie_https_only": False}
    return _starlette([middleware(library.SessionMiddleware, **options), middleware(library.SessionAutoloadMiddleware)])


def litestar(url: str | None) -> Application:
    """Litestar with its server-side sessions."""
    library = import_module("litestar")

    async def nothing() -> str:
        return "x"

    async def fill(request: Any) -> str:
        request.session.update(DATA)
        return "x"

    async def read(request: Any) -> str:
        found: str = request.session["user"]
        return found

    async def change(request: Any) -> str:
        request.session["seen"] = request.session.get("seen", 0) + 1
        return "x"

    text = library.MediaType.TEXT
    pages: dict[str, Any] = {"/nothing": nothing, "/fill": fill, "/read": read, "/change": change}
    for page in pages.values():  # Litestar looks for the names of annotations in this module
        page.__annotations__ = {"return": str} if page is nothing else {"return": str, "request": library.Request}
    config = import_module("litestar.middleware.session.server_side").ServerSideSessionConfig(max_age=LIFETIME)
    if url is None:
        store = import_module("litestar.stores.memory").MemoryStore()
    else:
        store = import_module("litestar.stores.redis").RedisStore.with_client(url)
    handlers = [library.get(path, media_type=text)(page) for path, page in pages.items()]
    made: Application = library.Litestar(
        handlers, middleware=[config.middleware], stores={"sessions": store}, openapi_config=None
    )
    return made


def django_chuk_asgi(url: str | None) -> Application:
    """This library, in an asynchronous Django."""
    made: Application = with_django().asgi("chuk", url)
    return made


def django_chuk_wsgi(url: str | None) -> Application:
    """This library, in a synchronous Django."""
    made: Application = with_django().wsgi("chuk", url)
    return made


def django_cached_asgi(url: str | None) -> Application:
    """Django's cached sessions, in an asynchronous Django."""
    made: Application = with_django().asgi("cached", url)
    return made


def django_cached_wsgi(url: str | None) -> Application:
    """Django's cached sessions, in a synchronous Django."""
    made: Application = with_django().wsgi("cached", url)
    return made


def with_django() -> Any:
    """The module that has the pages for Django."""
    return import_module("benchmarks.web.with_django")


def flask_bare(url: str | None) -> Application:
    """Flask without sessions: its pages that need one cannot be asked for."""
    made: Application = with_flask().bare(url)
    return made


def flask_chuk(url: str | None) -> Application:
    """This library, in Flask."""
    made: Application = with_flask().chuk(url)
    return made


def flask_chuk_at_intervals(url: str | None) -> Application:
    """This library, in Flask, with a time of last access that is written once a minute."""
    made: Application = with_flask().chuk(url, touch_interval=60)
    return made


def flask_cookie(url: str | None) -> Application:
    """Flask's own sessions."""
    made: Application = with_flask().in_the_cookie(url)
    return made


def flask_session(url: str | None) -> Application:
    """Flask-Session, as its documentation has it."""
    made: Application = with_flask().flask_session(url)
    return made


def flask_session_not_permanent(url: str | None) -> Application:
    """Flask-Session, which writes only what has changed then."""
    made: Application = with_flask().flask_session(url, SESSION_PERMANENT=False)
    return made


def with_flask() -> Any:
    """The module that has the pages for Flask."""
    return import_module("benchmarks.web.with_flask")
