"""Calls of several steps on a slow server: all steps together take no longer than one may, and leave nothing behind.

Each reply is late by a part of the timeout, so that each step is in time by itself.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import NotSent, OutcomeUnknown, ProviderError, SessionManager, StorageError
from chuk_sessions.batches import SLICE
from chuk_sessions.providers import redis
from chuk_sessions.providers.redis import index as index_module
from chuk_sessions.providers.redis import store as store_module
from chuk_sessions.providers.redis.index import UserIndex
from chuk_sessions.providers.redis.legacy import store as legacy_module
from chuk_sessions.providers.redis.pages import read_page
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
    return [each.session_id for each in members if not await index._stands(client.begin(), each)]


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


MANY: dict[str, Callable[[SessionManager], Awaitable[Any]]] = {
    "list": lambda manager: manager.list_user_sessions("alice"),
    "end all": lambda manager: manager.delete_user_sessions("alice"),
    "log in at a limit": lambda manager: manager.allocate_session(user_id="alice"),
    "file at a limit": lambda manager: manager.allocate_session("new", "alice"),
}


async def log_in(url: str, made_here: int, chosen: int) -> None:
    """So many sessions of a user, with ids made here and with others."""
    manager = SessionManager("box", redis.factory(url), strict=True)
    ids = [f"my-{number}" for number in range(chosen)]
    requests = [{"user_id": "alice"}] * made_here + [{"session_id": each, "user_id": "alice"} for each in ids]
    assert all(isinstance(each, str) for each in await manager.allocate_sessions(requests))


@pytest.mark.parametrize("legacy", [False, True], ids=["plain", "legacy read"])
@pytest.mark.parametrize("name", MANY)
async def test_all_steps_for_a_user_with_hundreds_of_sessions_have_one_deadline(
    proxy: Proxy, redis_url: str, name: str, legacy: bool, request: pytest.FixtureRequest
) -> None:
    if legacy:
        request.getfixturevalue("legacy_read")
    await log_in(redis_url, 250, 200)
    url = f"{proxy.url}?socket_timeout={TIMEOUT:g}"
    manager = SessionManager("box", redis.factory(url), strict=True, max_sessions_per_user=3)
    await MANY[name](SessionManager("other", redis.factory(url), strict=True, max_sessions_per_user=3))
    proxy.delay = 0.2 * TIMEOUT
    await is_in_time(lambda: MANY[name](manager))


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user with over ten sessions is a large one."""
    for module in (index_module, store_module, legacy_module):
        monkeypatch.setattr(module, "PAGE", 10)
    monkeypatch.setattr(index_module, "read_page", partial(read_page, size=10))


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("name", MANY)
async def test_what_is_done_for_a_large_user_ends_though_the_server_is_slow(
    proxy: Proxy, redis_url: str, name: str
) -> None:
    """Each page has the time of a call: all together takes longer than that."""
    await log_in(redis_url, 20, 15)
    url = f"{proxy.url}?socket_timeout={TIMEOUT:g}"
    manager = SessionManager("box", redis.factory(url), strict=True, max_sessions_per_user=3)
    await MANY[name](SessionManager("other", redis.factory(url), strict=True, max_sessions_per_user=3))
    proxy.delay = 0.2 * TIMEOUT
    clock = asyncio.get_running_loop().time
    begun = clock()
    await MANY[name](manager)
    assert clock() - begun > 1.1 * TIMEOUT


@pytest.mark.usefixtures("small_pages", "legacy_read")
@pytest.mark.parametrize("name", ["log in at a limit", "end all but most"])
async def test_few_of_a_large_user_are_kept_out_though_the_server_is_slow(
    proxy: Proxy, redis_url: str, name: str
) -> None:
    """To list the user takes the time of a call: the steps after that have the time of another one."""
    await log_in(redis_url, 20, 15)
    url = f"{proxy.url}?socket_timeout={TIMEOUT:g}"
    other = SessionManager("other", redis.factory(url), strict=True, max_sessions_per_user=1)
    await other.allocate_sessions([{"user_id": "alice"}] * 2)
    await other.delete_user_sessions("alice")  # the server knows all scripts now
    manager = SessionManager("box", redis.factory(url), strict=True, max_sessions_per_user=30)
    keep = [session["session_id"] for session in await manager.list_user_sessions("alice")][5:]
    proxy.delay = 0.1 * TIMEOUT
    if name == "log in at a limit":
        await manager.allocate_session(user_id="alice")
    else:
        assert await manager.delete_user_sessions("alice", keep=keep) == 5
    proxy.delay = 0
    assert len(await manager.list_user_sessions("alice")) == 30


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("replies", [2, 5])
@pytest.mark.parametrize("name", MANY)
async def test_a_server_that_stalls_amid_a_large_user_is_given_up_in_time(
    proxy: Proxy, redis_url: str, name: str, replies: int
) -> None:
    """From the last reply on the call takes no longer than any."""
    await log_in(redis_url, 20, 15)
    url = f"{proxy.url}?socket_timeout={TIMEOUT:g}"
    manager = SessionManager("box", redis.factory(url), strict=True, max_sessions_per_user=3)
    await MANY[name](SessionManager("other", redis.factory(url), strict=True, max_sessions_per_user=3))
    proxy.swallow_after = replies
    clock = asyncio.get_running_loop().time
    with Lateness() as lateness, pytest.raises(StorageError):
        await MANY[name](manager)
    assert proxy.swallowed_at is not None
    assert clock() - proxy.swallowed_at <= lateness.allow(1.1 * TIMEOUT + SLACK)


BATCHES: dict[str, Callable[[SessionManager, int], Awaitable[list[Any]]]] = {
    "allocate": lambda manager, number: manager.allocate_sessions([{"user_id": "alice"}] * number),
    "validate": lambda manager, number: manager.validate_sessions(["id"] * number),
    "delete": lambda manager, number: manager.delete_sessions(["id"] * number),
}


@pytest.mark.parametrize("name", BATCHES)
async def test_a_server_that_stalls_ends_a_batch_of_thousands_in_time(proxy: Proxy, redis_url: str, name: str) -> None:
    """If none of some hundred items was answered, the others are not tried."""
    manager = SessionManager("box", redis.factory(f"{proxy.url}?socket_timeout={TIMEOUT:g}&reconnect_grace=30"))
    assert not [each for each in await BATCHES[name](manager, 10) if isinstance(each, Exception)]
    proxy.swallowing = True
    clock = asyncio.get_running_loop().time
    begun = clock()
    with Lateness() as lateness:
        results = await BATCHES[name](manager, 5 * SLICE)
    assert clock() - begun <= lateness.allow(1.1 * TIMEOUT + SLACK)
    assert len(results) == 5 * SLICE
    assert {type(each) for each in results} == {StorageError}
    assert {type(each.__cause__) for each in results[SLICE:]} == {NotSent}


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
