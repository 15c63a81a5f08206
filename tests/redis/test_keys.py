"""The page of keys has every key that is written and no other, and each is in the slot where it must be."""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import TYPE_CHECKING, BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chuk_sessions import SessionManager
from chuk_sessions.cli.check import check
from chuk_sessions.cli.migrate import migrate
from chuk_sessions.ids import slot_tag
from chuk_sessions.providers import redis
from chuk_sessions.providers.redis import keys
from chuk_sessions.providers.redis.index import UserIndex
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.slots import slot_of
from tests.support import published
from tests.support.places import ClusterPlace

if TYPE_CHECKING:
    from tests.support.cluster_servers import ClusterServers

TEXT = st.text(st.characters(codec=None), max_size=20)
PART, DIGITS = "[A-Za-z0-9._~@%-]+", "[0-9a-f]+"
NAMES = {
    "T": DIGITS,
    "sandbox": PART,
    "id": PART,
    "random": DIGITS,
    "incarnation": r"[0-9]+(?:\.[0-9a-f]*)+",
    "...": ".+",
}
WRITES = ("SET", "HSET", "HINCRBY", "ZADD", "RENAME")
END = "all has been said"


def forms() -> dict[str, re.Pattern[str]]:
    """The keys of the page, as patterns."""
    rows = re.findall(r"^``(\S+)``  +\w+", keys.__doc__ or "", re.MULTILINE)
    parts = re.compile(r"(\.\.\.|\b(?:T|sandbox|id|random|incarnation)\b)")
    return {row: re.compile("".join(NAMES.get(part, re.escape(part)) for part in parts.split(row))) for row in rows}


def keys_written(stream: BinaryIO) -> set[str]:
    """Those in what MONITOR tells, up to the word that all has been said."""
    found: set[str] = set()
    for line in iter(stream.readline, b""):
        _, words = line.decode().split("] ", 1) if b"] " in line else ("", "")
        name, *args = re.findall(r'"((?:[^"\\]|\\.)*)"', words) or [""]
        if END in args:
            return found
        if name.upper() in WRITES:
            found.update(args[: 2 if name.upper() == "RENAME" else 1])
    raise AssertionError("the server ended the connection")


@pytest.mark.redis
async def test_the_page_has_every_key_that_is_written(
    calm_cluster: ClusterServers, cluster_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no other but the legacy key, which is only read: by what the servers run while all that writes is done."""
    place = ClusterPlace(calm_cluster)
    with ExitStack() as stack:
        streams = []
        for node in place.nodes:
            sock = stack.enter_context(node._connect(5))
            sock.sendall(b"MONITOR\r\n")
            streams.append(stack.enter_context(sock.makefile("rb")))
            assert streams[-1].readline() == b"+OK\r\n"
        await write_everything(place, cluster_url, monkeypatch)
        for node in place.nodes:
            node.command("ECHO", END)
        written = {key for stream in streams for key in keys_written(stream)}
    page = forms()
    assert len(page) == 11
    assert [key for key in written if not any(form.fullmatch(key) for form in page.values())] == []
    assert [row for row, form in page.items() if not any(map(form.fullmatch, written))] == ["session:id"]


async def write_everything(place: ClusterPlace, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = SessionManager("box", redis.factory(url), strict=True)
    made = [await manager.allocate_session(user_id="alice"), await manager.allocate_session("id", "alice")]
    for session_id in made:
        assert await manager.increment_session_metadata(session_id, "n") == 1
        assert await manager.renew_session(session_id, 60)
    client = Client(url)
    await UserIndex(client, "box")._file(keys.session_key("box", "lost"), "alice", 60_000_000, 0, client.begin())
    await manager.delete_user_sessions("alice")
    for name in ("moved", "used", "ended"):
        published.put(place, name)
    with monkeypatch.context() as patch:
        patch.setenv("SESSION_LEGACY_READ", "1")
        legacy = SessionManager("box", redis.factory(url), strict=True)
        assert await legacy.validate_session("used")
        assert await legacy.delete_session("ended")
    await migrate(Client(url), Client(url))
    await check(Client(url))


@given(sandbox=TEXT, session_id=TEXT)
def test_names_come_back_from_the_key(sandbox: str, session_id: str) -> None:
    """Whatever they are; and from no key that only looks like it."""
    quoted = keys.quote_part(sandbox)
    key = keys.session_key(quoted, session_id)
    assert keys.names_in_key(key.encode()) == (sandbox, session_id)
    assert keys.id_in_key(quoted, key.encode()) == session_id
    assert keys.name_in_key(key) == keys.quote_part(session_id)
    for other in (key + ":", key.replace("}", "0}"), f"session:{key}", key.replace("{", "{" + "f"), "x" + key):
        assert keys.names_in_key(other.encode()) is None
        assert keys.id_in_key(quoted, other.encode()) is None
    assert keys.id_in_key(quoted + "x", key.encode()) is None


@pytest.mark.parametrize("key", [b"session:\xff", b"session:{000000}:box:id", b"session:{4e52e4}:b%6Fx:id", b"", b"::"])
def test_keys_of_others(key: bytes) -> None:
    """A tag that is not the id's, a part that is quoted otherwise, no text at all."""
    assert keys.names_in_key(key) is None
    assert keys.id_in_key("box", key) is None


@given(sandbox=TEXT, session_id=TEXT)
def test_what_belongs_to_a_session_is_in_its_slot(sandbox: str, session_id: str) -> None:
    """So that one script may have them all; what belongs to its legacy key is in the slot of that."""
    quoted = keys.quote_part(sandbox)
    key, tag = keys.session_key(quoted, session_id), slot_tag(session_id)
    beside = (
        keys.index_key(quoted, tag),
        keys.marker_key(quoted, session_id, b"1.ab"),
        keys.tombstone_key(key),
        keys.arrival_key(key),
    )
    assert keys.tag_in_key(key) == tag
    assert {slot_of(other) for other in beside} == {slot_of(key)}
    assert len({key, *beside}) == 5
    legacy = keys.legacy_key(session_id)
    assert slot_of(keys.takeover_key(legacy)) == slot_of(legacy)
    assert slot_of(keys.check_value_key(session_id)) == slot_of(keys.session_key(keys.CHECK_SANDBOX, session_id))
