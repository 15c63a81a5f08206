"""Requests through the middleware to a small ASGI application without a framework: nearly all that is timed is ours."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from benchmarks.workloads.bodies import Body, sample

DATA: dict[str, Any] = {
    "user": "alice",
    "theme": "dark",
    "cart": [{"sku": f"item-{number}", "count": 1} for number in range(5)],
}
HEADERS = [  # of a browser
    (b"host", b"shop.example"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    (b"accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    (b"accept-language", b"en-US,en;q=0.5"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
    (b"sec-fetch-site", b"same-origin"),
]
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
END = {"type": "http.response.body", "body": b"x"}


async def receive() -> Any:
    """The body of no request is read."""
    raise AssertionError


class Requests(Body):
    """Requests with a session each, on a manager that serves browsers; the items are replaced by the session ids."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.scopes: list[dict[str, Any]] = []

    async def prepare(self, store: Any, items: list[str]) -> None:
        self.app = import_module("chuk_sessions.web").SessionMiddleware(self.page, store, https_only=False)
        for index in range(len(items)):
            items[index] = await store.allocate_session(custom_metadata=DATA)

    async def reset(self, store: Any, items: list[str]) -> None:
        self.statuses.clear()
        self.scopes = [
            {"type": "http", "method": "GET", "path": "/", "root_path": "", "headers": [*HEADERS, *self.cookie(item)]}
            for item in items
        ]

    async def work(self, store: Any, items: list[str]) -> None:
        app, send = self.app, self.send
        for scope in self.scopes:
            await app(scope, receive, send)

    async def check(self, store: Any, items: list[str]) -> None:
        assert self.statuses == [200] * len(items)

    async def clean(self, store: Any, items: list[str]) -> None:
        for session_id in items:
            await store.delete_session(session_id)

    def cookie(self, session_id: str) -> list[tuple[bytes, bytes]]:
        """The header with the session, behind a cookie of somebody else."""
        return [(b"cookie", f"consent=yes; session={session_id}".encode())]

    async def send(self, message: Any) -> None:
        """What the server does with a message."""
        if message["type"] == "http.response.start":
            self.statuses.append(message["status"])

    async def page(self, scope: Any, receive: Any, send: Any) -> None:
        """The application."""
        assert scope["session"]["user"] == "alice"
        await send(START)
        await send(END)


class WithoutCookie(Requests):
    """Requests of clients that have no session and get none."""

    def cookie(self, session_id: str) -> list[tuple[bytes, bytes]]:
        return []

    async def page(self, scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(END)

    async def check(self, store: Any, items: list[str]) -> None:
        await super().check(store, items)
        assert all(scope["session"] == {} for scope in sample(self.scopes))


class OneChange(Requests):
    """Requests that count themselves in their session."""

    async def page(self, scope: Any, receive: Any, send: Any) -> None:
        session = scope["session"]
        session["seen"] = session.get("seen", 0) + 1
        await send(START)
        await send(END)

    async def check(self, store: Any, items: list[str]) -> None:
        await super().check(store, items)
        for session_id, scope in zip(sample(items), sample(self.scopes), strict=True):
            info = await store.get_session_info(session_id)
            assert info["custom_metadata"] == DATA | {"seen": scope["session"]["seen"]}
