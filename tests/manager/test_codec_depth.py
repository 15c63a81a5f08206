"""How deep metadata may be: 200 levels for what is written, no limit for what is read, and no matter who calls."""

from __future__ import annotations

import json
from enum import Enum
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chuk_sessions import MetadataError
from chuk_sessions.codec import (
    ANY_DEPTH,
    MAX_LEVELS,
    _json_value,
    decode_document,
    decode_fields,
    encode_document,
    encode_fields,
    merge_document,
)
from chuk_sessions.flat_json import deeper_than, read_flat, read_json, write_flat
from chuk_sessions.testing.samples import NAN, SAMPLES, Dictionary, Sequence
from tests.manager.test_codec import METADATA, VALUES
from tests.support.deep import at_depth, levels_of, nested
from tests.support.helpers import as_json, same

if TYPE_CHECKING:
    from collections.abc import Callable

    Encode = Callable[[dict[Any, Any]], object]

KINDS = ("list", "tuple", "dict", "subclass", "not finite", "odd key", "enum")


class Wide(Enum):
    LIST = [1]  # noqa: RUF012 (a member's value, not a shared default)


def of_kind(levels: int, kind: str) -> dict[Any, Any]:
    """Metadata that many levels deep, among which some is for orjson and some for json."""
    if kind == "odd key":
        return {1: 0, **nested(levels, "dict")}
    innermost: dict[str, Any] = {"not finite": [NAN], "enum": Wide.LIST, "subclass": Sequence([Dictionary(a=1)])}
    if kind in innermost:
        value, taken = innermost[kind], {"subclass": 2}.get(kind, 1)
        for _ in range(levels - 1 - taken):
            value = [value]
        return {"top": value}
    return nested(levels, kind)


@pytest.fixture(params=[encode_document, encode_fields, lambda metadata: merge_document('{"b":1}', metadata)])
def encode(request: pytest.FixtureRequest) -> Encode:
    function: Encode = request.param
    return function


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("levels", [198, 199, 200])
def test_the_deepest(encode: Encode, levels: int, kind: str) -> None:
    metadata = of_kind(levels, kind)
    text = encode(metadata)
    decoded = decode_fields(text) if isinstance(text, dict) else decode_document(str(text))
    assert levels_of(decoded) == levels
    if kind != "enum":
        assert decoded == {**({"b": 1} if "b" in decoded else {}), **as_json(metadata)} or kind == "not finite"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("levels", [201, 202, 253, 254, 255, 256, 300, 978, 5_000, 100_000])
def test_deeper(encode: Encode, levels: int, kind: str) -> None:
    """Refused on every Python, with the beginning of the path."""
    if kind == "tuple" and levels > 1000:
        kind = "list"  # orjson 3.12 and 3.13 do not count tuples: thousands of them in one another end the process
    with pytest.raises(
        MetadataError, match=r"^custom_metadata.* cannot be stored as JSON: nested deeper than 200"
    ) as why:
        encode(of_kind(levels, kind))
    if kind not in ("enum", "odd key"):
        assert str(why.value).startswith("custom_metadata['top'][")
    assert len(str(why.value)) < 200


@pytest.mark.parametrize("levels", [200, 201])
def test_deep_beside_much(encode: Encode, levels: int) -> None:
    """Many containers beside one another are no levels, and brackets in texts are none either."""
    metadata = {"many": [{"n": [n]} for n in range(500)], "text": "[{" * 500, **nested(levels, "list")}
    if levels > MAX_LEVELS:
        with pytest.raises(MetadataError, match=r"^custom_metadata\['top'\]\[0\]"):
            encode(metadata)
    else:
        encode(metadata)


@pytest.mark.parametrize("kind", ["list", "dict", "not finite"])
@pytest.mark.parametrize("levels", [200, 201])
def test_from_a_deep_stack(encode: Encode, levels: int, kind: str) -> None:
    """The same as ever, where ``json`` has no room for so many levels."""
    metadata = of_kind(levels, kind)
    for left in (60, 100, 150, 250):
        if levels > MAX_LEVELS:
            with pytest.raises(MetadataError, match="nested deeper than 200"):
                at_depth(left, lambda: encode(metadata))
        else:
            assert at_depth(left, lambda: encode(metadata)) == encode(metadata)


@pytest.mark.parametrize(("levels", "left"), [(100, 60), (250, 60), (978, 60), (978, 900), (20_000, 200)])
def test_reading_what_was_written_deeper(levels: int, left: int) -> None:
    """An earlier version took 978 levels, and as many as 50,000 on Python 3.14."""
    text = "\n" + '{"a":' + "[" * (levels - 1) + "NaN" + "]" * (levels - 1) + "}"
    assert levels_of(at_depth(left, lambda: decode_document(text))) == levels
    fields = {"a": "\n" + text[len('\n{"a":') : -1], "b": "1"}
    decoded = at_depth(left, lambda: decode_fields(fields))
    assert levels_of({"a": decoded["a"]}) == levels
    assert at_depth(left, lambda: encode_document(decode_document(text), ANY_DEPTH)) == text
    assert at_depth(left, lambda: encode_fields({"a": decoded["a"]}, ANY_DEPTH)) == {"a": fields["a"]}


def test_a_stack_without_room_for_a_call() -> None:
    """That is the caller's own error; it is not taken for a text that cannot be read."""

    def exhaust() -> Any:
        return exhaust()

    with pytest.raises(RecursionError):
        exhaust()
    for left in range(1, 20):
        try:
            at_depth(left, lambda: decode_document('\n{"a":NaN}'))
        except RecursionError:
            continue
        return
    pytest.fail("twenty frames are enough to read a flat document")


@given(METADATA)
@example({"a": [[], {}, [{}], {"b": []}]})
def test_flat_functions_do_what_json_does(metadata: dict[Any, Any]) -> None:
    text = json.dumps(metadata, separators=(",", ":"))
    assert write_flat(metadata, _json_value) == text
    assert same(read_flat(text), json.loads(text))
    assert same(read_flat(json.dumps(metadata, indent=1)), json.loads(text))


@pytest.mark.parametrize("metadata", SAMPLES.values(), ids=SAMPLES)
def test_flat_functions_on_samples(metadata: dict[Any, Any]) -> None:
    text = json.dumps(metadata, separators=(",", ":"))
    assert write_flat(metadata, _json_value) == text
    assert same(read_flat(text), json.loads(text))


def test_writing_flat_what_json_refuses() -> None:
    uuid = UUID(int=5)
    assert write_flat({"a": [uuid, Wide.LIST]}, _json_value) == f'{{"a":["{uuid}",[1]]}}'
    for wrong in ({"a": object()}, {("t",): 1}, {"a": {b"k": 1}}):
        with pytest.raises(TypeError):
            write_flat(wrong, _json_value)


@given(st.text('[]{}",: 1nulatrefsNI\\\n', max_size=12))
@example('{"a":1,}')
@example("[1,]")
@example("[1 2]")
@example('{"a" 1}')
@example("{1:2}")
@example("[1]]")
@example("\ufeff1")
@example("-Infinity")
def test_reading_flat_what_may_be_no_json(text: str) -> None:
    """Both read it and agree, or both refuse it."""
    try:
        expected = json.loads(text)
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 (json and we each have a message of our own)
            read_flat(text)
    else:
        assert same(read_flat(text), expected)


def test_bytes_can_be_read() -> None:
    assert read_json(b'{"a":[1]}') == {"a": [1]}
    deep = b'{"a":' * 5_000 + '"é"'.encode() + b"}" * 5_000
    assert levels_of(read_json(deep)) == 5_000


@given(VALUES)
def test_counting_levels(value: Any) -> None:
    """By the text: the most brackets that are open at a time, where no text has any."""

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(number): bare(each) for number, each in enumerate(value.values())}
        return list(map(bare, value)) if isinstance(value, (list, tuple)) else 0

    levels = most = 0
    for sign in json.dumps(bare(value)):
        levels += (sign in "[{") - (sign in "]}")
        most = max(most, levels)
    assert not deeper_than(most, value)
    assert most == 0 or deeper_than(most - 1, value)


def test_a_circle_has_endless_levels() -> None:
    """Also one that doubles with each level, in no time to speak of."""
    twice: list[Any] = [1]
    twice += [twice, {"a": twice, "b": twice}]
    assert deeper_than(MAX_LEVELS, twice)
    with pytest.raises(MetadataError, match="circular"):
        encode_document({"a": twice})
