"""A manager with a near cache on a real server: what comes from the cache, and every interleaving that must not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from itertools import count
from typing import Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.providers import redis
from chuk_sessions.providers.redis.near import NearSessionStore
from chuk_sessions.providers.redis.record import VERSION
from chuk_sessions.redis_client.entries import MAX_ENTRY_BYTES
from chuk_sessions.redis_client.tracking import Tracking
from chuk_sessions.testing.samples import same
from tests.support.helpers import eventually, time_passes
from tests.support.listening import listening
from tests.support.proxy import Proxy
from tests.support.servers import RedisServer, Server
from tests.support.wire import Wire, run_without_suspending

METADATA = {"role": "editor", "list": [1, 2.5, None, {"a": "\u00e9"}], "nan": float("nan"), "big": 2**70}
_numbers = count()


class Near:
    """A manager with a near cache, another process' manager without, and a session."""

    def __init__(self, url: str, bound: float = 60, interval: float = 60, **options: Any) -> None:
        query = "&" if "?" in url else "?"
        self.factory = redis.factory(f"{url}{query}client_name=near-{next(_numbers)}")
        self.manager = SessionManager(
            "box", self.factory, touch_interval=interval, near_cache=bound, strict=True, **options
        )
        self.other = SessionManager("box", redis.factory(f"{url}{query}client_name=other"), strict=True, **options)
        self.id = ""

    @property
    def tracking(self) -> Tracking:
        store = self.manager._store
        assert isinstance(store, NearSessionStore)
        return store._node().tracking

    def number(self, name: str) -> float:
        return self.factory.stats()[f"near_{name}"]

    def from_cache(self, call: Callable[[], Any]) -> Any:
        """The result of a call that must not leave this process."""
        before = self.number("hits")
        result = run_without_suspending(call())
        assert self.number("hits") == before + 1
        return result

    def is_cached(self, session_id: str | None = None) -> bool:
        """Whether the next read of the session would be answered here."""
        store = self.manager._store
        assert isinstance(store, NearSessionStore)
        return store._known_key(session_id or self.id) in self.tracking.entries

    async def begin(self, **options: Any) -> Near:
        """Allocate the session, and read it until it is in the cache."""
        options = {"user_id": "alice", "custom_metadata": METADATA} | options
        self.id = await self.manager.allocate_session(**options)
        await self.warm()
        return self

    async def warm(self) -> None:
        while not (self.is_cached() and self.tracking.rank == 2):
            assert await self.manager.get_session_info(self.id) is not None


@pytest.fixture
async def near(redis_url: str) -> Near:
    return await Near(redis_url).begin()


async def test_reads_are_answered_here(near: Near) -> None:
    """Each call that reads, with the server's own answer and in a copy of its own."""
    told = await near.other.get_session_info(near.id)
    assert told is not None
    for _ in range(2):
        info = near.from_cache(lambda: near.manager.get_session_info(near.id))
        assert same(info, told)
        info["custom_metadata"]["list"].append("the caller's own")
    metadata = near.from_cache(lambda: near.manager.get_session_metadata(near.id))
    assert same(metadata.custom_metadata, told["custom_metadata"])
    assert near.from_cache(lambda: near.manager.validate_session(near.id)) is True
    assert same(near.from_cache(lambda: near.manager.open_session(near.id)), told)
    assert same(near.from_cache(lambda: near.manager.open_session(near.id, owner="alice")), told)


async def test_behind_sentinels(sentinel_url: str) -> None:
    """The connection is to the master that they name."""
    near = await Near(sentinel_url).begin()
    assert near.from_cache(lambda: near.manager.validate_session(near.id)) is True
    await near.other.delete_session(near.id)
    await eventually(lambda: not near.is_cached())
    assert await near.manager.validate_session(near.id) is False


async def test_many_validations_are_answered_here(near: Near) -> None:
    before = near.number("hits")
    assert await near.manager.validate_sessions([near.id] * 300) == [True] * 300
    assert near.number("hits") == before + 300


async def test_a_hit_sends_nothing(near: Near, wire: Wire) -> None:
    """The exact costs are in tests/redis/test_exact_costs.py."""
    wire.clear()
    await asyncio.gather(*[near.manager.get_session_info(near.id) for _ in range(50)])
    assert wire.writes == []


async def test_no_is_never_answered_here(near: Near, wire: Wire) -> None:
    """An absent session, and a session of another user, are what the server says."""
    for call in (
        lambda: near.manager.validate_session("unknown"),
        lambda: near.manager.get_session_info("unknown"),
        lambda: near.manager.open_session(near.id, owner="bob"),
    ):
        for _ in range(2):
            wire.clear()
            assert not await call()
            assert wire.writes


CHANGES: dict[str, Callable[[SessionManager, str], Awaitable[Any]]] = {
    "delete": lambda manager, session_id: manager.delete_session(session_id),
    "delete many": lambda manager, session_id: manager.delete_sessions([session_id]),
    "delete user": lambda manager, session_id: manager.delete_user_sessions("alice"),
    "thorough": lambda manager, session_id: manager.delete_user_sessions("alice", thorough=True),
    "update": lambda manager, session_id: manager.update_session_metadata(session_id, {"role": "reader"}),
    "replace": lambda manager, session_id: manager.update_session_metadata(session_id, {"a": 1}, merge=False),
    "remove": lambda manager, session_id: manager.update_session_metadata(session_id, {}, remove=["role"]),
    "increment": lambda manager, session_id: manager.increment_session_metadata(session_id, "n"),
    "extend": lambda manager, session_id: manager.extend_session_ttl(session_id, 1),
    "set ttl": lambda manager, session_id: manager.set_session_ttl(session_id, 1),
    "renew": lambda manager, session_id: manager.renew_session(session_id),
    "renew with grace": lambda manager, session_id: manager.renew_session(session_id, 60),
    "allocate": lambda manager, session_id: manager.allocate_session(session_id, "alice"),
}


@pytest.mark.parametrize("name", CHANGES)
async def test_a_change_of_this_loop_is_seen_at_once(near: Near, name: str) -> None:
    """From the call on, by a read that begins in the same turn; and by every read after it."""
    await near.warm()
    change = asyncio.ensure_future(CHANGES[name](near.manager, near.id))
    await asyncio.sleep(0)
    if name not in ("delete many", "delete user", "thorough"):  # these begin with something else
        assert not near.is_cached()
    await change
    for _ in range(3):
        assert same(await near.manager.get_session_info(near.id), await near.other.get_session_info(near.id))
    assert await near.manager.validate_session(near.id) is await near.other.validate_session(near.id)


@pytest.mark.parametrize("name", CHANGES)
async def test_a_change_of_another_process_is_told(near: Near, name: str) -> None:
    """By a push: the bound of a minute has no part in it."""
    await near.warm()
    before = near.number("invalidations")
    await CHANGES[name](near.other, near.id)
    await eventually(lambda: near.number("invalidations") > before)
    assert same(await near.manager.get_session_info(near.id), await near.other.get_session_info(near.id))
    assert await near.manager.validate_session(near.id) is await near.other.validate_session(near.id)


async def test_a_change_by_a_manager_without_a_cache_is_seen_at_once(near: Near) -> None:
    """If it has the URL of the manager with one: they share the connection."""
    plain = SessionManager("box", near.factory, strict=True)
    for _ in range(20):
        await near.warm()
        assert await plain.increment_session_metadata(near.id, "n") is not None
        assert not near.is_cached()
    async with near.factory() as values:
        await near.warm()
        store = near.manager._store
        assert isinstance(store, NearSessionStore)
        await values.delete(store._known_key(near.id))
        assert await near.manager.validate_session(near.id) is False


async def test_victims_of_a_limit_are_gone_at_once(redis_url: str) -> None:
    """The process that creates a session too many knows that the oldest has ended."""
    near = await Near(redis_url, max_sessions_per_user=1).begin()
    second = await near.manager.allocate_session(user_id="alice")
    assert not near.is_cached()
    assert await near.manager.validate_session(near.id) is False
    assert await near.manager.validate_session(second) is True


async def test_the_last_change_of_several_processes_wins(near: Near) -> None:
    """After a change of our own another process' change is told too: with NOLOOP it would not be."""
    for number in range(20):
        await near.warm()
        await near.manager.update_session_metadata(near.id, {"n": -1})
        await near.warm()
        await near.other.update_session_metadata(near.id, {"n": number})
        await eventually(lambda: not near.is_cached())
        info = await near.manager.get_session_info(near.id)
        assert info is not None
        assert info["custom_metadata"]["n"] == number


async def test_reads_and_changes_at_the_same_time_end_equal(near: Near) -> None:
    """Many callers of both processes; when all is quiet, the cache has what the server has."""

    async def change(manager: SessionManager) -> None:
        for _ in range(50):
            await manager.increment_session_metadata(near.id, "n")

    async def read() -> None:
        last = 0
        for _ in range(300):
            info = await near.manager.get_session_info(near.id)
            assert info is not None
            assert (last := max(last, number := info["custom_metadata"].get("n", 0))) == number, "it went back"
            await asyncio.sleep(0)

    await asyncio.gather(change(near.manager), change(near.other), *[read() for _ in range(5)])
    await near.warm()
    assert near.from_cache(lambda: near.manager.get_session_info(near.id))["custom_metadata"]["n"] == 100
    assert near.tracking.pending == 0


async def test_a_touch_that_is_due_goes_to_the_server(redis_url: str) -> None:
    """The cache must not keep a session from being touched: then it would end of idleness, though it is in use."""
    near = await Near(redis_url, bound=0.2, interval=0.2, idle_ttl_minutes=0.01).begin()
    first = (await near.other.get_session_info(near.id))["last_accessed"]  # type: ignore[index]
    for _ in range(10):
        await time_passes(0.1)
        assert await near.manager.validate_session(near.id) is True
        assert await near.manager.open_session(near.id) is not None
    assert (await near.other.get_session_info(near.id))["last_accessed"] > first  # type: ignore[index]


@pytest.mark.parametrize("idle", [None, 0.005], ids=["lifetime", "idle"])
async def test_no_deadline_is_overstayed(redis_url: str, idle: float | None) -> None:
    """The server does not push an expiry in time; the cache knows the deadline."""
    options = {} if idle is None else {"idle_ttl_minutes": idle}
    near = await Near(redis_url, bound=0.15, interval=0.15, **options).begin(ttl_hours=0.3 / 3600)
    info = await near.manager.get_session_info(near.id)
    assert info is not None
    deadline = datetime.fromisoformat(info.get("idle_expires_at", info["expires_at"])).timestamp()
    while True:
        hits, asked = near.number("hits"), time.time()
        if await near.manager.get_session_info(near.id) is None:
            break
        assert asked < deadline or near.number("hits") == hits  # the server counts in milliseconds
    assert near.number("hits") > 0


async def test_an_alias_is_never_kept(near: Near) -> None:
    """It leads to the session for as long as the server says."""
    new_id = await near.manager.renew_session(near.id, 60)
    assert new_id is not None
    for _ in range(3):
        info = await near.manager.get_session_info(near.id)
        assert info is not None
        assert info["session_id"] == new_id
        assert await near.manager.validate_session(near.id) is True
        assert not near.is_cached()
    assert near.is_cached(new_id)


async def test_a_record_that_cannot_be_read_is_not_kept(near: Near, redis_server: Server) -> None:
    """Not a record of another version, and not one with odd values; each is absent, as without a cache."""
    store = near.manager._store
    assert isinstance(store, NearSessionStore)
    for fields in (("v", "9"), ("m:role", "{"), ("accessed", "soon")):
        await near.warm()
        redis_server.command("HSET", store._known_key(near.id), *fields)
        await eventually(lambda: not near.is_cached())
        for _ in range(3):
            assert await near.manager.get_session_info(near.id) is None
        redis_server.command(
            "HSET", store._known_key(near.id), "v", VERSION.decode(), "m:role", "1", "accessed", "1767225600000000"
        )


async def test_a_large_session_is_validated_as_without_a_cache(near: Near, wire: Wire) -> None:
    """By a few fields: what is not kept is not read at each validation. A session that gets smaller is kept again."""
    session_id = await near.manager.allocate_session(custom_metadata={"a": "x" * MAX_ENTRY_BYTES})
    assert await near.manager.validate_session(session_id) is True
    for _ in range(2):
        wire.clear()
        assert await near.manager.validate_session(session_id) is True
        assert wire.commands == ["CLIENT", "HMGET"]  # the first so that the server does not track the key
    assert await near.manager.update_session_metadata(session_id, {}, merge=False)
    assert await near.manager.get_session_info(session_id) is not None
    assert near.from_cache(lambda: near.manager.validate_session(session_id)) is True


async def test_everything_is_flushed_with_the_database(near: Near, redis_server: Server) -> None:
    redis_server.command("FLUSHALL")
    await eventually(lambda: not near.is_cached())
    assert await near.manager.validate_session(near.id) is False


async def test_a_server_that_forgets_a_key_says_so(own_server: RedisServer) -> None:
    """tracking-table-max-keys: the server drops keys from its table, and pushes them."""
    own_server.command("CONFIG", "SET", "tracking-table-max-keys", "10")
    near = await Near(own_server.url).begin()
    ids = [await near.manager.allocate_session() for _ in range(50)]
    for session_id in ids:
        await near.manager.get_session_info(session_id)
    await eventually(lambda: near.number("invalidations") >= 30)
    assert near.number("entries") <= 20
    for session_id in ids:
        await near.other.delete_session(session_id)
    await eventually(lambda: not any(near.is_cached(session_id) for session_id in ids))


async def test_the_bound_on_entries_holds(near: Near) -> None:
    near.tracking.entries._max_entries = 20
    ids = [await near.manager.allocate_session() for _ in range(50)]
    for session_id in ids:
        assert await near.manager.validate_session(session_id) is True
    assert near.number("entries") == 20
    assert near.number("evictions") >= 30
    assert near.manager.get_cache_stats()["cached_sessions"] == 20


async def test_the_figures_are_true(near: Near, redis_url: str) -> None:
    stats = near.manager.get_cache_stats()
    assert stats["cached_sessions"] == 1
    assert stats["max_cache_size"] == 10_000
    another = SessionManager("another", near.factory, touch_interval=60, near_cache=1)
    assert another.get_cache_stats()["cached_sessions"] == 0
    session_id = await another.allocate_session()
    await another.get_session_info(session_id)
    assert another.get_cache_stats()["cached_sessions"] == 1
    assert near.manager.get_cache_stats()["cached_sessions"] == 1
    assert near.number("entries") == 2
    assert near.number("bytes") > 0
    assert near.number("state") == 2
    assert await near.manager.cleanup_expired_sessions() == 0
    assert not any(name.startswith("near") for name in redis.factory(f"{redis_url}?client_name=plain").stats())


async def test_cancelled_callers_leave_nothing(near: Near) -> None:
    ids = [await near.manager.allocate_session() for _ in range(100)]
    for turns in range(3):
        tasks = [asyncio.create_task(near.manager.get_session_info(session_id)) for session_id in ids]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await near.manager.get_session_info("unknown")  # after all replies
    assert near.tracking.pending == 0
    assert await near.manager.validate_session(near.id) is True


async def test_a_lost_connection_drops_everything(near: Near, redis_server: Server) -> None:
    redis_server.command("CLIENT", "KILL", "TYPE", "normal")
    await eventually(lambda: not near.is_cached())
    await near.other.delete_session(near.id)
    assert await near.manager.validate_session(near.id) is False
    near.id = await near.manager.allocate_session()
    await near.warm()


async def test_a_read_that_is_sent_again_is_not_kept(redis_server: Server, redis_url: str) -> None:
    """Its connection was lost before the reply; the next connection tracks nothing yet."""
    async with Proxy(redis_server.host, redis_server.port) as proxy:
        near = await Near(proxy.url).begin()
        near.tracking.evict([near.manager._store._known_key(near.id)])  # type: ignore[attr-defined]
        proxy.holding = True
        reading = asyncio.create_task(near.manager.get_session_info(near.id))
        await eventually(lambda: near.tracking.pending == 1 and proxy._held)
        proxy.holding = False
        proxy.drop_held()
        proxy.cut()
        assert await reading is not None
        assert not near.is_cached()
        await near.other.delete_session(near.id)
        assert await near.manager.validate_session(near.id) is False


async def test_another_server_behind_the_connection_is_noticed(
    redis_server: Server, redis_url: str, target: RedisServer
) -> None:
    """A proxy that leads an open connection to another server: the fence finds no protocol 3 there."""
    async with SwappingProxy(redis_server) as proxy:
        near = await Near(proxy.url, bound=0.3).begin()
        await proxy.swap(target)
        await eventually(lambda: _is_refused(near))
        assert not near.is_cached()
        assert await near.manager.validate_session(near.id) is False


async def _is_refused(near: Near) -> bool:
    await near.manager.get_session_info(near.id)
    return near.number("state") == 0


class SwappingProxy:
    """Leads one connection at a time to a server, and may lead it to another one while it is open."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._tasks: set[asyncio.Task[None]] = set()
        self._upstream: asyncio.StreamWriter | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._listening: AbstractAsyncContextManager[str] = listening(self._link)
        self._address = ""

    @property
    def url(self) -> str:
        return f"redis://{self._address}"

    async def __aenter__(self) -> SwappingProxy:
        self._address = await self._listening.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._listening.__aexit__(None, None, None)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._upstream is not None:
            self._upstream.transport.abort()
            await asyncio.sleep(0)

    async def swap(self, server: Server) -> None:
        old, self._server = self._upstream, server
        await self._connect()
        assert old is not None
        old.transport.abort()

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._writer is not None and not self._writer.is_closing():  # a manager without a cache
            writer.transport.abort()
            return
        self._writer = writer
        await self._connect()
        while data := await reader.read(1 << 16):
            assert self._upstream is not None
            self._upstream.write(data)

    async def _connect(self) -> None:
        replies, self._upstream = await asyncio.open_connection(self._server.host, self._server.port)
        task = asyncio.create_task(self._forward(replies, self._upstream))
        self._tasks.add(task)

    async def _forward(self, replies: asyncio.StreamReader, upstream: asyncio.StreamWriter) -> None:
        while data := await replies.read(1 << 16):
            if self._writer is not None and upstream is self._upstream:
                self._writer.write(data)


async def test_demotion_under_a_living_connection_is_noticed(own_server: RedisServer, target: RedisServer) -> None:
    """The server becomes a replica and says nothing; within the bound the cache is off."""
    near = await Near(own_server.url, bound=0.3).begin()
    own_server.command("REPLICAOF", target.host, str(target.port))
    try:
        await eventually(lambda: _is_refused(near))
        assert not near.is_cached()
    finally:
        own_server.command("REPLICAOF", "NO", "ONE")


async def test_two_loops_have_a_cache_each(redis_url: str) -> None:
    """A change in one loop is told to the other by the server."""
    near = await Near(redis_url).begin()

    async def in_another_loop() -> None:
        await near.warm()
        near.from_cache(lambda: near.manager.get_session_info(near.id))
        stats = near.manager.get_cache_stats()
        assert (stats["cached_sessions"], stats["max_cache_size"]) == (2, 20_000)
        await near.manager.delete_session(near.id)

    await asyncio.to_thread(lambda: asyncio.run(in_another_loop()))
    await eventually(lambda: not near.is_cached())
    assert await near.manager.validate_session(near.id) is False
    assert near.manager.get_cache_stats()["cached_sessions"] == 0


def test_a_loop_that_has_ended_leaves_nothing_but_its_counts(redis_url: str) -> None:
    near = Near(redis_url)

    async def work() -> None:
        await near.begin()
        near.from_cache(lambda: near.manager.get_session_info(near.id))

    for rounds in (1, 2, 3):
        asyncio.run(work())
        assert near.number("hits") == rounds
        assert near.number("entries") == 0
        assert near.manager.get_cache_stats()["cached_sessions"] == 0


async def test_a_later_loop_begins_with_nothing(redis_url: str) -> None:
    """What the first loop knew is not served in the second: the session was deleted in between."""
    near = Near(redis_url)
    await asyncio.to_thread(lambda: asyncio.run(near.begin()))
    await near.other.delete_session(near.id)
    assert await near.manager.validate_session(near.id) is False


async def test_legacy_sessions_are_found_as_before(redis_url: str, legacy_read: None) -> None:
    """With SESSION_LEGACY_READ the cache is inside: what it lacks is looked up under the legacy key."""
    near = Near(redis_url)
    near.id = await near.manager.allocate_session(user_id="alice")
    for _ in range(4):
        await near.manager.get_session_info(near.id)
    hits = near.number("hits")
    assert await near.manager.validate_session(near.id) is True
    assert near.number("hits") == hits + 1
    await near.other.delete_session(near.id)
    await eventually(lambda: near.number("entries") == 0)
    assert await near.manager.validate_session(near.id) is False
    assert near.manager.get_cache_stats()["max_cache_size"] == 10_000
