"""What the codec gives back equals `json.loads(json.dumps(x))`, as one document and as fields."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chuk_sessions.codec import decode_document, decode_fields, decode_values, encode_document, encode_fields
from chuk_sessions.testing.samples import INF, NAN, SAMPLES, Level, Text, as_json, same

ANY_TEXT = st.text(st.characters(categories=None, exclude_categories=()))  # lone surrogates too
INTEGERS = st.one_of(
    st.integers(), st.integers(-(2**70), 2**70), st.sampled_from([2**63, 2**64 - 1, 2**64, -(2**63) - 1])
)
SCALARS = st.one_of(st.none(), st.booleans(), INTEGERS, st.floats(), ANY_TEXT, st.text())
KEYS = st.one_of(
    ANY_TEXT,
    st.text(),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.sampled_from(
        ["1", 1, "true", "null", "NaN", "v", "user", "created", "expires", "accessed", "status", "m:a", ""]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.lists(inner, max_size=3).map(tuple), st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=12,
)
METADATA = st.dictionaries(KEYS, VALUES, max_size=6)


class Colour(Enum):
    RED = "red"


def check(metadata: dict[Any, Any], expected: Any) -> None:
    document, fields = encode_document(metadata), encode_fields(metadata)
    assert same(decode_document(document), expected)
    assert same(decode_fields(fields), expected)
    assert same(dict(zip(fields, decode_values([text.encode() for text in fields.values()]), strict=True)), expected)
    assert fields.keys() == expected.keys()
    for text, value in [(document, expected), *((fields[key], expected[key]) for key in expected)]:
        assert same(json.loads(text, object_pairs_hook=without_duplicates), value)  # any reader of JSON can read it


def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Readers differ in what they make of a key that occurs twice, so none may."""
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


@given(METADATA)
@example({"a": None, "b": [NAN]})
@example({"1": 0, 1: 1})
def test_round_trip(metadata: dict[Any, Any]) -> None:
    check(metadata, as_json(metadata))


@pytest.mark.parametrize("metadata", SAMPLES.values(), ids=SAMPLES)
def test_samples(metadata: dict[Any, Any]) -> None:
    check(metadata, as_json(metadata))


@given(METADATA)
def test_encoding_changes_nothing(metadata: dict[Any, Any]) -> None:
    """The caller's dict is only read, and encoding it again gives the same text."""
    before = repr(metadata)
    assert encode_document(metadata) == encode_document(metadata)
    assert encode_fields(metadata) == encode_fields(metadata)
    assert repr(metadata) == before


@given(METADATA)
def test_what_was_read_can_be_stored_again(metadata: dict[Any, Any]) -> None:
    """As every merge on memory does: nothing wears off."""
    once = decode_document(encode_document(metadata))
    assert same(decode_document(encode_document(once)), once)


@given(st.dictionaries(st.text(), VALUES, max_size=6))
def test_fields_are_independent(metadata: dict[str, Any]) -> None:
    """A merge may put fields of different writers together."""
    fields: dict[str, str] = {}
    for key, value in metadata.items():
        fields.update(encode_fields({key: value}))
    assert same(decode_fields(fields), as_json(metadata))


def test_uuids_and_enum_members() -> None:
    """Which json refuses, are taken as their JSON value."""
    uuid = UUID(int=5)
    metadata = {"a": uuid, "b": Colour.RED, "c": [Colour.RED, {"d": uuid}], "e": Level.HIGH}
    expected = {"a": str(uuid), "b": "red", "c": ["red", {"d": str(uuid)}], "e": 3}
    check(metadata, expected)


def test_uuids_and_enum_members_among_what_orjson_cannot_write() -> None:
    uuid = UUID(int=5)
    metadata = {"a": uuid, "b": Colour.RED, "c": [10**30, NAN, Text("x"), uuid, Colour.RED], 1: Colour.RED}
    expected = {"a": str(uuid), "b": "red", "c": [10**30, NAN, "x", str(uuid), "red"], "1": "red"}
    check(metadata, expected)


def test_an_enum_member_that_is_not_finite() -> None:
    class Odd(Enum):
        NOTHING = NAN
        LIST = [1, INF]  # noqa: RUF012 (a member's value, not a shared default)

    check({"a": Odd.NOTHING, "b": None, "c": Odd.LIST}, {"a": NAN, "b": None, "c": [1, INF]})


@pytest.mark.parametrize("text", ["", "[]", "1", "null", '"a"', "{", "\n", "\n[1]", '{"a":1}{}', "{'a': 1}"])
def test_documents_that_are_none(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (json, orjson and we each have a message of our own)
        decode_document(text)


def test_bytes_that_are_no_text() -> None:
    """Are refused as a ValueError too, whatever is beside them."""
    for values in ([b'"\xff"'], [b'"\xff"', b"\n1"]):
        with pytest.raises(ValueError):  # noqa: PT011 (see above)
            decode_values(values)


@pytest.mark.parametrize("value", ["", "{", "1,2", "\n", "\n1 2", "nul", "]", "1],[2"])
def test_fields_that_are_none(value: str) -> None:
    """Also one that would only be valid in the company of others."""
    for fields in ({"a": value}, {"a": "1", "b": value}, {"a": value, "b": "\n1"}):
        with pytest.raises(ValueError):  # noqa: PT011 (see above)
            decode_fields(fields)
        with pytest.raises(ValueError):  # noqa: PT011
            decode_values([value.encode() for value in fields.values()])
