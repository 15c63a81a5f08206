"""A login with FastAPI: cart, "where am I logged in", log out everywhere, and a WebSocket that ends with the session.

    pip install '.[fastapi]' uvicorn websockets
    SESSION_PROVIDER=redis uvicorn --factory examples.fastapi_login:create_app

Without ``SESSION_PROVIDER`` the sessions are in the memory of the process. Passwords are left out: anybody who names a
user is that user. Over plain http://localhost most browsers send a secure cookie too; for the others set
``INSECURE_COOKIES=1``.
"""

from __future__ import annotations

import os
from typing import Annotated, Any

from fastapi import Depends, FastAPI, WebSocket, WebSocketDisconnect

from chuk_sessions import SessionManager
from chuk_sessions.web import Cookie, CrossOriginGuard, SessionMiddleware
from chuk_sessions.web.fastapi import SessionDep, TypedSession, UserDep


class Shop(TypedSession):
    """What a session holds."""

    cart: list[str] | None = None


ShopDep = Annotated[Shop, Depends()]


def create_app(manager: SessionManager | None = None) -> FastAPI:
    """Make the application, with a manager of its own unless one is given."""
    sessions = manager or SessionManager("shop", strict=True, opaque_ids=True, max_sessions_per_user=5)
    app = FastAPI()
    cookie = Cookie(secure=os.environ.get("INSECURE_COOKIES") != "1", max_age="lifetime")
    app.add_middleware(SessionMiddleware, manager=sessions, transport=cookie)
    app.add_middleware(CrossOriginGuard)

    @app.post("/login/{user}")
    async def login(user: str, session: SessionDep) -> dict[str, str]:
        await session.login(user)
        return {"welcome": user}

    @app.post("/cart/{item}")
    async def add(item: str, shop: ShopDep) -> list[str]:
        shop.cart = [*(shop.cart or []), item]
        return shop.cart

    @app.get("/sessions")
    async def where_am_i_logged_in(user: UserDep, session: SessionDep) -> list[dict[str, Any]]:
        found = await sessions.list_user_sessions(user)
        return [{"since": each["created_at"], "this": each["session_id"] == session.id} for each in found]

    @app.post("/logout")
    async def logout(session: SessionDep) -> None:
        await session.invalidate()

    @app.post("/logout/everywhere")
    async def logout_everywhere(user: UserDep, session: SessionDep) -> int:
        others = await sessions.delete_user_sessions(user, keep=session.id)
        await session.invalidate()
        return others + 1

    @app.websocket("/whoami")
    async def whoami(websocket: WebSocket, user: UserDep) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.receive_text()
                await websocket.send_text(user)
        except WebSocketDisconnect:
            pass  # the client left, or the session has ended

    return app
