"""The copies of a session in the near cache: each is that of a read from the server, and nobody else's."""

from __future__ import annotations

import inspect
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions.models import SessionRecord
from chuk_sessions.providers.redis.record import VERSION, decode_record, encode_record
from chuk_sessions.providers.redis.snapshot import WORTH_IT, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

COPIES = WORTH_IT + 2
LEFT = 60  # frames
DEEP: list[Any] = []
for _ in range(190):
    DEEP = [DEEP]
METADATA: dict[str, dict[str, Any]] = {
    "nothing": {},
    "texts": {"a": "x", "": "", "é😀": "é😀\n\t\x7f", 'quo"te\\': 'quo"te\\'},
    "numbers": {"a": 1, "b": 1.0, "c": -0.0, "d": 2**64 - 1, "e": -(2**63), "f": 1e300, "g": 0.1, "h": True, "i": None},
    "no JSON": {"a": float("nan"), "b": float("-inf"), "c": 2**70},
    "nested": {"a": {"b": [{"c": []}, "d"]}, "b": [[1, 2], {"a": {}}]},
    "deep": {"a": DEEP},
    "control characters": {"\x01" * 1000: "\x01"},
    "surrogates": {"\ud800": 1, "b": "x"},
    "commas": {"a,": "b,", ",": [",", "]"], "]": "}", '"': '","'},
}


IDLE = {b"v": VERSION + b"+", b"idle": b"500000", b"end": b"9000000"}


def reply(metadata: dict[str, Any], user_id: str | None = "alice") -> dict[bytes, bytes]:
    """The hash of a session."""
    parts = encode_record(SessionRecord(user_id, 1.0, 3.0, 2.0, metadata))
    return dict(zip(parts[::2], parts[1::2], strict=True)) | {b"created": b"1000000", b"expires": b"3000000"}


def with_document(fields: dict[bytes, bytes]) -> Snapshot:
    """A snapshot that has been copied so often that it can make infos."""
    snapshot = Snapshot(fields)
    for _ in range(WORTH_IT):
        snapshot.record()
    assert snapshot.document
    return snapshot


@pytest.mark.parametrize("metadata", METADATA.values(), ids=METADATA)
def test_each_copy_is_the_record(metadata: dict[str, Any]) -> None:
    """By types too, and in the order of the fields, however many were made before."""
    fields = reply(metadata)
    snapshot, wanted = Snapshot(fields), repr(decode_record(fields))
    assert [repr(snapshot.record()) for _ in range(COPIES)] == [wanted] * COPIES


def test_a_copy_deep_in_the_stack_of_its_caller() -> None:
    """It takes no more of the stack than a record that was read from the server."""

    def at(depth: int, call: Callable[[], SessionRecord]) -> SessionRecord:
        return at(depth - 1, call) if depth else call()

    fields = reply(METADATA["deep"])
    snapshot, frames = Snapshot(fields), len(inspect.stack(0))
    depth = sys.getrecursionlimit() - frames - LEFT
    wanted = repr(at(depth, partial(decode_record, fields)))
    assert [repr(at(depth, snapshot.record)) for _ in range(COPIES)] == [wanted] * COPIES


@pytest.mark.parametrize("name", ["a", "\x01", '"', "\\", "é", "😀"])
def test_what_is_kept_is_no_larger_than_its_size(name: str) -> None:
    """Which the bound in bytes counts; however a name is written in JSON."""
    snapshot = Snapshot(reply({name * 20_000: 1}))
    for _ in range(COPIES):
        snapshot.record()
        assert sum(sys.getsizeof(getattr(snapshot, slot)) for slot in ("document", "_json", "_names")) <= snapshot.size


def test_copies_share_nothing() -> None:
    """What a caller does with one, at any depth, is not seen in another."""
    snapshot = Snapshot(reply(METADATA["nested"]))
    for _ in range(COPIES):
        metadata = snapshot.record().metadata
        assert metadata == METADATA["nested"]
        metadata["a"]["b"][0]["c"].append(1)
        metadata["b"][1]["a"]["z"] = 2
        metadata["c"] = 3


@pytest.mark.parametrize("name", ["nothing", "texts", "numbers", "nested"])
@pytest.mark.parametrize("more", [{}, IDLE, {b"status": b"expired"}], ids=["usual", "idle", "status"])
@pytest.mark.parametrize("user_id", ["alice", None])
def test_each_info_is_that_of_the_record(name: str, more: dict[bytes, bytes], user_id: str | None) -> None:
    """By types too, and in the same order, for each id and sandbox that it is asked for."""
    fields = reply(METADATA[name], user_id) | more
    snapshot = with_document(fields)
    for session_id, sandbox_id in (("one", "box"), ("one", "box"), ("two", "shop")):
        assert repr(snapshot.info(session_id, sandbox_id)) == repr(decode_record(fields).info(session_id, sandbox_id))


def test_infos_share_nothing() -> None:
    """What a caller does with one, at any depth, is seen neither in another nor in a record."""
    fields = reply(METADATA["nested"]) | IDLE
    snapshot, wanted = with_document(fields), decode_record(fields)
    for _ in range(COPIES):
        info = snapshot.info("one", "box")
        assert info == wanted.info("one", "box")
        assert snapshot.record() == wanted
        info["custom_metadata"]["a"]["b"][0]["c"].append(1)
        info["custom_metadata"]["c"] = info["more"] = 3
        info["status"] = info["user_id"] = "the caller's own"
        del info["last_accessed"]


@pytest.mark.parametrize("text", [b"", b"{", b"1,2", b'1,"b":2', b'"x', b"1}", b"[1", b"NaN"])
def test_what_is_no_json_stays_an_error(text: bytes) -> None:
    """So that the server is asked; also if it would be JSON between the names of fields."""
    snapshot = Snapshot(reply({"b": 1}) | {b"m:a": text})
    for _ in range(COPIES):
        with pytest.raises(ValueError):  # noqa: PT011  # of orjson or of zip
            snapshot.record()
