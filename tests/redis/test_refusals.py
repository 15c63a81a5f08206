"""Servers that say no: the error has a type, carries the server's own words, and ends no session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from chuk_sessions import SessionManager, StorageError
from chuk_sessions.exceptions import (
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ServerError,
    WrongTypeError,
)
from chuk_sessions.ids import session_key
from chuk_sessions.providers import redis
from chuk_sessions.redis_client.client import Client
from tests.support.helpers import eventually
from tests.support.servers import RedisServer

pytestmark = pytest.mark.redis
KEY = session_key("box", "id")
Call = Callable[[SessionManager], Awaitable[Any]]
WRITES: dict[str, Call] = {
    "allocate": lambda manager: manager.allocate_session("new"),
    "allocate again": lambda manager: manager.allocate_session("id"),
    "validate": lambda manager: manager.validate_session("id"),
    "merge": lambda manager: manager.update_session_metadata("id", {"b": 2}),
    "replace": lambda manager: manager.update_session_metadata("id", {}, merge=False),
    "remove": lambda manager: manager.update_session_metadata("id", {"b": 2}, remove=["a"]),
    "extend": lambda manager: manager.extend_session_ttl("id", 1),
    "delete": lambda manager: manager.delete_session("id"),
}
NEW_DATA = ("allocate", "merge", "replace", "remove")
every_write = pytest.mark.parametrize("call", WRITES.values(), ids=WRITES)
writes_of_new_data = pytest.mark.parametrize("call", [WRITES[name] for name in NEW_DATA], ids=NEW_DATA)


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A server whose settings a test may change."""
    with RedisServer("maxmemory-policy noeviction", "user limited on >pw ~* &* +@all -get -hset -hmget") as server:
        yield server


@pytest.fixture
async def manager(own_server: RedisServer) -> SessionManager:
    """Strict, with one session."""
    manager = SessionManager("box", redis.factory(own_server.url), strict=True)
    await manager.allocate_session("id", custom_metadata={"a": 1})
    return manager


def fill(server: RedisServer) -> None:
    server.command("CONFIG", "SET", "maxmemory", "1")


def demote(server: RedisServer) -> None:
    """To a replica of nobody who answers: it keeps its data and takes no writes."""
    server.command("REPLICAOF", "127.0.0.1", "1")


async def make_unable_to_save(server: RedisServer) -> None:
    """A folder stands where its file should go, so that it stops taking writes."""
    (server.folder / "dump.rdb").mkdir()
    server.command("CONFIG", "SET", "save", "3600 1")
    server.command("BGSAVE")
    await eventually(lambda: server.info("persistence")["rdb_last_bgsave_status"] == "err")


async def cause_of(call: Call, manager: SessionManager) -> BaseException | None:
    with pytest.raises(StorageError) as caught:
        await call(manager)
    cause = caught.value.__cause__
    assert str(cause) in str(caught.value)  # a log line of the outer one is enough
    return cause


async def test_a_full_server_is_an_out_of_memory_error(own_server: RedisServer) -> None:
    client = Client(own_server.url)
    fill(own_server)
    with pytest.raises(OutOfMemoryError, match=r"^OOM command not allowed"):
        await client.call(b"SET", "k", "v")
    assert await client.call(b"GET", "k") is None


async def test_what_the_user_may_not_do_is_a_no_permission_error(own_server: RedisServer) -> None:
    client = Client(own_server.url_for("limited", "pw"))
    with pytest.raises(NoPermissionError, match=r"^NOPERM .* 'get' command"):
        await client.call(b"GET", "k")
    assert await client.call(b"EXISTS", "k") == 0


async def test_another_kind_of_value_is_a_wrong_type_error(own_server: RedisServer) -> None:
    client = Client(own_server.url)
    await client.call(b"SET", "k", "v")
    with pytest.raises(WrongTypeError, match=r"^WRONGTYPE Operation against a key"):
        await client.call(b"HGETALL", "k")
    assert await client.call(b"GET", "k") == b"v"


async def test_a_replica_is_a_read_only_error(own_server: RedisServer) -> None:
    client = Client(own_server.url)
    await client.call(b"SET", "k", "v")
    demote(own_server)
    with pytest.raises(ReadOnlyError, match=r"^READONLY You can't write"):
        await client.call(b"SET", "k", "w")
    assert await client.call(b"GET", "k") == b"v"


@every_write
async def test_sessions_on_a_replica(own_server: RedisServer, manager: SessionManager, call: Call) -> None:
    """Every call that writes says that it cannot, validating too; the session is there to be read."""
    old = await manager.get_session_info("id")
    demote(own_server)
    cause = await cause_of(call, manager)
    assert type(cause) is ReadOnlyError
    assert cause.code == "READONLY"
    assert "READONLY You can't write against a read only replica" in str(cause)
    assert await manager.get_session_info("id") == old


async def test_validating_tells_the_client_that_its_server_was_demoted(
    own_server: RedisServer, manager: SessionManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it connects anew: its name, or its Sentinels, may know another server by now."""
    monkeypatch.setattr("chuk_sessions.redis_client.node.RENEW_PAUSE", 0.0)
    demote(own_server)
    assert type(await cause_of(WRITES["validate"], manager)) is ReadOnlyError
    await eventually(lambda: redis.factory(own_server.url).stats()["reconnects"] == 1)


@writes_of_new_data
async def test_new_data_for_a_full_server(own_server: RedisServer, manager: SessionManager, call: Call) -> None:
    fill(own_server)
    cause = await cause_of(call, manager)
    assert type(cause) is OutOfMemoryError
    assert cause.code == "OOM"
    assert "OOM command not allowed" in str(cause)


@pytest.mark.parametrize("name", ["validate", "allocate again"])
async def test_calls_of_a_user_that_may_not(own_server: RedisServer, manager: SessionManager, name: str) -> None:
    limited = SessionManager("box", redis.factory(own_server.url_for("limited", "pw")), strict=True)
    assert type(await cause_of(WRITES[name], limited)) is NoPermissionError
    assert await manager.validate_session("id") is True


async def test_a_full_server_ends_no_session(own_server: RedisServer, manager: SessionManager) -> None:
    """The time of last access is left as it was; all else is as before."""
    old = await manager.get_session_info("id")
    fill(own_server)
    assert await manager.validate_session("id") is True
    assert await manager.get_session_info("id") == old
    assert await manager.validate_session("another") is False


async def test_a_full_server_ends_no_session_that_is_in_use(own_server: RedisServer) -> None:
    """One with an idle time stays as long as it is touched: that is written even then, as it takes no memory."""
    manager = SessionManager("box", redis.factory(own_server.url), strict=True, idle_ttl_minutes=10)
    session_id = await manager.allocate_session()
    key = session_key("box", session_id)
    left = own_server.command("PTTL", key)
    before = await manager.get_session_info(session_id)
    fill(own_server)
    own_server.command("PEXPIRE", key, "60000")
    assert await manager.validate_session(session_id) is True
    assert int(str(own_server.command("PTTL", key))) > 500_000 < int(str(left))
    after = await manager.get_session_info(session_id)
    assert before is not None
    assert after is not None
    assert after["idle_expires_at"] > before["idle_expires_at"]


async def test_a_server_that_cannot_save_ends_no_session(own_server: RedisServer, manager: SessionManager) -> None:
    old = await manager.get_session_info("id")
    await make_unable_to_save(own_server)
    assert await manager.validate_session("id") is True
    assert await manager.get_session_info("id") == old
    cause = await cause_of(WRITES["merge"], manager)
    assert isinstance(cause, ServerError)
    assert cause.code == "MISCONF"
    assert "MISCONF" in str(cause)


async def test_an_id_whose_session_has_just_expired_is_free(own_server: RedisServer, manager: SessionManager) -> None:
    """Of a record that the server has yet to remove, nothing shows in the new session."""
    store = redis.factory(own_server.url).session_store("box")
    assert await store.create("id", "bob", 60, {}) is not None
    own_server.command("HSET", KEY, "expires", "1", "user", "alice", "m:old", "1", "other", "x")
    assert await store.create("id", None, 60, {"a": 2, "new": 3}) is None
    fields = own_server.command("HKEYS", KEY)
    assert isinstance(fields, list)
    assert {str(field) for field in fields} == {"v", "created", "accessed", "expires", "m:a", "m:new"}
    info = await manager.get_session_info("id")
    assert info is not None
    assert (info["user_id"], info["custom_metadata"]) == (None, {"a": 2, "new": 3})
    left = own_server.command("TTL", KEY)
    assert isinstance(left, int)
    assert 50 < left <= 61


async def test_many_fields_of_an_expired_record_are_removed(own_server: RedisServer, manager: SessionManager) -> None:
    """More than one command of the script can name."""
    await manager.update_session_metadata("id", {f"k{n}": n for n in range(10_000)})
    own_server.command("HSET", KEY, "expires", "1")
    await manager.allocate_session("id", custom_metadata={"a": 1})
    assert own_server.command("HLEN", KEY) == 5


async def test_an_expired_record_is_whole_or_new(own_server: RedisServer, manager: SessionManager) -> None:
    """A server that refuses the new session has changed nothing of the old record: writing the new one comes first."""
    own_server.command("HSET", KEY, "expires", "1")
    old = own_server.command("HGETALL", KEY)
    fill(own_server)
    assert type(await cause_of(WRITES["allocate again"], manager)) is OutOfMemoryError
    assert own_server.command("HGETALL", KEY) == old
