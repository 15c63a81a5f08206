"""Logins that expire, as the clouds have them: a provider of tokens, and a server that goes by the tokens.

Both count time by the clock of the running loop, so that a ``WarpLoop`` can make hours of it.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import hiredis

from chuk_sessions.providers.redis import Login
from chuk_sessions.redis_client.client import Client
from tests.support.listening import accepting

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

__all__ = ["HOUR", "LIFETIME", "USER", "IdentityProvider", "Link", "TokenServer", "now", "traffic"]

USER = "app"
HOUR = 3600.0
LIFETIME = 36.0  # seconds of a token: a hundred of them are an hour


class IdentityProvider:
    """Issues tokens that live for ``lifetime`` seconds.

    ``login`` is the function for ``credentials``. It gives a ``Login``, unless ``instead`` is set: then it gives what
    that returns, or raises what that raises.
    """

    def __init__(self, lifetime: float) -> None:
        self.lifetime = lifetime
        self.expires: dict[str, float] = {}
        self.asked = 0
        self.time: Callable[[], float] = time.monotonic  # that of the loop of the last server
        self.instead: Callable[[], Awaitable[Any]] | None = None

    def token(self) -> str:
        """A new one."""
        return self.issue(f"hunter{len(self.expires)}")

    def issue(self, token: str) -> str:
        """That one."""
        self.expires[token] = self.time() + self.lifetime
        return token

    async def login(self) -> Any:
        """What an application gives as ``credentials``."""
        self.asked += 1
        await asyncio.sleep(0.1)
        if self.instead is not None:
            return await self.instead()
        return Login(USER, self.token(), renew_in=self.lifetime)


class TokenServer:
    """Knows a few commands, answers ``latency`` seconds later, and takes the tokens of a provider as passwords.

    When the token of a connection expires, the server closes the connection; if it ``forgets``, it answers NOAUTH from
    then on.
    """

    def __init__(self, provider: IdentityProvider, latency: float = 0.0, forgets: bool = False) -> None:
        self.provider = provider
        self.latency = latency
        self.forgets = forgets
        self.refuses_again = False  # each AUTH on a connection that has logged in already
        self.forgets_at_once = False  # each login, before the next command but PING
        self.counts: dict[bytes, int] = {}
        self.links: list[Link] = []
        self.cuts = 0  # connections closed because their token had expired
        self.auths = 0
        self.users: set[str] = set()
        self.heard = Counter[bytes]()  # the names of the commands
        self.noauths = 0
        self.url = ""
        self._accepting: AbstractAsyncContextManager[str] = accepting(self._take)
        self._clients: list[Client] = []

    def client(self, credentials: Callable[[], object] | None = None, options: str = "", url: str = "") -> Client:
        """A client that logs in by the provider, or by that function; closed with the server."""
        login: Any = credentials or self.provider.login
        client = Client(f"{url or self.url}?reconnect_grace=5{options}", login)
        self._clients.append(client)
        return client

    async def __aenter__(self) -> Self:
        self.provider.time = asyncio.get_running_loop().time
        self.url = f"redis://{await self._accepting.__aenter__()}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            await client.deployment().close()
        for link in self.links:
            link.transport.abort()
        await self._accepting.__aexit__(None, None, None)

    async def _take(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(lambda: Link(self, loop), connection)


class Link(asyncio.Protocol):
    """A connection; nothing comes back on one that is ``deaf``."""

    transport: asyncio.Transport

    def __init__(self, server: TokenServer, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self._reader = hiredis.Reader()
        self._due: deque[tuple[float, bytes]] = deque()
        self._is_logged_in = False
        self._expiry: asyncio.TimerHandle | None = None
        self.deaf = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._server.links.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._expiry is not None:
            self._expiry.cancel()

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        replies = b""
        while (command := self._reader.gets()) is not False:
            replies += self._answer(*command)
        self._due.append((self._loop.time() + self._server.latency, replies))
        if len(self._due) == 1:
            self._wait()

    def _wait(self) -> None:
        self._loop.call_at(self._due[0][0], self._send)

    def _send(self) -> None:
        _, replies = self._due.popleft()
        if self._due:
            self._wait()
        if not self.deaf and not self.transport.is_closing():
            self.transport.write(replies)

    def _answer(self, name: bytes, *args: bytes) -> bytes:
        server = self._server
        server.heard[name] += 1
        if name == b"AUTH":
            return self._log_in(*(arg.decode() for arg in (args if len(args) > 1 else (b"default", *args))))
        if not self._is_logged_in or (server.forgets_at_once and name != b"PING"):
            server.noauths += 1
            return b"-NOAUTH Authentication required.\r\n"
        if name == b"INCR":
            server.counts[args[0]] = server.counts.get(args[0], 0) + 1
            return b":%d\r\n" % server.counts[args[0]]
        if name == b"ROLE":
            return b"*1\r\n$6\r\nmaster\r\n"
        if name == b"ECHO":
            return b"$%d\r\n%b\r\n" % (len(args[0]), args[0])
        return b"+PONG\r\n"

    def _log_in(self, user: str, token: str) -> bytes:
        server = self._server
        server.auths += 1
        ends = server.provider.expires.get(token, 0.0)
        if server.refuses_again and self._is_logged_in:
            return f"-WRONGPASS invalid token {token}\r\n".encode()
        if ends <= self._loop.time():
            return b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
        self._is_logged_in = True
        server.users.add(user)
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry = self._loop.call_at(ends, self.expire)
        return b"+OK\r\n"

    def expire(self) -> None:
        """What happens when its token does."""
        if self._server.forgets:
            self._is_logged_in = False
        else:
            self._server.cuts += 1
            with suppress(OSError):
                self.transport.abort()


def now() -> float:
    return asyncio.get_running_loop().time()


async def count_up(client: Client, seconds: float, key: str, outcomes: Counter[str], pause: float) -> None:
    """A caller that counts its answers and its errors by their kind."""
    end = now() + seconds
    while now() < end:
        try:
            await client.call(b"INCR", key)
            outcomes["counted"] += 1
        except Exception as error:
            outcomes[type(error).__name__] += 1
            outcomes[getattr(error, "code", "")] += 1
        await asyncio.sleep(pause)


async def traffic(
    server: TokenServer, client: Client, seconds: float, callers: int = 50, pause: float = 20.0
) -> Counter[str]:
    """The outcomes of many callers; whatever was counted was counted once."""
    outcomes = Counter[str]()
    server.counts.clear()
    async with asyncio.TaskGroup() as group:
        for number in range(callers):
            group.create_task(count_up(client, seconds, f"k{number}", outcomes, pause))
            await asyncio.sleep(pause / callers)
    assert outcomes["counted"] <= sum(server.counts.values()) <= outcomes["counted"] + outcomes["OutcomeUnknown"]
    return outcomes
