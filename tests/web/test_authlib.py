"""Authlib's OAuth flow runs unchanged over `request.session`: with an identity provider that is an ASGI application."""

from __future__ import annotations

import base64
import hashlib
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from authlib.integrations.base_client import MismatchingStateError
from authlib.integrations.starlette_client import OAuth
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import ASGITransport
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from chuk_sessions import SessionManager
from chuk_sessions.web import SessionMiddleware
from chuk_sessions.web.fastapi import SessionDep, UserDep
from chuk_sessions.web.testing import read_session

ISSUER = "https://idp.example"
CODE = "the-code"


def identity_provider() -> Starlette:
    """Asks nobody anything: sends each browser back with a code, and gives alice's token for it, by PKCE."""
    challenges: list[str] = []

    async def authorize(request: Request) -> Response:
        query = request.query_params
        challenges.append(query["code_challenge"])
        return RedirectResponse(f"{query['redirect_uri']}?code={CODE}&state={query['state']}")

    async def token(request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        assert base64.urlsafe_b64encode(digest).decode().rstrip("=") == challenges.pop()
        assert form["code"] == CODE
        return JSONResponse({"access_token": "a-token", "token_type": "Bearer", "expires_in": 3600})

    async def userinfo(request: Request) -> Response:
        assert request.headers["authorization"] == "Bearer a-token"
        return JSONResponse({"sub": "alice", "email": "alice@idp.example"})

    endpoints: dict[str, Any] = {"/authorize": authorize, "/userinfo": userinfo}
    return Starlette(
        routes=[Route(path, each) for path, each in endpoints.items()] + [Route("/token", token, methods=["POST"])]
    )


def shop(manager: SessionManager, provider: Starlette) -> FastAPI:
    """As in Authlib's documentation, but for the login of the session."""
    app = FastAPI()
    app.add_middleware(SessionMiddleware, manager=manager)
    oauth = OAuth()
    oauth.register(
        name="idp",
        client_id="shop",
        client_secret="secret",
        authorize_url=f"{ISSUER}/authorize",
        access_token_url=f"{ISSUER}/token",
        userinfo_endpoint=f"{ISSUER}/userinfo",
        client_kwargs={
            "scope": "email",
            "code_challenge_method": "S256",
            "transport": ASGITransport(provider),
        },
    )

    @app.get("/cart")
    async def cart(session: SessionDep) -> None:
        session["cart"] = ["book"]

    @app.get("/login")
    async def login(request: Request) -> Any:
        return await oauth.idp.authorize_redirect(request, "https://testserver/auth")

    @app.get("/auth")
    async def auth(request: Request, session: SessionDep) -> Any:
        token = await oauth.idp.authorize_access_token(request)
        user = await oauth.idp.userinfo(token=token)
        await session.login(user["sub"], email=user["email"])
        return RedirectResponse("/me")

    @app.get("/me")
    async def me(user: UserDep, session: SessionDep) -> list[Any]:
        return [user, dict(session)]

    return app


async def test_a_login_at_an_identity_provider(web_manager: SessionManager) -> None:
    """State and PKCE verifier are kept in the session until the browser comes back, and are gone after the login."""
    provider = identity_provider()
    client = TestClient(shop(web_manager, provider), base_url="https://testserver", follow_redirects=False)
    client.get("/cart")
    to_provider = client.get("/login").headers["location"]
    visitor = await read_session(client, web_manager)
    assert visitor is not None
    assert any(key.startswith("_state_idp_") for key in visitor["custom_metadata"])
    back = TestClient(provider, base_url=ISSUER, follow_redirects=False).get(to_provider).headers["location"]
    assert client.get(back).headers["location"] == "/me"
    assert client.get("/me").json() == ["alice", {"cart": ["book"], "email": "alice@idp.example"}]
    assert not await web_manager.validate_session(visitor["session_id"])


def test_a_state_of_another_browser(web_manager: SessionManager) -> None:
    """Is refused, as it is not in this one's session."""
    provider = identity_provider()
    app = shop(web_manager, provider)
    one, two = (TestClient(app, base_url="https://testserver", follow_redirects=False) for _ in range(2))
    back = TestClient(provider, base_url=ISSUER, follow_redirects=False).get(one.get("/login").headers["location"])
    with pytest.raises(MismatchingStateError):
        two.get(back.headers["location"])
    assert urlsplit(back.headers["location"]).path == "/auth"
