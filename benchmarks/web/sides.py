"""Who is compared over which requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmarks.compare.sides import OURS, REDIS_PY

Store = Literal["memory", "redis"]

STARLETTE = ("starlette==1.10.0", "itsdangerous==2.2.0", "uvloop==0.23.0")
BARE = "no sessions (floor)"
DJANGO = ("django==5.2.19", *REDIS_PY)
OURS_IN_DJANGO = {mode: f"this version in Django, {mode}" for mode in ("WSGI", "ASGI")}
FLASK = ("flask==3.1.3", "uvloop==0.23.0")
FLASK_SESSION = ("flask-session==0.8.0", "cachelib==0.17.0", "flask==3.1.3", *REDIS_PY)
OURS_IN_FLASK = "this version in Flask"
COUNTS = {"memory": 1_000, "redis": 250}  # requests of a block
ADDED_COUNT = 500  # requests of a block, where what the middleware adds is measured
CLIENTS = (1, 50)
PAGES = {"nothing": "no cookie", "read": "read-only", "change": "one change"}


@dataclass(frozen=True, slots=True)
class Library:
    """One of those compared: the function of ``applications`` that makes it, and what is installed for it.

    ``beside`` is the name of our side that it is compared with, in one table.
    """

    name: str
    function: str
    requirements: tuple[str, ...] = ()
    stores: tuple[Store, ...] = ("memory", "redis")
    beside: str = OURS
    clients: tuple[int, ...] = CLIENTS
    pages: tuple[str, ...] = tuple(PAGES)


def _in_django(mode: str) -> tuple[Library, Library]:
    """Ours, and the sessions that Django has for a cache; one client, who in WSGI has the only thread."""
    ours = OURS_IN_DJANGO[mode]
    return (
        Library(ours, f"django_chuk_{mode.lower()}", (), ("redis",), ours, (1,)),
        Library(f"Django's cached sessions, {mode}", f"django_cached_{mode.lower()}", DJANGO, ("redis",), ours, (1,)),
    )


def _in_flask() -> tuple[Library, ...]:
    """Ours, Flask-Session, and Flask's own; one client, who has the only thread."""
    both: tuple[Store, ...] = ("memory", "redis")
    sides: tuple[tuple[str, str, tuple[str, ...], tuple[Store, ...]], ...] = (
        (OURS_IN_FLASK, "chuk", (), both),
        (f"{OURS_IN_FLASK}, touch_interval 60 s", "chuk_at_intervals", (), ("redis",)),
        ("Flask's, in the cookie", "cookie", FLASK, ("memory",)),
        ("Flask-Session", "session", FLASK_SESSION, both),
        ("Flask-Session, not permanent", "session_not_permanent", FLASK_SESSION, both),
    )
    floor = Library(f"{BARE}, Flask", "flask_bare", (), ("memory",), OURS_IN_FLASK, (1,), ("nothing",))
    made = [
        Library(name, f"flask_{function}", requirements, stores, OURS_IN_FLASK, (1,))
        for name, function, requirements, stores in sides
    ]
    return (made[0], floor, *made[1:])


LIBRARIES = (
    Library(OURS, "chuk"),
    Library(BARE, "bare", stores=("memory",), pages=("nothing",)),
    Library("Starlette's, in the cookie", "starlette", STARLETTE, ("memory",)),
    Library("starsessions", "starsessions", ("starsessions==2.2.1", *REDIS_PY)),
    Library("Litestar's, on the server", "litestar", ("litestar==2.25.0", *REDIS_PY)),
    *_in_django("WSGI"),
    *_in_django("ASGI"),
    *_in_flask(),
)


@dataclass(frozen=True, slots=True)
class Duel:
    """Requests for one page, by so many clients at once, to one library on one store."""

    library: Library
    store: Store
    page: str
    clients: int


def duels(no_redis: bool = False) -> list[Duel]:
    """All of them, so that libraries over the same requests follow each other."""
    stores: tuple[Store, ...] = ("memory",) if no_redis else ("memory", "redis")
    return [
        Duel(library, store, page, clients)
        for store in stores
        for page in PAGES
        for clients in CLIENTS
        for library in LIBRARIES
        if store in library.stores
        and clients in library.clients
        and page in library.pages
        and (page != "nothing" or store == "memory")  # without a cookie no store is asked
    ]
