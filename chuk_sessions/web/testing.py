"""For tests of applications: logs a client in, and reads its session.

The functions take ``httpx`` clients and the test clients of Starlette and FastAPI, which are based on ``httpx``. A test
client must speak HTTPS to send a secure cookie back: ``TestClient(app, base_url="https://testserver")``. A test without
an event loop uses a manager on memory and ``asyncio.run(logged_in(...))``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from chuk_sessions.session_manager import SessionManager
from chuk_sessions.web.cookies import Cookie
from chuk_sessions.web.settings import check_manager
from chuk_sessions.web.transports import Bearer, Header, Transport, own_ids

__all__ = ["Client", "logged_in", "read_session"]

DEFAULT = Cookie()


class Client(Protocol):
    """The parts of an ``httpx`` client that are used here."""

    @property
    def cookies(self) -> Any:
        """The cookies: ``set(name, value, domain=..., path=...)``, and ``jar``."""
        ...

    @property
    def headers(self) -> Any:
        """The headers that the client sends with each request."""
        ...

    @property
    def base_url(self) -> Any:
        """A URL with a ``host``."""
        ...


async def logged_in(
    client: Client, manager: SessionManager, user_id: str | None, *, transport: Transport = DEFAULT, **data: Any
) -> str:
    """Give a client the session of a user (None: of a visitor) with that data. Return the id of the session.

    ``transport`` is the transport of the middleware. Raises as ``allocate_session``, and TypeError for a transport that
    is not from this package.
    """
    session_id = await check_manager(manager).allocate_session(user_id=user_id, custom_metadata=data)
    if isinstance(transport, Cookie):
        path, domain = transport.path, transport.domain or _jar_domain(client)
        client.cookies.set(transport.wire_name, session_id, domain=domain, path=path)
    elif isinstance(transport, Bearer):
        client.headers["authorization"] = f"Bearer {session_id}"
    elif isinstance(transport, Header):
        client.headers[transport.name] = session_id
    else:
        raise TypeError(f"transport must be a Cookie, Header or Bearer, got {type(transport).__name__}")
    return session_id


async def read_session(
    client: Client, manager: SessionManager, *, transport: Transport = DEFAULT
) -> dict[str, Any] | None:
    """Return the result of ``get_session_info`` for the session of a client; None if it has no live session.

    The data is under ``custom_metadata``.
    """
    for session_id in own_ids([text.encode("utf-8", "replace") for text in _texts(client, transport)]):
        info = await manager.get_session_info(session_id)
        if info is not None:
            return info
    return None


def _jar_domain(client: Client) -> str:
    """Return the host's name in the cookie jar of the standard library, so that a Set-Cookie replaces the cookie."""
    host = str(client.base_url.host)
    return host if "." in host or not host else f"{host}.local"


def _texts(client: Client, transport: Transport) -> Iterator[str]:
    """Yield the texts that may be the id."""
    if isinstance(transport, Cookie):
        yield from (each.value or "" for each in client.cookies.jar if each.name == transport.wire_name)
    elif isinstance(transport, Bearer):
        yield client.headers.get("authorization", "").partition(" ")[2]
    elif isinstance(transport, Header):
        yield client.headers.get(transport.name, "")
