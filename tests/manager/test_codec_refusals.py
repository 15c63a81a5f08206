"""What cannot be stored is refused with the path to it, and why."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import MetadataError
from chuk_sessions.codec import encode_document, encode_fields

if TYPE_CHECKING:
    from collections.abc import Callable

    Encode = Callable[[dict[Any, Any]], object]


@dataclass
class Point:
    x: int = 1


class Odd(Enum):
    SET = frozenset({1})


VALUES: tuple[Any, ...] = (
    Point(),
    datetime(2026, 1, 1, tzinfo=UTC),
    date(2026, 1, 1),
    {1, 2},
    frozenset(),
    b"bytes",
    bytearray(b"x"),
    object(),
    Decimal("1.5"),
    1j,
    Odd.SET,
    Point,
    len,
    range(3),
    iter([1]),
)
KEYS: tuple[Any, ...] = ((1, 2), b"k", frozenset(), Point, Odd.SET, 1j)


@pytest.fixture(params=[encode_document, encode_fields])
def encode(request: pytest.FixtureRequest) -> Encode:
    function: Encode = request.param
    return function


def refusal(encode: Encode, metadata: dict[Any, Any]) -> str:
    with pytest.raises(MetadataError) as caught:
        encode(metadata)
    assert isinstance(caught.value.__cause__, (TypeError, ValueError))
    match = re.fullmatch(r"(.+?) cannot be stored as JSON: (.+); nothing was stored", str(caught.value), re.DOTALL)
    assert match, str(caught.value)
    return match.group(1)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values(encode: Encode, value: Any) -> None:
    """Wherever it is, also among what only json can write; the first one found is named."""
    assert refusal(encode, {"a": value}) == "custom_metadata['a']"
    assert refusal(encode, {"ok": 1, "a": {"b": [0, {"c": value}]}}) == "custom_metadata['a']['b'][1]['c']"
    assert refusal(encode, {"n": 10**30, "a": [float("nan"), (value,)], "z": value}) == "custom_metadata['a'][1][0]"
    assert refusal(encode, {1: {2: value}}) == "custom_metadata[1][2]"


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_keys(encode: Encode, key: Any) -> None:
    """The message names the dict that has the key, and the key's type."""
    assert refusal(encode, {"a": 1, key: 2}) == "a key of custom_metadata"
    assert refusal(encode, {"a": [{"b": {key: 2}}]}) == "a key of custom_metadata['a'][0]['b']"
    with pytest.raises(MetadataError, match=f"{type(key).__name__} cannot be a JSON key"):
        encode({key: 1})


def test_circles(encode: Encode) -> None:
    """A container in itself is named, and not taken for one that occurs twice."""
    shared = [1]
    circle: dict[str, Any] = {"fine": [shared, shared]}
    circle["self"] = circle
    assert refusal(encode, circle) == "custom_metadata['self']"
    items: list[Any] = [shared]
    items.append({"back": items})
    assert refusal(encode, {"a": shared, "b": items}) == "custom_metadata['b'][1]['back']"


def test_too_many_digits(encode: Encode) -> None:
    """Python refuses to write, and to read, integers of more than 4,300 digits; so do we."""
    assert refusal(encode, {"a": [10**5000]}) == "custom_metadata['a'][0]"
    assert refusal(encode, {"a": {10**5000: 1}}) == "a key of custom_metadata['a']"


@pytest.mark.parametrize("metadata", [None, [], "text", b"{}", 5, [("a", 1)], Point()], ids=repr)
def test_what_is_no_dict(encode: Encode, metadata: Any) -> None:
    with pytest.raises(MetadataError, match=f"custom_metadata must be a dict, got {type(metadata).__name__}"):
        encode(metadata)


def test_the_first_of_many_is_found_soon(encode: Encode) -> None:
    """Naming the culprit among much that is fine does not take ages."""
    metadata: dict[str, Any] = {f"k{n}": [n, {"x": [None] * 3}] for n in range(5_000)}
    metadata["deep"] = {"a": {"b": {"c": {"d": [0] * 1000 + [object()]}}}}
    started = time.perf_counter()
    assert refusal(encode, metadata) == "custom_metadata['deep']['a']['b']['c']['d'][1000]"
    assert time.perf_counter() - started < 5
