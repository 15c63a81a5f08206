"""The copies of a session in the near cache: each is that of a read from the server, and nobody else's."""

from __future__ import annotations

import inspect
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions.models import SessionRecord
from chuk_sessions.providers.redis.record import decode_record, encode_record
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


def reply(metadata: dict[str, Any]) -> dict[bytes, bytes]:
    """The hash of a session."""
    parts = encode_record(SessionRecord("alice", 1.0, 3.0, 2.0, metadata))
    return dict(zip(parts[::2], parts[1::2], strict=True)) | {b"created": b"1000000", b"expires": b"3000000"}


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
        assert sum(sys.getsizeof(getattr(snapshot, slot)) for slot in ("_object", "_json", "_names")) <= snapshot.size


def test_copies_share_nothing() -> None:
    """What a caller does with one, at any depth, is not seen in another."""
    snapshot = Snapshot(reply(METADATA["nested"]))
    for _ in range(COPIES):
        metadata = snapshot.record().metadata
        assert metadata == METADATA["nested"]
        metadata["a"]["b"][0]["c"].append(1)
        metadata["b"][1]["a"]["z"] = 2
        metadata["c"] = 3


@pytest.mark.parametrize("text", [b"", b"{", b"1,2", b'1,"b":2', b'"x', b"1}", b"[1", b"NaN"])
def test_what_is_no_json_stays_an_error(text: bytes) -> None:
    """So that the server is asked; also if it would be JSON between the names of fields."""
    snapshot = Snapshot(reply({"b": 1}) | {b"m:a": text})
    for _ in range(COPIES):
        with pytest.raises(ValueError):  # noqa: PT011  # of orjson or of zip
            snapshot.record()
