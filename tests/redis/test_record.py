"""A session as a hash and back, whichever protocol the hash comes by; what is none is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chuk_sessions.models import SessionRecord
from chuk_sessions.providers.redis import record as records
from chuk_sessions.providers.redis.keys import quote_part

TEXT = st.text(st.characters(codec=None), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT, st.lists, max_leaves=5
)
TIME = st.integers(0, 8 * 10**15)  # up to the year 2223, as seconds have microseconds until 2242
FIXED = {b"v": b"2", b"created": b"1", b"accessed": b"2", b"expires": b"3"}


@pytest.mark.parametrize("status", ["active", "paused"])
@given(user=st.none() | TEXT, times=st.tuples(TIME, TIME, TIME), metadata=st.dictionaries(TEXT, JSON))
def test_there_and_back(user: str | None, times: tuple[int, int, int], metadata: dict[str, Any], status: str) -> None:
    """What the fields say is the session, with its metadata as JSON has it."""
    created, accessed, expires = (records.in_seconds(b"%d" % each) for each in times)
    record = SessionRecord(user, created, expires, accessed, metadata, status)
    fields = records.encode_record(record)
    fields += (b"created", b"%d" % records.in_microseconds(created), b"expires", b"%d" % times[2])
    record.metadata = json.loads(json.dumps(metadata))
    assert records.decode_record(fields) == record
    assert records.decode_record(dict(zip(fields[::2], fields[1::2], strict=True))) == record
    assert records.alias_in(fields) is None


@given(TEXT, JSON)
def test_the_field_of_one_key(key: str, value: Any) -> None:
    """It is the same whether the key is set or counted on."""
    (name, _) = records.encode_metadata({key: value})
    assert name == records.metadata_field(json.loads(json.dumps(key)))


def test_an_idle_timeout() -> None:
    """Two deadlines: the one that a touch moves, and the last one."""
    record = records.decode_record({**FIXED, b"v": b"2+", b"idle": b"5000000", b"end": b"9000000"})
    assert (record.idle, record.idle_expires, record.expires) == (5.0, 3 / 1_000_000, 9.0)


@pytest.mark.parametrize("missing", FIXED)
def test_a_field_that_is_missing(missing: bytes) -> None:
    with pytest.raises(KeyError):
        records.decode_record({name: value for name, value in FIXED.items() if name != missing})


@pytest.mark.parametrize("name", [b"created", b"accessed", b"expires"])
@pytest.mark.parametrize("digits", [b"", b"-1", b"1.5", b"1e3", b"9" * 19, "\u0661".encode(), b"\xff"])
def test_what_is_no_time(name: bytes, digits: bytes) -> None:
    with pytest.raises(ValueError, match="microseconds"):
        records.decode_record({**FIXED, name: digits})


@pytest.mark.parametrize("version", [b"", b"0", b"1", b"2++", b"22"])
def test_another_version(version: bytes) -> None:
    with pytest.raises(ValueError, match="another version"):
        records.decode_record({**FIXED, b"v": version})


@given(TEXT)
def test_an_alias(session_id: str) -> None:
    """It is told by either protocol, and is no record."""
    name = quote_part(session_id).encode()
    for reply in ([b"alias", name], {b"alias": name}):
        assert records.alias_in(reply) == session_id
        with pytest.raises(KeyError):
            records.decode_record(reply)
    assert records.alias_in([]) is None
    assert records.alias_in({}) is None
