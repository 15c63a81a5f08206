"""The states of a server: every transition of the table happens, no other does, and hooks are told of each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from chuk_sessions.exceptions import NotSent
from chuk_sessions.redis_client.commands import Replay
from chuk_sessions.redis_client.doubt import QUIET
from chuk_sessions.redis_client.node import Node
from chuk_sessions.redis_client.states import TRANSITIONS, Hook, State
from chuk_sessions.redis_client.url import parse_url
from chuk_sessions.redis_client.watchdog import Watchdog
from tests.support.helpers import eventually, time_passes
from tests.support.servers import RedisServer

pytestmark = pytest.mark.redis
NEW, UP, IDLE, RECONNECTING, DOWN, CLOSED = State


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A server that a test may kill."""
    with RedisServer() as server:
        yield server


@asynccontextmanager
async def node_of(url: str, *hooks: Hook) -> AsyncIterator[Node]:
    """Closed at the end, if the test has not."""
    loop, config = asyncio.get_running_loop(), parse_url(url)
    watchdog = Watchdog(loop, config.timeout)
    node = Node(config, loop, watchdog, hooks=hooks)
    try:
        yield node
    finally:
        watchdog.stop()
        await node.close()


def ping(node: Node) -> asyncio.Future[object]:
    return node.call((b"PING",), Replay.READ)


async def is_state(node: Node, state: State) -> None:
    await eventually(lambda: node.state is state)


async def is_hung_up(node: Node, server: RedisServer) -> None:
    """After a quiet time."""
    await time_passes(QUIET)
    server.command("CLIENT", "KILL", "TYPE", "normal")
    await is_state(node, IDLE)


def recorder(told: list[tuple[State, State]]) -> Hook:
    return lambda _, before, now: told.append((before, now))


async def test_every_transition_of_the_table_happens_and_no_other(own_server: RedisServer) -> None:
    told: list[tuple[State, State]] = []
    hook = recorder(told)
    async with node_of(f"{own_server.url}?reconnect_grace=0.05", hook) as node:
        await ping(node)
        own_server.kill()
        await is_state(node, DOWN)
        own_server.restart()
        await is_state(node, UP)
    assert told == [(NEW, UP), (UP, RECONNECTING), (RECONNECTING, DOWN), (DOWN, UP), (UP, CLOSED)]
    async with node_of(f"{own_server.url}?reconnect_grace=30", hook) as node:
        await ping(node)
        own_server.kill()
        await is_state(node, RECONNECTING)
        own_server.restart()
        await is_state(node, UP)
        own_server.kill()
        await is_state(node, RECONNECTING)
    assert told[5:] == [
        (NEW, UP),
        (UP, RECONNECTING),
        (RECONNECTING, UP),
        (UP, RECONNECTING),
        (RECONNECTING, CLOSED),
    ]
    async with node_of(own_server.url, hook) as node:
        with pytest.raises(NotSent):
            await ping(node)
    async with node_of(own_server.url, hook):
        pass
    assert told[10:] == [(NEW, DOWN), (DOWN, CLOSED), (NEW, CLOSED)]
    own_server.restart()
    async with node_of(own_server.url, hook) as node:
        for _ in range(2):
            await ping(node)
            await is_hung_up(node, own_server)
        own_server.kill()
        waiting = ping(node)
        await is_state(node, RECONNECTING)
        own_server.restart()
        await waiting
        await is_hung_up(node, own_server)
    assert told[13:] == [
        (NEW, UP),
        (UP, IDLE),
        (IDLE, UP),
        (UP, IDLE),
        (IDLE, RECONNECTING),
        (RECONNECTING, UP),
        (UP, IDLE),
        (IDLE, CLOSED),
    ]
    assert set(told) == set(TRANSITIONS)


@pytest.mark.parametrize("state", [NEW, RECONNECTING])
async def test_a_transition_that_is_not_in_the_table_is_a_mistake_of_ours(
    own_server: RedisServer, state: State
) -> None:
    told: list[tuple[State, State]] = []
    async with node_of(own_server.url, recorder(told)) as node:
        with pytest.raises(AssertionError, match=f"no transition leads from new to {state.value}"):
            node._link._enter(state)
        assert (node.state, told) == (NEW, [])


async def test_a_hook_that_raises_changes_nothing(own_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """The next one is told, callers get their replies, and the log says which server it was about."""
    told: list[tuple[State, State]] = []

    def raising(address: str, before: State, now: State) -> None:
        raise RuntimeError(f"no metrics for {now.value}")

    async with node_of(own_server.url, raising, recorder(told)) as node:
        assert await ping(node) == b"PONG"
        own_server.command("CLIENT", "KILL", "TYPE", "normal")
        await eventually(lambda: node.reconnects == 1)
        assert await ping(node) == b"PONG"
    assert told == [(NEW, UP), (UP, RECONNECTING), (RECONNECTING, UP), (UP, CLOSED)]
    lines = [record for record in caplog.records if record.exc_info]
    assert {record.getMessage() for record in lines} == {
        f"a hook for the state of Redis at {own_server.host}:{own_server.port} raised"
    }
    assert [record.levelno for record in lines] == [logging.ERROR] * 4
    assert {record.name for record in lines} == {"chuk_sessions.redis_client.node"}


async def test_a_hook_may_send_commands(own_server: RedisServer) -> None:
    """Each of them is settled, in whatever state the server was."""
    calls: list[asyncio.Future[object]] = []

    def hook(address: str, before: State, now: State) -> None:
        calls.append(ping(node))

    async with node_of(f"{own_server.url}?reconnect_grace=0.05", hook) as node:
        assert await ping(node) == b"PONG"
        own_server.kill()
        await is_state(node, DOWN)
        own_server.restart()
        await is_state(node, UP)
        await calls[-1]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [outcome if outcome == b"PONG" else type(outcome) for outcome in outcomes] == [
        b"PONG",  # up
        NotSent,  # reconnecting: it waited until the grace was over
        NotSent,  # down
        b"PONG",  # up again
        NotSent,  # closed
    ]
