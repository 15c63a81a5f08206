"""The bounds of the near cache: how much it holds, and what makes room."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from benchmarks.workloads.manager_bodies import METADATA
from chuk_sessions.ids import session_key
from chuk_sessions.models import SessionRecord, iso_timestamp
from chuk_sessions.providers import redis
from chuk_sessions.providers.redis.near import NearSessionStore
from chuk_sessions.providers.redis.record import encode_record
from chuk_sessions.providers.redis.snapshot import WORTH_IT, Snapshot
from chuk_sessions.redis_client.entries import MAX_ENTRY_BYTES, MAX_LARGE, Entries
from tests.near.scripted import FIELDS


def filled(names: str, max_entries: int = 3, max_bytes: int = 1 << 20) -> Entries:
    entries = Entries(max_entries, max_bytes)
    for name in names:
        assert entries.put(name, dict(FIELDS))
    return entries


def test_the_oldest_makes_room() -> None:
    entries = filled("abcd")
    assert entries.names() == ["b", "c", "d"]
    assert entries.evictions == 1


def test_an_entry_in_use_gets_a_second_chance() -> None:
    """Once: if it is not used again, it goes the next time the hand comes round."""
    entries = filled("abc")
    used = entries.get("a")
    assert used is not None
    used.is_used = True
    entries.put("d", dict(FIELDS))
    assert entries.names() == ["c", "a", "d"]
    entries.put("e", dict(FIELDS))
    entries.put("f", dict(FIELDS))
    assert entries.names() == ["d", "e", "f"]


def test_keys_that_are_read_once_do_not_drive_out_one_in_use() -> None:
    entries = filled("abc")
    for number in range(100):
        if (used := entries.get("a")) is not None:
            used.is_used = True
        entries.put(str(number), dict(FIELDS))
    assert "a" in entries
    assert len(entries) == 3


def test_all_in_use_make_room_too() -> None:
    entries = filled("abc")
    for name in "abc":
        used = entries.get(name)
        assert used is not None
        used.is_used = True
    entries.put("d", dict(FIELDS))
    assert len(entries) == 3
    assert "d" in entries


def test_bytes_are_bounded_too() -> None:
    """Whatever is put, replaced, dropped or settled, the count is that of what is there."""
    entries = filled("", 1000, 20_000)
    for number in range(200):
        entries.put(str(number), FIELDS | {b"m:a": b"x" * (number * 7 % 3000)})
        assert entries.bytes <= 20_000
        if number % 3 == 0 and (entry := entries.get(str(number))) is not None:
            entries.settle(entry, "record", 500)
        if number % 5 == 0:
            entries.drop(str(number))
            assert not entries.drop(str(number))
        entries.put(str(number // 2), dict(FIELDS))
    present = [entries.get(name) for name in entries.names()]
    assert entries.bytes == sum(entry.size for entry in present if entry is not None) > 0
    assert entries.clear()
    assert (len(entries), entries.bytes, entries.clear()) == (0, 0, False)


def test_what_replaces_the_replies_is_bounded_too() -> None:
    """A snapshot may be larger than its reply: the least used make room at once, not at the next reply."""
    entries = filled("", 1000, 20_000)
    for number in range(10):
        entries.put(str(number), FIELDS | {b"m:a": b"x" * 500})
    assert len(entries) == 10
    for number in range(10):
        entry = entries.get(str(number))
        if entry is None:
            continue
        entry.is_used = True
        entries.settle(entry, "record", 5000)
        assert entries.bytes <= 20_000
    present = [entries.get(name) for name in entries.names()]
    assert entries.bytes == sum(entry.size for entry in present if entry is not None) > 0
    assert 2 <= len(entries) <= 3
    assert entries.evictions == 10 - len(entries)


@pytest.mark.parametrize("value", [None, 1, "text", [b"text"]], ids=["null", "integer", "str", "list"])
def test_a_hash_of_other_values_is_not_kept(value: Any) -> None:
    """No server sends one in the place of a session."""
    entries = filled("")
    assert not entries.put("a", FIELDS | {b"m:a": value})
    assert (len(entries), entries.bytes) == (0, 0)


@pytest.mark.parametrize(("size", "is_kept"), [(MAX_ENTRY_BYTES - 200, True), (MAX_ENTRY_BYTES, False)])
def test_a_large_record_is_not_kept(size: int, is_kept: bool) -> None:
    """And the entry before it is gone all the same."""
    entries = filled("a")
    assert entries.put("a", FIELDS | {b"m:a": b"x" * size}) is is_kept
    assert ("a" in entries) is is_kept


def test_what_was_too_large_is_remembered_until_it_is_not() -> None:
    """For as many keys as ``MAX_LARGE``, the last ones; and only until everything is dropped."""
    large = FIELDS | {b"m:a": b"x" * MAX_ENTRY_BYTES}
    entries = filled("a")
    assert not entries.takes("a")  # it is there
    assert entries.takes("b")
    entries.put("b", large)
    assert not entries.takes("b")
    entries.put("b", dict(FIELDS))
    entries.drop("b")
    assert entries.takes("b")
    for number in range(MAX_LARGE + 1):
        entries.put(str(number), large)
    assert entries.takes("0")
    assert not any(entries.takes(str(number)) for number in range(1, MAX_LARGE + 1))
    entries.clear()
    assert entries.takes("1")


RECORD = SessionRecord("alice", 1_767_225_600.0, 1_767_312_000.0, 1_767_225_600.0, METADATA)
COUNT = 400


def reply(number: int) -> dict[bytes, bytes]:
    """A reply of the reader, whose texts belong to nobody else."""
    parts = [*encode_record(RECORD), b"created", b"%d" % (1_767_225_600_000_000 + number), b"expires", b"%d" % number]
    parts = [bytes(bytearray(part)) for part in parts]
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize(
    ("copies", "info"),
    [(None, False), (0, False), (WORTH_IT, False), (WORTH_IT, True)],
    ids=["replies", "snapshots", "copied snapshots", "infos"],
)
def test_the_count_of_bytes_is_no_less_than_the_memory(copies: int | None, info: bool) -> None:
    """And no more than three times that: the bound is one of memory."""
    entries = Entries()
    iso_timestamp(0.5)  # the tables for texts of times are made once
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(COUNT):
            key = f"session:{{0c7a3f}}:box:sess-alice-1767225600-{number:032x}0c7a3f"
            entries.put(key, reply(number))
            entry = entries.get(key)
            if copies is not None and entry is not None:
                snapshot = Snapshot(entry.reply or {})
                entries.settle(entry, snapshot, snapshot.size)
                for _ in range(copies):
                    snapshot.record()
                if info:
                    snapshot.info("sess-alice", "box")
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(entries) == COUNT
    assert taken <= entries.bytes <= 3 * taken, (taken / COUNT, entries.bytes / COUNT)


@pytest.mark.parametrize(
    ("sandboxes", "ids", "padding"), [(20, 1000, 0), (1, 4000, 900)], ids=["sandboxes", "long ids"]
)
def test_keys_that_are_remembered_have_a_bound(sandboxes: int, ids: int, padding: int) -> None:
    """One for all sandboxes of a process, and ids that a client has made up do not fill it with long ones."""
    factory = redis.factory("redis://nobody")
    stores = [factory.near_session_store(f"box-{number}", 1) for number in range(sandboxes)]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for store in stores:
            assert isinstance(store, NearSessionStore)
            for number in range(ids):
                session_id = f"{number:050d}" + "x" * padding
                assert store._key(session_id) == session_key(store._sandbox, session_id)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert taken < 4_500_000
