"""Calls of several steps on a slow server: all steps together take no longer than one may, and leave nothing behind.

Each reply is late by a part of the timeout, so that each step is in time by itself.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import NotSent, OutcomeUnknown, ProviderError, SessionManager, StorageError
from chuk_sessions.providers import redis
from chuk_sessions.providers.redis.index import UserIndex
from chuk_sessions.providers.redis.patience import BUSY, Patience
from chuk_sessions.redis_client.client import Client
from tests.support import published
from tests.support.helpers import eventually
from tests.support.lateness import Lateness
from tests.support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.support.servers import Server

pytestmark = [pytest.mark.redis, pytest.mark.alone]

TIMEOUT = 0.4
# Their entry is told by the reply alone. If that is lost, it stays until its deadline or until a login needs its place.
UNTOLD = ("delete an alias", "delete a chosen id")
SLACK = 0.05  # seconds
CALLS: dict[str, Callable[[SessionManager], Awaitable[Any]]] = {
    "validate an alias": lambda manager: manager.validate_session("alias"),
    "read an alias": lambda manager: manager.get_session_info("alias"),
    "update an alias": lambda manager: manager.update_session_metadata("alias", {"a": 1}),
    "count in an alias": lambda manager: manager.increment_session_metadata("alias", "n"),
    "extend an alias": lambda manager: manager.extend_session_ttl("alias", 1),
    "delete an alias": lambda manager: manager.delete_session("alias"),
    "renew an alias": lambda manager: manager.renew_session("alias", 60),
    "allocate an alias": lambda manager: manager.allocate_session("alias", "alice"),
    "allocate at the limit": lambda manager: manager.allocate_session(user_id="alice"),
    "allocate a chosen id": lambda manager: manager.allocate_session("new", "bob"),
    "allocate a chosen id at the limit": lambda manager: manager.allocate_session("next", "alice"),
    "extend a chosen id": lambda manager: manager.extend_session_ttl("chosen", 1),
    "renew a chosen id": lambda manager: manager.renew_session("chosen"),
    "delete a chosen id": lambda manager: manager.delete_session("chosen"),
    "list": lambda manager: manager.list_user_sessions("alice"),
    "end all of a user": lambda manager: manager.delete_user_sessions("alice"),
    "end all but one": lambda manager: manager.delete_user_sessions("alice", keep="chosen"),
}


@pytest.fixture
async def proxy(redis_server: Server, redis_url: str) -> AsyncIterator[Proxy]:
    async with Proxy(redis_server.host, redis_server.port) as proxy:
        yield proxy


async def prepare(url: str) -> SessionManager:
    """A user at the limit of three; one has an id that the application chose, one was given a new id."""
    manager = SessionManager("box", redis.factory(url), strict=True, max_sessions_per_user=3)
    await manager.allocate_session("chosen", "alice")
    await manager.allocate_session(user_id="alice")
    await manager.allocate_session("alias", "alice")
    assert await manager.renew_session("alias", 3600) is not None
    for call in CALLS.values():  # the server has all scripts now
        await call(SessionManager("other", redis.factory(url), strict=True, max_sessions_per_user=3))
    return manager


async def phantoms(url: str) -> list[str]:
    """What is in the index without a session."""
    index, client = UserIndex(Client(url), "box"), Client(url)
    members = [member for user in ("alice", "bob") for member in (await index.members(user))[1]]
    return [each.name for each in members if not await index._stands(client.begin(), each)]


async def is_in_time(call: Callable[[], Awaitable[Any]]) -> None:
    """It ends by its deadline; if the deadline ended it, that is what its error says."""
    clock = asyncio.get_running_loop().time
    begun, error = clock(), None
    with Lateness() as lateness:
        try:
            await call()
        except StorageError as exc:
            error = exc
    assert clock() - begun <= lateness.allow(1.1 * TIMEOUT + SLACK), error
    assert error is None or isinstance(error.__cause__, (NotSent, OutcomeUnknown)), error
    assert "client" not in str(error), error


@pytest.mark.parametrize("late", [0.35, 0.6])
@pytest.mark.parametrize("name", CALLS)
async def test_all_steps_of_a_call_have_one_deadline(proxy: Proxy, redis_url: str, name: str, late: float) -> None:
    """And what the call had filed in the index goes again, once the server is as fast as usual."""
    manager = await prepare(f"{proxy.url}?socket_timeout={TIMEOUT:g}")
    proxy.delay = late * TIMEOUT
    await is_in_time(lambda: CALLS[name](manager))
    proxy.delay = 0
    if name not in UNTOLD:
        await eventually(is_clean(redis_url))


@pytest.mark.parametrize("name", [name for name in CALLS if "chosen" in name and name not in UNTOLD])
@pytest.mark.parametrize("replies", range(4))
async def test_a_call_that_gets_no_more_replies_leaves_nothing_in_the_index(
    proxy: Proxy, redis_url: str, name: str, replies: int
) -> None:
    """The server carries out what is sent, and the connection is cut when so many replies have come."""
    manager = await prepare(f"{proxy.url}?socket_timeout={TIMEOUT:g}")
    proxy.cut_after = replies
    await is_in_time(lambda: CALLS[name](manager))
    proxy.cut_after = None
    await eventually(is_clean(redis_url))


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.usefixtures("legacy_read")
async def test_what_reads_published_sessions_adds_nothing(proxy: Proxy, redis_server: Server, name: str) -> None:
    manager = await prepare(f"{proxy.url}?socket_timeout={TIMEOUT:g}")
    published.put(redis_server, "new", user_id="bob")
    proxy.delay = 0.6 * TIMEOUT
    await is_in_time(lambda: CALLS[name](manager))


def is_clean(url: str) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        return not await phantoms(url)

    return ask


async def test_who_is_to_blame_for_a_change_that_is_not_made(redis_url: str) -> None:
    """Others, if it was tried again and again, else the server, which took its time."""
    client = Client(f"{redis_url}?socket_timeout={TIMEOUT:g}")
    deployment, tick = client.begin()
    with pytest.raises(NotSent, match="first steps"):
        await Patience(client, (deployment, tick - 100)).pause()
    patience = Patience(client, (deployment, tick))
    clock, tries = asyncio.get_running_loop().time, 0
    begun = clock()

    async def try_on() -> None:
        nonlocal tries
        while True:
            await patience.pause()
            tries += 1

    with Lateness() as lateness, pytest.raises(ProviderError, match="other clients") as caught:
        await try_on()
    assert not isinstance(caught.value, NotSent)
    assert tries >= BUSY
    assert TIMEOUT <= clock() - begun <= lateness.allow(1.1 * TIMEOUT + SLACK)
