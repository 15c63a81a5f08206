"""Sessions on Redis, seen from the server: records, keys, lifetimes, and servers that refuse."""

from __future__ import annotations

import asyncio
import time
from operator import attrgetter
from typing import TYPE_CHECKING

import pytest

from chuk_sessions import ProviderError, SessionManager, StorageError
from chuk_sessions.ids import quote_part, session_key, user_tag
from chuk_sessions.providers.redis import factory as redis_factory
from chuk_sessions.providers.redis.index import UserIndex
from chuk_sessions.providers.redis.keys import index_key
from chuk_sessions.providers.redis.pages import BEGINNING, Page, Place
from chuk_sessions.providers.redis.store import RedisSessionStore
from chuk_sessions.redis_client import server_clock
from chuk_sessions.redis_client.client import Call
from tests.support.helpers import eventually
from tests.support.servers import RedisServer

if TYPE_CHECKING:
    from chuk_sessions.stores.contract import SessionStore
    from tests.support.servers import Server

pytestmark = pytest.mark.redis
KEY = session_key("box", "id")
MIX_UPS = {
    "another type": ("SET", KEY, "text"),
    "another version": ("HSET", KEY, "v", "2", "accessed", "1", "expires", "9"),
    "no record": ("HSET", KEY, "accessed", "never"),
    "no version": ("HSET", KEY, "accessed", "1"),
}


def open_store(url: str) -> SessionStore:
    from chuk_sessions.providers import redis

    return redis.factory(url).session_store("box")


def milliseconds_left(server: Server) -> int:
    left = server.command("PTTL", KEY)
    assert isinstance(left, int)
    return left


def fields(server: Server) -> dict[str, str]:
    reply = server.command("HGETALL", KEY)
    assert isinstance(reply, list)
    texts = [str(part) for part in reply]
    return dict(zip(texts[::2], texts[1::2], strict=True))


async def test_one_key_per_session(redis_server: Server, redis_url: str) -> None:
    """Named as documented, with one field per metadata key; deleting leaves nothing behind, in the index either."""
    store = open_store(redis_url)
    await store.create("id", "alice", 60, {"role": "admin", "n": [1]})
    keys = redis_server.command("KEYS", "*")
    assert isinstance(keys, list)
    assert sorted(map(str, keys)) == [KEY, index_key("box", user_tag("box", "alice"))]
    stored = fields(redis_server)
    assert {name: stored[name] for name in ("v", "user", "m:role", "m:n")} == {
        "v": "2+",  # in its user's index, which is elsewhere: the id is a chosen one
        "user": "alice",
        "m:role": '"admin"',
        "m:n": "[1]",
    }
    assert set(stored) == {"v", "user", "m:role", "m:n", "created", "accessed", "expires", "inc"}
    assert await store.delete("id") is True
    assert redis_server.command("DBSIZE") == 0


async def test_a_merge_writes_only_what_it_changes(redis_server: Server, redis_url: str) -> None:
    """A field that somebody else wrote meanwhile, even in text of their own, is not touched."""
    store = open_store(redis_url)
    await store.create("id", None, 60, {"a": 1})
    redis_server.command("HSET", KEY, "m:a", "[ 1 ]")
    await store.update("id", {"b": 2}, False)
    assert fields(redis_server)["m:a"] == "[ 1 ]"


async def test_lifetimes_on_the_server(redis_server: Server, redis_url: str) -> None:
    """Set on creation, moved by extending only."""
    store = open_store(redis_url)
    await store.create("id", None, 100, {})
    assert 95_000 < milliseconds_left(redis_server) <= 100_001
    await store.touch("id", 0)
    await store.update("id", {"a": 1}, True)
    await store.create("id", None, 5, {})
    assert 95_000 < milliseconds_left(redis_server) <= 100_001
    await store.extend("id", 100)
    assert 195_000 < milliseconds_left(redis_server) <= 200_001


async def test_never_without_a_lifetime(redis_server: Server, redis_url: str) -> None:
    """Not even for a moment, however many fields there are: whoever looks finds a lifetime."""
    store = open_store(redis_url)
    creating = asyncio.ensure_future(store.create("id", None, 100, {f"k{n}": n for n in range(20_000)}))
    await eventually(lambda: redis_server.command("EXISTS", KEY))
    assert milliseconds_left(redis_server) > 0
    assert await creating is None


async def test_an_expired_session_leaves_nothing(redis_server: Server, redis_url: str) -> None:
    store = open_store(redis_url)
    await store.create("id", "alice", 0.05, {"a": 1})
    await eventually(lambda: redis_server.command("DBSIZE") == 0)


async def test_any_application_clock_will_do(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All times are the server's: an application whose clock is a year off does no harm."""
    store = open_store(redis_url)
    monkeypatch.setattr("time.time", lambda: 1e9)
    await store.create("id", None, 60, {})
    assert await store.touch("id", 0) is True
    record = await store.read("id")
    assert record is not None
    assert record.accessed >= record.created > 1.7e9


async def test_a_server_that_forgot_the_scripts(redis_server: Server, redis_url: str) -> None:
    """After a restart or a failover every operation works as before."""
    store = open_store(redis_url)
    await store.create("id", None, 60, {})
    redis_server.command("SCRIPT", "FLUSH")
    assert await store.touch("id", 0) is True
    redis_server.command("SCRIPT", "FLUSH")
    assert await store.update("id", {"a": 1}, False) is True
    redis_server.command("SCRIPT", "FLUSH")
    assert await store.extend("id", 1) is True


@pytest.mark.parametrize("command", MIX_UPS.values(), ids=MIX_UPS)
async def test_validating_seldom_does_not_take_anything_for_a_session(
    redis_server: Server, redis_url: str, command: tuple[str, ...]
) -> None:
    """With an interval, validation is a plain read, which must be as careful as the script."""
    store = open_store(redis_url)
    await store.create("good", None, 60, {})
    assert await store.touch("good", 60) is True
    redis_server.command(*command)
    assert await store.touch("id", 60) is False
    assert await store.touch("good", 60) is True


async def test_validating_seldom_is_one_read(redis_server: Server, redis_url: str) -> None:
    """Once the server's clock is known, a fresh session costs no script; counted by the server."""
    store = open_store(redis_url)
    await store.create("id", None, 60, {})
    await store.touch("id", 60)
    redis_server.command("CONFIG", "RESETSTAT")
    for _ in range(10):
        assert await store.touch("id", 60) is True
    calls = {name: info.split(",")[0] for name, info in redis_server.info("commandstats").items()}
    assert calls.get("cmdstat_hmget") == "calls=10"
    assert not {"cmdstat_evalsha", "cmdstat_eval", "cmdstat_hset"} & set(calls)


async def test_odd_sandboxes_and_ids_on_the_server(redis_server: Server, redis_url: str) -> None:
    from chuk_sessions.providers import redis

    store = redis.factory(redis_url).session_store("a:b {c}")
    await store.create("x*{y}", None, 60, {})
    assert redis_server.command("KEYS", "*") == [session_key(quote_part("a:b {c}"), "x*{y}")]


class TestRefusals:
    """A server that says no is a fault of the storage, not a session that is not found."""

    @pytest.mark.parametrize("denied", ["hgetall", "evalsha", "hmget", "unlink", "time"])
    async def test_no_permission(self, denied: str) -> None:
        with RedisServer(f"user limited on >pw ~* +@all -{denied}") as server:
            full, limited = open_store(server.url), open_store(server.url_for("limited", "pw"))
            await full.create("id", None, 60, {})
            await full.touch("id", 0)
            with pytest.raises(ProviderError, match=r"(?i)permission|can't run this command"):
                await self._use_all(limited)
            assert await full.read("id") is not None

    @staticmethod
    async def _use_all(store: SessionStore) -> None:
        await store.read("id")
        await store.touch("id", 0)
        await store.delete("id")

    async def test_out_of_memory(self) -> None:
        """A full server: what would write more is an error with the reason and changes nothing; the rest works."""
        with RedisServer("maxmemory-policy noeviction") as server:
            from chuk_sessions.providers import redis

            manager = SessionManager("box", redis.factory(server.url), strict=True)
            await manager.allocate_session("id", custom_metadata={"a": 1})
            old = await manager.get_session_info("id")
            server.command("CONFIG", "SET", "maxmemory", "1")
            with pytest.raises(StorageError, match="OOM"):
                await manager.allocate_session("new", custom_metadata={"a": 1})
            with pytest.raises(StorageError, match="OOM"):
                await manager.update_session_metadata("id", {"b": 2})
            assert await manager.get_session_info("new") is None
            assert await manager.get_session_info("id") == old
            assert await manager.delete_session("id") is True


async def test_a_session_that_is_renewed_meanwhile_is_listed(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice: each time after it was looked up whose sessions there are, and before they are read."""
    manager = SessionManager("box", redis_factory(redis_url))
    ids = [await manager.allocate_session(user_id="alice") for _ in range(3)]
    read_page, rounds = UserIndex.page, 0

    async def and_then_renew(
        self: UserIndex, call: Call, user_id: str, place: Place = BEGINNING, size: int = 1000
    ) -> Page:
        nonlocal rounds
        found = await read_page(self, call, user_id, place, size)
        rounds += 1
        if rounds < 3:
            new_id = await manager.renew_session(ids[1], 60 * (rounds - 1))
            assert new_id is not None
            ids[1] = new_id
        return found

    monkeypatch.setattr(UserIndex, "page", and_then_renew)
    assert [info["session_id"] for info in await manager.list_user_sessions("alice")] == ids


@pytest.mark.parametrize("clock", ["elapsed", "time.time"])
async def test_a_touch_is_written_when_the_clock_of_the_server_has_moved_on(
    redis_server: Server, redis_url: str, monkeypatch: pytest.MonkeyPatch, clock: str
) -> None:
    """While this machine was suspended, which one of its clocks tells; an idle time would end the session else."""
    store = redis_factory(redis_url).session_store("box")
    assert isinstance(store, RedisSessionStore)
    await store.create("id", None, 3600, {})
    assert await store.touch("id", 60)
    accessed = int(fields(redis_server)["accessed"]) - 61_000_000
    redis_server.command("HSET", KEY, "accessed", str(accessed))
    store._client.deployment().clock_of(KEY).learn(time.time() - 61, server_clock.moment())  # as it was then
    later = attrgetter(clock)(server_clock)() + 61
    monkeypatch.setattr(f"chuk_sessions.redis_client.server_clock.{clock}", lambda: later)
    assert await store.touch("id", 60)
    assert int(fields(redis_server)["accessed"]) > accessed
