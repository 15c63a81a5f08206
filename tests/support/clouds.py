"""The libraries of clouds, as far as `docs/operate/logins.md` uses them: their tokens come from a provider of ours.

What each gives has the shape of the real one: names, arguments, and what the token looks like.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tests.support.tokens import HOUR, IdentityProvider, TokenServer, traffic
from tests.support.warp import WarpLoop

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AZURE", "BOTOCORE", "GOOGLE", "renews_for"]

ENTRA, AWS, GCP = IdentityProvider(HOUR), IdentityProvider(12 * HOUR), IdentityProvider(HOUR)


def module(name: str, **names: Any) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(names)
    return made


# -- azure-identity --------------------------------------------------------------------------------------------


@dataclass
class AccessToken:
    token: str
    expires_on: int


class DefaultAzureCredential:
    async def get_token(self, *scopes: str) -> AccessToken:
        assert scopes == ("https://redis.azure.com/.default",)
        await asyncio.sleep(0.2)
        return AccessToken(ENTRA.token(), int(time.time() + ENTRA.lifetime))


AZURE = {name: module(name) for name in ("azure", "azure.identity")} | {
    "azure.identity.aio": module("azure.identity.aio", DefaultAzureCredential=DefaultAzureCredential)
}


# -- botocore --------------------------------------------------------------------------------------------------


class Credentials:
    def get_frozen_credentials(self) -> tuple[str, str, None]:
        return "AKIA", "secret", None


class Session:
    def get_credentials(self) -> Credentials:
        return Credentials()


class AWSRequest:
    def __init__(self, method: str, url: str, *, params: dict[str, str]) -> None:
        assert method == "GET"
        self.url = url
        self.params = params


class SigV4QueryAuth:
    def __init__(self, credentials: object, service_name: str, region_name: str, expires: int) -> None:
        assert credentials == ("AKIA", "secret", None)
        assert expires <= 900
        self._scope = f"{region_name}%2F{service_name}"

    def add_auth(self, request: AWSRequest) -> None:
        query = "&".join(f"{name}={value}" for name, value in request.params.items())
        request.url += f"?{query}&X-Amz-Credential={self._scope}&X-Amz-Signature=hunter{len(AWS.expires)}"
        AWS.issue(request.url.removeprefix("https://"))


BOTOCORE = {
    "botocore": module("botocore"),
    "botocore.session": module("botocore.session", get_session=Session),
    "botocore.auth": module("botocore.auth", SigV4QueryAuth=SigV4QueryAuth),
    "botocore.awsrequest": module("botocore.awsrequest", AWSRequest=AWSRequest),
}
vars(BOTOCORE["botocore"])["session"] = BOTOCORE["botocore.session"]


# -- google-auth -----------------------------------------------------------------------------------------------


class Request:
    pass


class ServiceAccount:
    token: str | None = None

    def refresh(self, request: Request) -> None:
        self.token = GCP.token()


def default(scopes: list[str]) -> tuple[ServiceAccount, str]:
    assert scopes == ["https://www.googleapis.com/auth/cloud-platform"]
    return ServiceAccount(), "project"


GOOGLE = {name: module(name) for name in ("google", "google.auth.transport")} | {
    "google.auth": module("google.auth", default=default),
    "google.auth.transport.requests": module("google.auth.transport.requests", Request=Request),
}
vars(GOOGLE["google"])["auth"] = GOOGLE["google.auth"]


# --------------------------------------------------------------------------------------------------------------


def renews_for(provider: IdentityProvider, login: Callable[[], object], lifetimes: int) -> set[str]:
    """Use that function at a server that cuts, for that many lifetimes of a token. The logins of the server."""

    async def use() -> set[str]:
        async with TokenServer(provider, latency=1.0) as server:
            client = server.client(login, "&heartbeat=0")
            outcomes = await traffic(
                server, client, lifetimes * provider.lifetime, callers=2, pause=provider.lifetime / 20
            )
            assert set(outcomes) == {"counted"}
            assert client.stats()["login_renewals"] >= lifetimes
            assert (server.cuts, client.stats()["reconnects"]) == (0, 0)
            return server.users

    with asyncio.Runner(loop_factory=WarpLoop) as runner:
        return runner.run(use())
