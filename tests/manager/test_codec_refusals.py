"""What cannot be stored is refused with the path to it, and why."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import MetadataError, SessionError
from chuk_sessions.codec import decode_document, decode_fields, encode_document, encode_fields
from tests.manager.test_codec import nested

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
    assert isinstance(caught.value.__cause__, (TypeError, ValueError, RecursionError))
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


@pytest.mark.parametrize("kind", ["list", "dict"])
def test_too_deep(encode: Encode, kind: str) -> None:
    """Deeper than Python can recurse: refused like the rest, not an error of its own, and in no time to speak of."""
    metadata = nested(100_000, kind)
    started = time.perf_counter()
    assert refusal(encode, metadata).startswith("custom_metadata")
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("kind", ["list", "dict"])
def test_around_the_deepest_that_can_be_stored(encode: Encode, kind: str) -> None:
    """Wherever the limit of this Python is: what is accepted can be read back, the rest is refused with words."""
    decode: Callable[[Any], object] = decode_document if encode is encode_document else decode_fields
    refused = 0
    for depth in (*range(100, 1100, 3), 2_000, 5_000, 9_000, 20_000, 50_000):
        try:
            text = encode(nested(depth, kind))
        except SessionError as exc:
            refused += 1
            assert str(exc).startswith("custom_metadata")  # noqa: PT017 (either way is right)
        else:
            assert levels_of(decode(text)) == depth
    assert refused > 0


def levels_of(value: Any) -> int:
    """How many containers are in one another; by hand, as comparing deep ones recurses."""
    levels = 0
    while isinstance(value, (dict, list)):
        (value,) = value.values() if isinstance(value, dict) else value
        levels += 1
    return levels


def test_called_from_deep_down(encode: Encode) -> None:
    """Little of the stack is left: stored or refused, as ever."""

    def at_depth(frames: int) -> None:
        if frames:
            at_depth(frames - 1)
        else:
            with contextlib.suppress(SessionError):
                encode(nested(300, "list"))

    at_depth(sys.getrecursionlimit() - 350)


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
