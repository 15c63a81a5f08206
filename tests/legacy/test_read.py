"""SESSION_LEGACY_READ: sessions of published versions live on, once, and only where they belong."""

from __future__ import annotations

import json
import logging
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import OutOfMemoryError, ProviderError, SessionManager, SessionTakenError, StorageError
from chuk_sessions.ids import session_key
from chuk_sessions.models import iso_timestamp
from chuk_sessions.providers import redis
from chuk_sessions.providers.redis.keys import tombstone_key
from chuk_sessions.providers.redis.legacy import document as legacy
from chuk_sessions.providers.redis.legacy.store import TEXT, LegacyReadingStore
from chuk_sessions.providers.redis.store import RedisSessionStore
from chuk_sessions.providers.redis.transfer.move import Move
from chuk_sessions.redis_client.client import Client
from chuk_sessions.stores.adoption import Adoption
from tests.support import published
from tests.support.helpers import eventually
from tests.support.meddler import Meddler
from tests.support.places import server_or_cluster, sessions_in
from tests.support.servers import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.servers import Server

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("legacy_read")]
redis_server = server_or_cluster
OURS = session_key("box", "id")


UNDECODABLE: dict[str, dict[str, Any]] = {
    "no sandbox": {"sandbox_id": None},
    "a user that is no text": {"user_id": 5},
    "no creation": {"created_at": None},
    "a creation that is no time": {"created_at": "soon"},
    "a creation before the epoch": {"created_at": "1960-01-01T00:00:00Z"},
    "a deadline that is no time": {"expires_at": "soon"},
    "metadata that is no object": {"custom_metadata": [1]},
    "a status that is no text": {"status": 1},
}


@pytest.fixture
def manager(open_process: Callable[[], SessionManager]) -> SessionManager:
    return open_process()


def milliseconds_left(server: Server) -> int:
    left = server.command("PTTL", OURS)
    assert isinstance(left, int)
    return left


CALLS: dict[str, Callable[[SessionManager], Any]] = {
    "validate": lambda manager: manager.validate_session("id"),
    "open": lambda manager: manager.open_session("id"),
    "info": lambda manager: manager.get_session_info("id"),
    "update": lambda manager: manager.update_session_metadata("id", {"role": "admin"}),
    "replace": lambda manager: manager.update_session_metadata("id", {"role": "admin"}, merge=False),
    "remove": lambda manager: manager.update_session_metadata("id", {"role": "admin"}, remove=["a"]),
    "extend": lambda manager: manager.extend_session_ttl("id", 1),
    "set ttl": lambda manager: manager.set_session_ttl("id", 1),
    "allocate": lambda manager: manager.allocate_session("id", "alice", custom_metadata={"role": "new"}),
}


@pytest.mark.parametrize("variable", [None, "", "0", "false", "no"])
async def test_off(redis_server: Server, redis_url: str, monkeypatch: pytest.MonkeyPatch, variable: str | None) -> None:
    """By default there is nothing of it: the store is the plain one, and the session is unknown and stays there."""
    monkeypatch.delenv("SESSION_LEGACY_READ")
    if variable is not None:
        monkeypatch.setenv("SESSION_LEGACY_READ", variable)
    published.put(redis_server, "id")
    factory = redis.factory(redis_url)
    assert type(factory.session_store("box")) is RedisSessionStore
    assert await SessionManager("box", factory).validate_session("id") is False
    assert published.is_there(redis_server, "id")


@pytest.mark.parametrize("name", CALLS)
async def test_every_call_finds_it(redis_server: Server, manager: SessionManager, name: str) -> None:
    """As it was, the time of last access apart; the original is gone, and so is the need for it."""
    before = published.put(redis_server, "id", ttl=5000)
    assert await CALLS[name](manager)
    assert not published.is_there(redis_server, "id")
    info = await manager.get_session_info("id")
    assert info is not None
    for field in ("session_id", "sandbox_id", "user_id", "status", "created_at"):
        assert info[field] == before[field], field
    assert info["last_accessed"] >= before["last_accessed"]
    assert info["custom_metadata"] == ({"role": "admin"} if name == "replace" else before["custom_metadata"])
    seconds = 3600 if name == "set ttl" else 5000 + (3600 if name == "extend" else 0)
    assert (seconds - 60) * 1000 < milliseconds_left(redis_server) <= seconds * 1000 + 1
    assert await manager.validate_session("id") is True


async def test_renewing_what_is_not_ours_leaves_no_tombstone(redis_server: Server, manager: SessionManager) -> None:
    """A legacy copy of another sandbox can still be moved, and made-up ids do not fill the server."""
    published.put(redis_server, "id", "other")
    for session_id in ("id", "made up"):
        assert await manager.renew_session(session_id) is None
        assert await manager.renew_session(session_id, 60) is None
        assert redis_server.command("EXISTS", tombstone_key(session_key("box", session_id))) == 0
    assert published.is_there(redis_server, "id")


async def test_renewing_leaves_a_tombstone(redis_server: Server, manager: SessionManager) -> None:
    """Of a session of ours: a process of a legacy version may write it back under the old id."""
    published.put(redis_server, "id")
    new_id = await manager.renew_session("id")
    assert new_id is not None
    assert redis_server.command("EXISTS", tombstone_key(OURS)) == 1
    published.put(redis_server, "id")
    assert await manager.validate_session("id") is False
    assert await manager.validate_session(new_id) is True


@pytest.mark.parametrize("taken_over", [True, False])
async def test_an_earlier_deadline_holds(redis_server: Server, manager: SessionManager, taken_over: bool) -> None:
    """What a cache of a published process writes back, with the deadline it knows, does not bring the session back."""
    text = published.document("id")
    redis_server.command("SETEX", "session:id", "100", text)
    if taken_over:
        assert await manager.validate_session("id") is True
    assert await manager.set_session_ttl("id", 0.2 / 3600) is True
    redis_server.command("SETEX", "session:id", "100", text)
    await eventually(lambda: redis_server.command("EXISTS", OURS) == 0)
    assert await manager.validate_session("id") is False
    assert not published.is_there(redis_server, "id")


async def test_a_deadline_of_what_is_not_ours_leaves_no_tombstone(
    redis_server: Server, manager: SessionManager
) -> None:
    """As a renewal leaves none."""
    published.put(redis_server, "id", "other")
    assert await manager.set_session_ttl("id", 1) is False
    assert redis_server.command("EXISTS", tombstone_key(OURS)) == 0
    assert published.is_there(redis_server, "id")


async def test_a_login_that_ends_nothing_keeps_nothing_out(redis_server: Server, redis_url: str) -> None:
    """At the limit: with an id that nobody has, with a session of another user, and with one that is listed already."""
    manager = SessionManager("box", redis.factory(redis_url), strict=True, max_sessions_per_user=2)
    for session_id in ("id", "id-2"):
        assert await manager.allocate_session(session_id, "alice") == session_id
    others = await manager.allocate_session("others", "bob")
    assert await manager.renew_session("made up", user_id="alice") is None
    with pytest.raises(SessionTakenError):
        await manager.renew_session(others, user_id="alice")
    assert await manager.renew_session("id-2", user_id="alice") is not None
    for session_id in ("id", "others"):
        assert redis_server.command("EXISTS", tombstone_key(session_key("box", session_id))) == 0
        assert await manager.validate_session(session_id) is True


async def test_reading_does_not_touch(redis_server: Server, manager: SessionManager) -> None:
    """Every field of the document is the same in the info, but for the deadline, which is that of the key."""
    before = published.put(redis_server, "id", status="invalidated", user_id=None)
    info = await manager.get_session_info("id")
    assert info is not None
    assert {**info, "expires_at": None} == {**before, "expires_at": None}


@pytest.mark.parametrize("name", CALLS)
async def test_another_sandbox(redis_server: Server, manager: SessionManager, name: str) -> None:
    """It is not ours: not found, and left where it is. The same id can be allocated here."""
    published.put(redis_server, "id", "other")
    found = await CALLS[name](manager)
    assert found == ("id" if name == "allocate" else found)
    assert bool(found) is (name == "allocate")
    assert published.is_there(redis_server, "id")
    assert await manager.delete_session("id") is (name == "allocate")
    assert published.is_there(redis_server, "id")


@pytest.mark.parametrize("changed", [*UNDECODABLE.values(), None], ids=[*UNDECODABLE, "no JSON"])
async def test_undecodable(
    redis_server: Server, manager: SessionManager, changed: dict[str, Any] | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Absent, said once, left alone even by a deletion: nobody can tell whose it is."""
    if changed is None:
        redis_server.command("SETEX", "session:id", "100", "text")
    else:
        published.put(redis_server, "id", **changed)
    for name in ("validate", "info", "update", "extend"):
        assert not await CALLS[name](manager)
    assert await manager.delete_session("id") is False
    assert published.is_there(redis_server, "id")
    (line,) = caplog.records
    assert "cannot be decoded" in line.getMessage()


async def test_more_metadata_than_we_store(
    redis_server: Server, manager: SessionManager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Absent and left alone, and nobody's connection is lost over it."""
    monkeypatch.setattr("chuk_sessions.providers.redis.record.MAX_FIELDS", 2)
    published.put(redis_server, "id")
    for _ in range(2):
        assert await manager.validate_session("id") is False
    assert published.is_there(redis_server, "id")
    (line,) = caplog.records
    assert "cannot be decoded" in line.getMessage()


@pytest.mark.parametrize("kind", [("HSET", "field"), ("LPUSH",)])
async def test_a_key_of_another_type(redis_server: Server, manager: SessionManager, kind: tuple[str, ...]) -> None:
    redis_server.command(kind[0], "session:id", *kind[1:], "value")
    assert await manager.validate_session("id") is False
    assert await manager.delete_session("id") is False
    assert published.is_there(redis_server, "id")


class TestLifetimes:
    async def test_without_a_ttl_the_document_counts(self, redis_server: Server, manager: SessionManager) -> None:
        published.put(redis_server, "id")
        redis_server.command("PERSIST", "session:id")
        assert await manager.validate_session("id") is True
        assert 7_100_000 < milliseconds_left(redis_server) <= 7_200_001

    async def test_without_any_end(self, redis_server: Server, manager: SessionManager) -> None:
        """No session without a deadline: it is not taken, and not removed."""
        published.put(redis_server, "id", expires_at=None)
        redis_server.command("PERSIST", "session:id")
        assert await manager.validate_session("id") is False
        assert published.is_there(redis_server, "id")

    async def test_past_its_own_deadline(self, redis_server: Server, manager: SessionManager) -> None:
        """The published versions call it expired, whatever its key says."""
        published.put(redis_server, "id", expires_at="2020-01-01T00:00:00.000000Z")
        assert await manager.validate_session("id") is False
        assert redis_server.command("EXISTS", OURS) == 0

    async def test_a_key_that_outlives_it(self, redis_server: Server, manager: SessionManager) -> None:
        """Whichever end comes first is the end, as it was for the published versions."""
        published.put(redis_server, "id", ttl=86_400, expires_at=iso_timestamp(time.time() + 600))
        assert await manager.validate_session("id") is True
        assert 500_000 < milliseconds_left(redis_server) <= 601_000

    async def test_a_millennium(self, redis_server: Server, manager: SessionManager) -> None:
        """They took such hours."""
        published.put(redis_server, "id", ttl=10**11, expires_at=None)
        assert await manager.validate_session("id") is True
        assert await manager.get_session_info("id") is not None


class TestDeleting:
    async def test_before_it_was_taken_over(self, redis_server: Server, manager: SessionManager) -> None:
        published.put(redis_server, "id")
        assert await manager.delete_session("id") is True
        assert not published.is_there(redis_server, "id")
        assert await manager.delete_session("id") is False
        assert await manager.validate_session("id") is False

    async def test_both_copies(self, redis_server: Server, manager: SessionManager) -> None:
        """A published process wrote its own back after ours was made."""
        published.put(redis_server, "id")
        assert await manager.validate_session("id") is True
        published.put(redis_server, "id")
        assert await manager.delete_session("id") is True
        assert not published.is_there(redis_server, "id")
        assert await manager.validate_session("id") is False

    @pytest.mark.parametrize("taken_over", [True, False])
    async def test_what_a_cache_writes_back(
        self, redis_server: Server, manager: SessionManager, taken_over: bool
    ) -> None:
        """A published process that had it in its cache cannot undo the logout."""
        text = published.document("id")
        redis_server.command("SETEX", "session:id", "100", text)
        if taken_over:
            assert await manager.validate_session("id") is True
        assert await manager.delete_session("id") is True
        redis_server.command("SETEX", "session:id", "100", text)
        assert await manager.validate_session("id") is False
        assert await manager.get_session_info("id") is None
        assert not published.is_there(redis_server, "id")
        left = redis_server.command("TTL", tombstone_key(OURS))
        assert isinstance(left, int)
        assert left > 86_400

    @pytest.mark.parametrize("before", [True, False])
    async def test_all_of_a_user(self, redis_server: Server, manager: SessionManager, before: bool) -> None:
        """Both copies, and what a cache writes back is kept out; what is kept stays, and works on in both."""
        kept = published.document("kept")
        for session_id in ("id", "kept"):
            published.put(redis_server, session_id)
            assert await manager.validate_session(session_id) is True
        text = published.document("id")
        if before:
            redis_server.command("SETEX", "session:id", "100", text)
        assert await manager.delete_user_sessions("alice", keep="kept") == 1
        assert not published.is_there(redis_server, "id")
        redis_server.command("SETEX", "session:id", "100", text)
        redis_server.command("SETEX", "session:kept", "100", kept)
        assert await manager.validate_session("id") is False
        assert not published.is_there(redis_server, "id")
        assert await manager.validate_session("kept") is True
        assert [info["session_id"] for info in await manager.list_user_sessions("alice")] == ["kept"]

    async def test_the_oldest_of_too_many(self, redis_server: Server, redis_url: str, manager: SessionManager) -> None:
        """What a user's limit ends is kept out as well; what it leaves is not touched."""
        limited = SessionManager("box", redis.factory(redis_url), strict=True, max_sessions_per_user=2)
        texts = {name: published.document(name) for name in ("id-1", "id-2")}
        for name, text in texts.items():
            redis_server.command("SETEX", f"session:{name}", "100", text)
            assert await manager.validate_session(name) is True
        assert await limited.allocate_session("id-2", "alice") == "id-2"
        assert await limited.validate_sessions(["id-1", "id-2"]) == [True, True]
        await limited.allocate_session("new", "alice")
        for name, text in texts.items():
            redis_server.command("SETEX", f"session:{name}", "100", text)
        assert await limited.validate_sessions(["id-1", "id-2", "new"]) == [False, True, True]

    async def test_a_new_session_of_that_id(self, redis_server: Server, manager: SessionManager) -> None:
        """One that a published process made after the logout is another session."""
        published.put(redis_server, "id")
        assert await manager.delete_session("id") is True
        published.put(redis_server, "id", created_at="2100-01-01T00:00:00.000000Z", expires_at=None)
        assert await manager.validate_session("id") is True

    @pytest.mark.parametrize("taken_over", [True, False])
    async def test_made_by_a_clock_that_is_ahead(
        self, redis_server: Server, manager: SessionManager, taken_over: bool
    ) -> None:
        """What its cache writes back was created later than the logout, by its clock, and is ended all the same."""
        ahead = iso_timestamp(time.time() + 600)
        text = published.document("id", created_at=ahead, last_accessed=ahead)
        redis_server.command("SETEX", "session:id", "1000", text)
        if taken_over:
            assert await manager.validate_session("id") is True
        assert await manager.delete_session("id") is True
        redis_server.command("SETEX", "session:id", "1000", text)
        assert await manager.validate_session("id") is False
        assert not published.is_there(redis_server, "id")

    async def test_allocating_it_anew(self, manager: SessionManager, redis_server: Server) -> None:
        published.put(redis_server, "id")
        assert await manager.delete_session("id") is True
        assert await manager.allocate_session("id", "bob") == "id"
        info = await manager.get_session_info("id")
        assert info is not None
        assert info["user_id"] == "bob"


class TestBothThere:
    """The id lives here and a published process wrote its own."""

    async def adopt(self, server: Server, url: str, **changed: Any) -> Adoption:
        text = published.document("id", **changed).encode()
        server.command("SETEX", "session:id", "6000", text.decode())
        found = legacy.decode(text)
        assert found is not None
        return await Move(Client(url), "id").attempt("box", found.record, text, 6000)

    @pytest.mark.parametrize("newer", [True, False])
    async def test_merged(self, redis_server: Server, redis_url: str, manager: SessionManager, newer: bool) -> None:
        """Keys of both sides, of common ones that of the side used last; the later deadline; nothing left behind."""
        await manager.allocate_session("id", "alice", 1, {"a": "here", "b": "here"})
        before = await manager.get_session_info("id")
        accessed = "2100-01-01T00:00:00.000000Z" if newer else "2020-01-01T00:00:00.000000Z"
        changes = {"created_at": "2020-01-01T00:00:00.000000Z", "last_accessed": accessed}
        outcome = await self.adopt(redis_server, redis_url, custom_metadata={"b": "there", "c": "there"}, **changes)
        assert outcome is Adoption.MERGED
        info = await manager.get_session_info("id")
        assert info is not None
        assert before is not None
        assert info["custom_metadata"] == {"a": "here", "b": "there" if newer else "here", "c": "there"}
        assert info["last_accessed"] == (accessed if newer else before["last_accessed"])
        assert info["created_at"] == before["created_at"]
        assert 5_900_000 < milliseconds_left(redis_server) <= 6_000_001
        assert not published.is_there(redis_server, "id")

    async def test_merged_with_an_idle_deadline(self, redis_server: Server, redis_url: str) -> None:
        """The lifetime is the later one, and it still ends when nobody uses it."""
        manager = SessionManager("box", redis.factory(redis_url), idle_ttl_minutes=10)
        await manager.allocate_session("id", "alice", 1)
        assert await self.adopt(redis_server, redis_url) is Adoption.MERGED
        assert 590_000 < milliseconds_left(redis_server) <= 600_001
        info = await manager.get_session_info("id")
        assert info is not None
        left = datetime.fromisoformat(info["expires_at"]).timestamp() - time.time()
        assert 5_900 < left <= 6_001
        assert info["idle_expires_at"] < info["expires_at"]
        assert sessions_in(redis_server) == 1

    async def test_another_user(self, redis_server: Server, redis_url: str, manager: SessionManager) -> None:
        """Two people's sessions are not mixed: both stay as they are."""
        await manager.allocate_session("id", "bob")
        before = await manager.get_session_info("id")
        assert await self.adopt(redis_server, redis_url) is Adoption.CONFLICT
        assert await manager.get_session_info("id") == before
        assert published.is_there(redis_server, "id")

    async def test_a_record_of_a_later_version(self, redis_server: Server, redis_url: str) -> None:
        redis_server.command("HSET", OURS, "v", "9")
        assert await self.adopt(redis_server, redis_url) is Adoption.UNREADABLE
        assert published.is_there(redis_server, "id")
        assert redis_server.command("HGETALL", OURS) == ["v", "9"]


async def test_it_is_said_once(
    redis_server: Server, open_process: Callable[[], SessionManager], caplog: pytest.LogCaptureFixture
) -> None:
    """How to move the rest; no id and no address in it."""
    for session_id in ("id-one", "id-two"):
        published.put(redis_server, session_id)
        assert await open_process().validate_session(session_id) is True
    (line,) = caplog.records
    assert line.levelno == logging.WARNING
    assert "python -m chuk_sessions migrate" in line.getMessage()
    assert "id-" not in line.getMessage()
    assert "redis://" not in line.getMessage()


@pytest.mark.parametrize("name", ["validate", "info", "update", "extend", "delete"])
async def test_a_server_that_is_away(name: str) -> None:
    """An outage is an outage, not a session that is not found."""
    with RedisServer() as server:
        manager = SessionManager("box", redis.factory(f"{server.url}?reconnect_grace=0"), strict=True)
        assert await manager.validate_session("id") is False
        server.kill()
        with pytest.raises(StorageError) as caught:
            await (manager.delete_session("id") if name == "delete" else CALLS[name](manager))
    assert isinstance(caught.value.__cause__, ProviderError)


class TestAFullServer:
    """It has no room to take a session over, which is no reason to log anybody out."""

    @pytest.fixture
    def full(self, redis_server: Server, redis_url: str) -> Iterator[Server]:
        published.put(redis_server, "id", ttl=5000)
        redis_server.command("CONFIG", "SET", "maxmemory", "1")
        yield redis_server
        redis_server.command("CONFIG", "SET", "maxmemory", "0")

    @pytest.mark.parametrize("strict", [True, False])
    async def test_it_is_served_as_it_is(self, full: Server, redis_url: str, strict: bool) -> None:
        manager = SessionManager("box", redis.factory(redis_url), strict=strict)
        assert await manager.validate_session("id") is True
        info = await manager.get_session_info("id")
        assert info is not None
        assert (info["user_id"], info["custom_metadata"]["role"]) == ("alice", "admin")
        assert 4_900 < datetime.fromisoformat(info["expires_at"]).timestamp() - time.time() <= 5_001
        assert published.is_there(full, "id")

    async def test_a_key_without_an_end(self, full: Server, manager: SessionManager) -> None:
        """Then it ends as it says itself."""
        full.command("PERSIST", "session:id")
        info = await manager.get_session_info("id")
        assert info is not None
        assert 7_100 < datetime.fromisoformat(info["expires_at"]).timestamp() - time.time() <= 7_201

    async def test_ended_meanwhile(self, full: Server, redis_url: str) -> None:
        """By another process: on a lone server between the refusal and reading it as it is."""
        client = Meddler(redis_url, TEXT, lambda: full.command("DEL", "session:id"))
        store = LegacyReadingStore(RedisSessionStore(client, "box"), client, "box")
        assert await store.read("id") is None

    async def test_what_would_change_it_is_an_error(self, full: Server, manager: SessionManager) -> None:
        for name in ("update", "extend", "allocate"):
            with pytest.raises(StorageError) as caught:
                await CALLS[name](manager)
            assert isinstance(caught.value.__cause__, OutOfMemoryError)

    async def test_a_logout_holds(self, full: Server, manager: SessionManager) -> None:
        text = str(full.command("GET", "session:id"))
        assert await manager.delete_session("id") is True
        full.command("CONFIG", "SET", "maxmemory", "0")
        full.command("SETEX", "session:id", "1000", text)
        full.command("CONFIG", "SET", "maxmemory", "1")
        assert await manager.validate_session("id") is False
        assert await manager.get_session_info("id") is None

    async def test_all_of_a_user(self, redis_server: Server, manager: SessionManager) -> None:
        """Works there too, and keeps out what a cache writes back."""
        text = published.document("id")
        published.put(redis_server, "id")
        assert await manager.validate_session("id") is True
        redis_server.command("CONFIG", "SET", "maxmemory", "1")
        try:
            assert await manager.delete_user_sessions("alice") == 1
        finally:
            redis_server.command("CONFIG", "SET", "maxmemory", "0")
        redis_server.command("SETEX", "session:id", "1000", text)
        assert await manager.validate_session("id") is False


async def test_an_unknown_id_costs_one_command_more(redis_server: Server, manager: SessionManager) -> None:
    """Counted by the server: the script that validates, and the one that looks; in a cluster a second validation."""
    await manager.validate_session("known to the connection")
    redis_server.command("CONFIG", "RESETSTAT")
    assert await manager.validate_session("unknown") is False
    stats = [server.info("commandstats") for server in getattr(redis_server, "nodes", [redis_server])]
    calls = [
        int(each["cmdstat_evalsha"].split(",")[0].removeprefix("calls=")) for each in stats if "cmdstat_evalsha" in each
    ]
    assert sum(calls) == (2 if len(stats) == 1 else 3)


@pytest.mark.parametrize("session_id", ["a/b", "{box}:x", "é ☃", "\ud800", "*"])
async def test_odd_ids(redis_server: Server, manager: SessionManager, session_id: str) -> None:
    """Found where they could be stored: the published versions took almost any."""
    storable = session_id != "\ud800"
    if storable:
        published.put(redis_server, session_id)
    assert await manager.validate_session(session_id) is storable
    assert await manager.delete_session(session_id) is storable


def test_decoding_says_what_is_there() -> None:
    found = legacy.decode(json.dumps({**json.loads(published.document("id")), "last_accessed": None}).encode())
    assert found is not None
    assert found.record.accessed == found.record.created
    assert legacy.decode(b"[]") is None
    assert legacy.decode(b"\xff") is None


@pytest.mark.parametrize(("value", "on"), [("1", True), (" Yes ", True), ("0", False), ("off", False), ("", False)])
def test_the_variable(value: str, on: bool, monkeypatch: pytest.MonkeyPatch, redis_url: str) -> None:
    monkeypatch.setenv("SESSION_LEGACY_READ", value)
    assert isinstance(redis.factory(redis_url).session_store("box"), LegacyReadingStore) is on


def test_a_variable_that_says_neither(monkeypatch: pytest.MonkeyPatch, redis_url: str) -> None:
    """A slip of the pen must not look as if there were no old sessions."""
    monkeypatch.setenv("SESSION_LEGACY_READ", "ture")
    with pytest.raises(ProviderError, match="SESSION_LEGACY_READ must be 1 or 0, got 'ture'"):
        SessionManager("box", redis.factory(redis_url))


async def test_a_legacy_session_over_the_bound_of_a_value_is_served(redis_server: Server, redis_url: str) -> None:
    """The server holds it already, and a logout must work."""
    manager = SessionManager("box", redis.factory(f"{redis_url}?max_value_bytes=1024"), strict=True)
    for session_id in ("id", "other"):
        published.put(redis_server, session_id, custom_metadata={"large": "x" * 40_000})
    assert await manager.validate_session("id") is True
    info = await manager.get_session_info("id")
    assert info is not None
    assert len(info["custom_metadata"]["large"]) == 40_000
    assert await manager.delete_session("id") is True
    assert await manager.delete_session("other") is True
    assert not published.is_there(redis_server, "other")
