"""Connections that nobody uses: checked now and then, so that a flow that was forgotten is found before a call pays."""

from __future__ import annotations

import asyncio
import socket
import time
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.commands import Replay
from tests.support.helpers import eventually, time_passes
from tests.support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.servers import Server

pytestmark = pytest.mark.redis
PERIOD = 0.05  # seconds; the shortest that can be set


@pytest.fixture
async def proxy(redis_server: Server) -> AsyncIterator[Proxy]:
    async with Proxy(redis_server.host, redis_server.port) as opened:
        yield opened


def pings(proxy: Proxy) -> int:
    """How many the server was sent; the first is part of connecting."""
    return proxy.requests.count(b"PING")


async def test_a_flow_that_was_forgotten_is_found_without_a_call(proxy: Proxy) -> None:
    """A new connection is made when the answer to the check does not come."""
    client = Client(f"{proxy.url}?heartbeat={PERIOD}&socket_timeout=0.2&socket_connect_timeout=0.2")
    await client.call(b"SET", "k", "v")
    proxy.swallowing = True
    await eventually(lambda: proxy.accepted > 1)
    assert client.stats()["timeouts"] == 0
    proxy.swallowing = False
    await eventually(lambda: client.stats()["reconnects"] == 1)
    assert await client.call(b"GET", "k", replay=Replay.READ) == b"v"


async def test_an_idle_connection_that_works_is_kept(proxy: Proxy) -> None:
    client = Client(f"{proxy.url}?heartbeat={PERIOD}")
    await client.call(b"PING")
    await eventually(lambda: pings(proxy) > 5)
    assert proxy.accepted == 1
    assert client.stats()["reconnects"] == 0


async def test_nothing_is_asked_while_commands_flow(proxy: Proxy) -> None:
    client = Client(f"{proxy.url}?heartbeat={PERIOD}")
    until = time.monotonic() + 10 * PERIOD
    longest, last = 0.0, time.monotonic()
    while time.monotonic() < until:
        await client.call(b"ECHO", "x")
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    if longest < PERIOD:  # else the machine made a pause, in which the connection was idle
        assert pings(proxy) == 1


async def test_it_can_be_turned_off(proxy: Proxy) -> None:
    client = Client(f"{proxy.url}?heartbeat=0")
    await client.call(b"ECHO", "x")
    await time_passes(4 * PERIOD)
    assert pings(proxy) == 1


async def test_an_application_that_holds_up_its_loop_keeps_its_connection(proxy: Proxy) -> None:
    """The answer is there, and nobody could read it."""
    client = Client(f"{proxy.url}?heartbeat={PERIOD}&socket_timeout=0.1")
    await client.call(b"ECHO", "x")
    for _ in range(3):
        before = pings(proxy)
        await eventually(partial(lambda seen: pings(proxy) > seen, before))
        time.sleep(0.4)  # noqa: ASYNC251  # the application does that
        await asyncio.sleep(0)
    assert await client.call(b"ECHO", "y") == b"y"
    assert proxy.accepted == 1


@pytest.mark.parametrize("loop_module", ["asyncio", "uvloop"])
def test_the_system_looks_after_the_connection_too(redis_server: Server, loop_module: str) -> None:
    """TCP keepalive, and a bound on how long sent bytes may go unacknowledged, where there is one."""

    async def options() -> dict[str, int]:
        client: Any = Client(f"{redis_server.url}?socket_timeout=1.5")
        await client.call(b"PING")
        sock = client.deployment()._connection._transport.get_extra_info("socket")
        found = {"SO_KEEPALIVE": sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)}
        for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT"):
            if hasattr(socket, name):
                found[name] = sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
        return found

    if loop_module == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not installed")
    with asyncio.Runner(loop_factory=import_module(loop_module).new_event_loop) as runner:
        found = runner.run(options())
    assert found.pop("SO_KEEPALIVE")
    expected = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 1500}
    assert found == {name: value for name, value in expected.items() if name in found}
    assert not hasattr(socket, "TCP_KEEPIDLE") or found
