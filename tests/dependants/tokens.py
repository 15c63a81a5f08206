"""chuk-mcp-server: its OAuth token store keeps everything through `get_session`."""

from __future__ import annotations

import base64
import hashlib
import os
from typing import TYPE_CHECKING

from chuk_mcp_server.oauth.token_store import TokenStore

if TYPE_CHECKING:
    from tests.dependants.expect import Steps

REDIRECT = "https://client.example/callback"


async def drive(steps: Steps) -> None:
    """Clients, authorization codes, access and refresh tokens, tokens of others, pending authorizations."""
    store = TokenStore(sandbox_id="dependants-tokens")
    client = await clients(store, steps)
    await codes(store, steps, client)
    await access(store, steps, client)
    await external(store, steps)
    await pending(store, steps)
    await expiry(steps, client)


async def clients(store: TokenStore, steps: Steps) -> str:
    """Register one; its secret and address are checked. Returns its id."""
    registered = await store.register_client("app", [REDIRECT], "client_secret_post")
    client, secret = str(registered["client_id"]), registered["client_secret"]
    steps.expect("a client is known", (await store.get_client(client)).client_name == "app")
    steps.expect("with its secret", await store.authenticate_client(client, secret, REDIRECT))
    steps.expect("and no other", not await store.authenticate_client(client, "wrong"))
    steps.expect("a stranger is not", not await store.validate_client("stranger"))
    return client


async def codes(store: TokenStore, steps: Steps, client: str) -> None:
    """With PKCE, and once only."""
    verifier = "verifier" * 8
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    code = await store.create_authorization_code("alice", client, REDIRECT, "read", challenge, "S256")
    wrong = await store.validate_authorization_code(code, client, REDIRECT, "wrong")
    steps.expect("a wrong verifier is refused", wrong is None)
    user = await store.validate_authorization_code(code, client, REDIRECT, verifier)
    steps.expect("the right one tells the user", user is not None and user["user_id"] == "alice")
    again = await store.validate_authorization_code(code, client, REDIRECT, verifier)
    steps.expect("a code works once", again is None)


async def access(store: TokenStore, steps: Steps, client: str) -> None:
    """Tokens are found by another store too, and a refresh revokes the old pair."""
    token, refresh = await store.create_access_token("alice", client, "read")
    found = await TokenStore(sandbox_id="dependants-tokens").validate_access_token(token)
    steps.expect("a token is valid in another store", found is not None and found["user_id"] == "alice")
    steps.expect("not in another sandbox", await TokenStore(sandbox_id="other").validate_access_token(token) is None)
    renewed = await store.refresh_access_token(refresh, client)
    steps.expect("a refresh gives a new pair", renewed is not None and renewed[0] != token)
    steps.expect("the old token is revoked", await store.validate_access_token(token) is None)
    steps.expect("so is the old refresh", await store.refresh_access_token(refresh, client) is None)
    steps.expect("the new token is valid", await store.validate_access_token(renewed[0]) is not None)


async def external(store: TokenStore, steps: Steps) -> None:
    """Tokens that others gave."""
    await store.link_external_token("alice", "their-token", "their-refresh", 3600, "github")
    linked = await store.get_external_token("alice", "github")
    steps.expect("it is kept", linked is not None and linked["access_token"] == "their-token")
    steps.expect("it is fresh", not await store.is_external_token_expired("alice", "github"))
    await store.update_external_token("alice", "newer", None, 60, "github")
    steps.expect("it is replaced", (await store.get_external_token("alice", "github"))["access_token"] == "newer")
    steps.expect("it will expire soon", await store.is_external_token_expired("alice", "github"))
    steps.expect("bob has none", await store.get_external_token("bob", "github") is None)


async def pending(store: TokenStore, steps: Steps) -> None:
    """State between request and callback."""
    await store.store_pending_authorization("state", {"client_id": "app", "n": [1, None]})
    steps.expect("it is kept", await store.get_pending_authorization("state") == {"client_id": "app", "n": [1, None]})
    steps.expect("it is deleted", await store.delete_pending_authorization("state") is True)
    steps.expect("once", await store.delete_pending_authorization("state") is False)


async def expiry(steps: Steps, client: str) -> None:
    """A lifetime of a second ends."""
    os.environ["OAUTH_ACCESS_TOKEN_TTL"] = "1"
    store = TokenStore(sandbox_id="dependants-tokens")
    token, _ = await store.create_access_token("alice", client)
    steps.expect("it lives", await store.validate_access_token(token) is not None)

    async def is_gone() -> bool:
        return await store.validate_access_token(token) is None

    await steps.eventually("and then not", is_gone)
