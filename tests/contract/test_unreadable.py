"""Records that this version cannot read count as absent, are logged once and left alone by all but `delete`."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import ProviderError
from chuk_sessions.ids import session_key
from chuk_sessions.stores.keyvalue import KeyValueStore
from tests.support import custom_provider

if TYPE_CHECKING:
    from collections.abc import Callable

    from chuk_sessions.stores.contract import SessionStore
    from tests.support.servers import Server

KEY = session_key("box", "id")
FAR = 1e11
# A document as the adapter writes it; each of the others is one step away from it.
GOOD: dict[str, Any] = {
    "v": 1,
    "user": "alice",
    "created": 1.0,
    "expires": FAR,
    "accessed": 1.0,
    "status": "active",
    "metadata": "{}",
}
BAD_DOCUMENTS: dict[str, str] = {
    "no JSON": "not json",
    "empty": "",
    "no object": "[1]",
    "another version": json.dumps({**GOOD, "v": 2}),
    "no version": json.dumps({key: value for key, value in GOOD.items() if key != "v"}),
    "no deadline": json.dumps({key: value for key, value in GOOD.items() if key != "expires"}),
    "a deadline that is no number": json.dumps({**GOOD, "expires": "soon"}),
    "metadata that is no object": json.dumps({**GOOD, "metadata": "[]"}),
    "metadata that is no text": json.dumps({**GOOD, "metadata": {}}),
    "cut short": json.dumps(GOOD)[:-5],
    "of 0.2": json.dumps({"session_id": "id", "sandbox_id": "box", "status": "active", "custom_metadata": {}}),
}
# A record as the Redis store writes it, and commands that leave one a step away from it.
GOOD_HASH = {"v": "2", "created": "1", "accessed": "1", "expires": "4000000000000000"}


def hset(**changes: str | None) -> tuple[str, ...]:
    """The command that stores the good record with these changes; None leaves a field out."""
    fields = {name: value for name, value in {**GOOD_HASH, **changes}.items() if value is not None}
    return ("HSET", KEY, *(part for pair in fields.items() for part in pair))


BAD_HASHES: dict[str, tuple[str, ...]] = {
    "another type": ("SET", KEY, "text"),
    "no record": ("HSET", KEY, "field", "value"),
    "another version": hset(v="1"),
    "no version": hset(v=None),
    "no deadline": hset(expires=None),
    "no access time": hset(accessed=None),
    "a time that is no number": hset(accessed="x"),
    "a deadline that is no number": hset(expires="soon"),
}


async def check_is_absent(store: SessionStore, caplog: pytest.LogCaptureFixture) -> None:
    """By every operation but `delete` the session is not found, and the log has one line about it."""
    caplog.set_level(logging.DEBUG)
    for _ in range(2):
        assert await store.read("id") is None
        assert await store.touch("id", 0) is False
        assert await store.touch("id", 60) is False
        assert await store.update("id", {"a": 1}, False) is False
        assert await store.update("id", {"a": 1}, True) is False
        assert await store.extend("id", 60) is False
        with pytest.raises(ProviderError, match="left alone"):
            await store.create("id", None, 60, {})
    lines = [record for record in caplog.records if record.name.startswith("chuk_sessions")]
    assert [line.levelno for line in lines] == [logging.WARNING]
    assert "id" not in lines[0].getMessage().split()


def open_custom(document: str) -> tuple[SessionStore, Callable[[], Any]]:
    data: custom_provider.Data = {KEY: (document, FAR)}
    return KeyValueStore(custom_provider.factory(data), "box"), lambda: data[KEY][0]


def open_redis(server: Server, command: tuple[str, ...]) -> tuple[SessionStore, Callable[[], Any]]:
    from chuk_sessions.providers import redis

    server.command(*command)
    return redis.factory(server.url).session_store("box"), lambda: server.command("DUMP", KEY)


async def test_the_good_document_is_read() -> None:
    """Else the bad ones below might be refused for another reason than theirs."""
    store, _ = open_custom(json.dumps(GOOD))
    record = await store.read("id")
    assert record is not None
    assert record.user_id == "alice"
    assert await store.touch("id", 0) is True


@pytest.mark.parametrize("document", BAD_DOCUMENTS.values(), ids=BAD_DOCUMENTS)
async def test_bad_documents(document: str, caplog: pytest.LogCaptureFixture) -> None:
    store, stored = open_custom(document)
    await check_is_absent(store, caplog)
    assert stored() == document


async def test_deleting_a_bad_document() -> None:
    """The one thing that can be done to it: a logout holds, whichever version wrote the session."""
    data: custom_provider.Data = {KEY: ("not json", FAR)}
    store = KeyValueStore(custom_provider.factory(data), "box")
    assert await store.delete("id") is True
    assert data == {}
    assert await store.delete("id") is False


async def test_the_good_hash_is_read(redis_server: Server, redis_url: str) -> None:
    store, _ = open_redis(redis_server, hset())
    assert await store.read("id") is not None
    assert await store.touch("id", 0) is True


@pytest.mark.parametrize("command", BAD_HASHES.values(), ids=BAD_HASHES)
async def test_bad_hashes(
    redis_server: Server, redis_url: str, command: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    store, stored = open_redis(redis_server, command)
    before = stored()
    await check_is_absent(store, caplog)
    assert stored() == before
    assert before


@pytest.mark.parametrize("name", ["created", "accessed", "expires"])
@pytest.mark.parametrize(
    "text", ["4e15", "0xE35FA931A0000", " 4000000000000000 ", "4000000000000000.5", "+4000000000000000", "4" + "0" * 18]
)
async def test_a_time_that_only_lua_takes_for_one(redis_server: Server, redis_url: str, name: str, text: str) -> None:
    """The record cannot be read, so nothing is merged into it either."""
    times = {"created": "1000000000000000", "accessed": "1000000000000000", "expires": "4000000000000000"}
    times[name] = text.replace("4", "1", 1) if name == "accessed" else text
    store, stored = open_redis(redis_server, hset(**times))
    before = stored()
    assert await store.read("id") is None
    assert await store.update("id", {"a": 1}, False) is False
    assert stored() == before


async def test_deleting_a_bad_hash(redis_server: Server, redis_url: str) -> None:
    """The one thing that can be done to it: a logout holds, whichever version wrote the session."""
    store, _ = open_redis(redis_server, BAD_HASHES["another version"])
    assert await store.delete("id") is True
    assert redis_server.command("EXISTS", KEY) == 0
    assert await store.delete("id") is False
