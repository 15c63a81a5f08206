"""The shop: what it answers, and when. Its pages are in ``pages``.

Passwords are left out: anybody who names a user is that user.
"""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import parse_qs

from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from starlette.responses import HTMLResponse, RedirectResponse, Response

from chuk_sessions import SessionManager
from chuk_sessions.web import CrossOriginGuard, Session, SessionMiddleware
from chuk_sessions.web.fastapi import SessionDep, UserDep
from examples.shop import pages

CART = "cart."  # a key for each item, so that two tabs can fill the cart at once
RECHECK = 1  # seconds until a WebSocket notices that its session has ended; 60 are enough for most
UNAUTHORIZED, UNAVAILABLE = 401, 503
TRY_AGAIN_LATER = 1013


def cart_of(session: Session) -> dict[str, int]:
    """How many of each item are in the cart."""
    return {key.removeprefix(CART): count for key, count in session.items() if key.startswith(CART)}


def mark_of(session_id: str) -> str:
    """What a page may say of a session: its id is for the cookie alone, as whoever knows it has the session."""
    return hashlib.sha256(session_id.encode()).hexdigest()[:16]


def browser_of(request: Request) -> str:
    """The name of a browser, as people know it."""
    agent = request.headers.get("user-agent", "")
    names = ("Firefox", "Edg", "Chrome", "Safari", "curl")
    return next((name.replace("Edg", "Edge") for name in names if name in agent), "a browser")


async def unavailable(scope: Any, receive: Any, send: Any) -> None:
    """Answer while the sessions cannot be read: nobody is logged out, and the cookie stays."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": TRY_AGAIN_LATER})
        return
    headers = {"Retry-After": "2", "Cache-Control": "no-store"}
    await HTMLResponse(pages.unavailable(), UNAVAILABLE, headers)(scope, receive, send)


def home() -> Response:
    """Send the browser to the front page: what was set is stored before it gets there."""
    return RedirectResponse("/", 303)


def create_app(manager: SessionManager) -> FastAPI:
    """Make the application, with its sessions in that manager."""
    app = FastAPI(title="Shop")
    app.add_middleware(SessionMiddleware, manager=manager, websocket_recheck=RECHECK, on_outage=unavailable)
    app.add_middleware(CrossOriginGuard)

    @app.exception_handler(UNAUTHORIZED)
    async def to_the_door(request: Request, error: Exception) -> Response:
        return home()

    add_cart(app)
    add_logins(app, manager)
    return app


def add_cart(app: FastAPI) -> None:
    """Add the front page, which has the cart, and what fills and empties it."""

    @app.get("/", response_class=HTMLResponse)
    async def front(session: SessionDep) -> str:
        return pages.front(session.user_id, cart_of(session), session.flashes())

    @app.post("/cart/{item}")
    async def add(item: str, session: SessionDep) -> Response:
        if item in pages.ITEMS:
            await session.increment(f"{CART}{item}")
        return home()

    @app.post("/empty")
    async def empty(session: SessionDep) -> Response:
        for item in cart_of(session):
            del session[f"{CART}{item}"]
        session.flash("The cart is empty.")
        return home()


def add_logins(app: FastAPI, manager: SessionManager) -> None:
    """Add the ways in and out, for one browser and for all of a user, and a WebSocket that knows the user."""

    @app.post("/login")
    async def login(request: Request, session: SessionDep) -> Response:
        form = parse_qs((await request.body()).decode())
        if user := form.get("user", [""])[0].strip():
            await session.login(user, browser=browser_of(request))
            session.flash(f"Welcome, {user}.")
        return home()

    @app.post("/logout")
    async def logout(session: SessionDep) -> Response:
        await session.invalidate()
        return home()

    @app.get("/account", response_class=HTMLResponse)
    async def account(user: UserDep, session: SessionDep) -> str:
        found = await manager.list_user_sessions(user)
        logins = [
            pages.Login(
                mark=mark_of(each["session_id"]),
                browser=each["custom_metadata"].get("browser", "a browser"),
                since=each["created_at"],
                is_this=each["session_id"] == session.id,
            )
            for each in found
        ]
        return pages.account(user, logins, session.flashes())

    @app.post("/sessions/{mark}/revoke")
    async def revoke(mark: str, user: UserDep, session: SessionDep) -> Response:
        for each in await manager.list_user_sessions(user):
            if mark_of(each["session_id"]) == mark and await manager.delete_session(each["session_id"]):
                session.flash("That browser is logged out.")
        return RedirectResponse("/account", 303)

    @app.post("/logout/everywhere")
    async def logout_everywhere(user: UserDep, session: SessionDep) -> Response:
        await manager.delete_user_sessions(user, keep=session.id)
        await session.invalidate()
        return home()

    @app.websocket("/whoami")
    async def whoami(websocket: WebSocket, session: SessionDep) -> None:
        await websocket.accept()
        await websocket.send_text(session.user_id or "")
        try:
            while True:
                await websocket.receive_text()
        except WebSocketDisconnect:
            pass  # the page was left, or the session has ended
