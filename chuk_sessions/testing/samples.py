"""Metadata that JSON or a storage easily damages, and the functions that compare it with what a store reads back."""

from __future__ import annotations

import json
from collections import OrderedDict, defaultdict, namedtuple
from enum import Enum, IntEnum, StrEnum
from typing import Any

__all__ = ["SAMPLES", "as_json", "same"]


class Level(IntEnum):
    """An int that the json module accepts."""

    HIGH = 3


class Name(StrEnum):
    """A text that the json module accepts."""

    BOB = "bob"


class Ratio(float, Enum):
    """A float that the json module accepts."""

    HALF = 0.5


class Text(str):
    """A subclass of str."""

    __slots__ = ()


class Number(int):
    """A subclass of int."""

    __slots__ = ()


class Real(float):
    """A subclass of float."""

    __slots__ = ()


class Dictionary(dict[str, Any]):
    """A subclass of dict."""


class Sequence(list[Any]):
    """A subclass of list."""


class Upper(dict[str, Any]):
    """A dict subclass whose ``items`` gives other keys; the json module writes those."""

    def items(self) -> Any:
        """Give the keys in capitals."""
        return [(key.upper(), value) for key, value in super().items()]


Pair = namedtuple("Pair", "left right")
NAN, INF = float("nan"), float("inf")
SAMPLES: dict[str, dict[Any, Any]] = {
    "empty": {},
    "plain": {"a": 1, "b": [1.5, "x", None, True], "c": {"d": {}}},
    "10,000 fields": {f"key-{n}": {"n": n} for n in range(10_000)},
    "huge integers": {"a": 10**30, "b": [2**64, -(2**63) - 1, 2**64 - 1], "c": 10**4000},
    "not finite": {"a": NAN, "b": [INF, -INF], "c": {"d": (NAN, None)}, "e": None},
    "only one not finite among nulls": {"a": [None] * 5, "b": "null", "c": [[NAN]]},
    "the word null": {"a": "null", "b": "nullify", "null": 1},
    "floats": {"a": 1e22, "b": 5e-324, "c": -0.0, "d": 0.1 + 0.2, "e": 1.7976931348623157e308, "f": 1e400},
    "lone surrogates": {"a": "\ud800", "\udcff": ["x\udfff"], "b": "\ud83d\ude00"},
    "surrogate pairs as keys": {"\ud83d\ude00": 1, "\U0001f600": 2, "in": {"\U0001f600": 3, "\ud83d\ude00": 4}},
    "control characters": {"a": "\n\r\t\0\x1f\x7f\u2028\u2029", "\n": "\n"},
    "odd keys": {1: "a", 2.5: "b", False: "c", None: "d", NAN: "e", 10**25: "f"},
    "colliding keys": {1: "a", "1": "b"},
    "colliding keys inside": {"a": {"1": "a", 1: "b"}},
    "colliding keys of other kinds": {"true": 1, True: 2, "null": 3, None: 4, 1.0e3: 5, "1000.0": 6},
    "names of ours": {"v": 9, "user": "u", "created": 0, "expires": 0, "accessed": 0, "status": "x", "metadata": "{}"},
    "prefixes of ours": {"m:v": 1, "m:": 2, "m": 3, ":": 4},
    "tuples": {"a": (1, (2, ())), "b": Pair(1, Pair(2, 3))},
    "subclasses": {"a": Text("x"), "b": Number(5), "c": Real(0.5), "d": Dictionary(x=1), "e": Sequence([1])},
    "subclasses as keys": {Text("x"): 1, Number(5): 2, Real(0.5): 3, "in": {Text("y"): 4}},
    "not finite subclass": {"a": Real("nan"), "b": Sequence([NAN])},
    "dict kinds": {"a": OrderedDict(x=1), "b": defaultdict(int, y=2), "c": [Upper(z=3)]},
    "enums that json takes": {"a": Level.HIGH, "b": Name.BOB, "c": Ratio.HALF},
    "long text": {"a": "x" * 1_000_000, "b": "\ud800" * 1000},
}


def as_json(value: Any) -> Any:
    """Send ``value`` through the json module and back: a session must give back an equal value."""
    return json.loads(json.dumps(value))


def same(left: Any, right: Any) -> bool:
    """Tell whether two values and their types are equal: 1 is not 1.0 or True, 0.0 is not -0.0, NaN is NaN.

    The order of keys does not matter.
    """
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float):
        return repr(left) == repr(right)
    return bool(left == right)
