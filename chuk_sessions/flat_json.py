"""JSON without recursion: the results of ``json`` for any nesting, however little of the stack is left.

``json`` recurses. So the depth that it can read depends on the Python, its recursion limit and the depth of the caller.
These functions first let ``json`` try, as it is ten times faster; if that fails, they work without recursion.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from json.scanner import make_scanner
from typing import Any

__all__ = ["deeper_than", "inner_values", "is_circular", "read_json", "write_json"]

MANY = 20_000  # containers on one level: from here on each is visited once, as the level may repeat some of them
COMPACT = (",", ":")
SCALARS = frozenset((str, int, float, bool, type(None)))
CONTAINERS = (dict, list, tuple)
PLAIN = frozenset(CONTAINERS)

_SCAN = make_scanner(json.JSONDecoder())  # type: ignore[arg-type]  # reads texts, numbers and words without recursion
_SPACE = re.compile(r"[ \t\n\r]*")


class _Literal(str):
    """Text that is JSON already."""

    __slots__ = ()


def read_json(text: str | bytes) -> Any:
    """Read JSON as ``json.loads`` does, of any nesting. Raises ValueError for a text that is no JSON."""
    try:
        return json.loads(text)
    except RecursionError:
        return read_flat(text if isinstance(text, str) else text.decode("utf-8", "surrogatepass"))


def write_json(value: object, default: Callable[[object], object]) -> str:
    """Write compact JSON as ``json.dumps`` does, of any nesting. The caller must refuse a circular value before."""
    try:
        return json.dumps(value, default=default, separators=COMPACT)
    except RecursionError:
        return write_flat(value, default)


def read_flat(text: str) -> Any:
    """Read JSON as ``read_json`` does, without ``json.loads``."""
    reader = _Reader(text)
    while True:
        ended, value = reader.begin()
        while ended and reader.outer:
            ended, value = reader.put(value)
        if ended:
            reader.check_end()
            return value


class _Reader:
    """Reads a value piece by piece.

    ``begin`` and ``put`` return whether a value ended there, and that value. They raise ValueError for a text that is
    no JSON.
    """

    def __init__(self, text: str) -> None:
        self.outer: list[Any] = []  # the containers that are open
        self._keys: list[str] = []  # for each open dict the key whose value comes next
        self._text = text
        self._position = 0
        self._skip(0)

    def begin(self) -> tuple[bool, Any]:
        """Read a value; of a container with items, read only the beginning."""
        opening = self._sign()
        if opening != "[" and opening != "{":
            return True, self._scalar()
        container: Any = [] if opening == "[" else {}
        self._skip(1)
        if self._sign() == _closing(container):
            self._skip(1)
            return True, container
        self.outer.append(container)
        self._begin_item(container)
        return False, None

    def put(self, value: object) -> tuple[bool, Any]:
        """Put a value into the innermost container, and read its end or the beginning of its next item."""
        container = self.outer[-1]
        if isinstance(container, list):
            container.append(value)
        else:
            container[self._keys.pop()] = value
        sign = self._sign()
        if sign != "," and sign != _closing(container):
            raise self._wrong(f"',' or {_closing(container)!r}")
        self._skip(1)
        if sign == ",":
            self._begin_item(container)
            return False, None
        return True, self.outer.pop()

    def check_end(self) -> None:
        """Raise ValueError if more text follows."""
        if self._sign():
            raise self._wrong("the end")

    def _begin_item(self, container: object) -> None:
        """Read the key of the next item, if the container is a dict."""
        if isinstance(container, list):
            return
        if self._sign() != '"':
            raise self._wrong("a key")
        self._keys.append(self._scalar())
        if self._sign() != ":":
            raise self._wrong("':'")
        self._skip(1)

    def _scalar(self) -> Any:
        try:
            value, self._position = _SCAN(self._text, self._position)
        except StopIteration:
            raise self._wrong("a value") from None
        self._skip(0)
        return value

    def _sign(self) -> str:
        return self._text[self._position : self._position + 1]

    def _skip(self, characters: int) -> None:
        """Skip so many characters, and the white space after them."""
        self._position = _SPACE.match(self._text, self._position + characters).end()  # type: ignore[union-attr]

    def _wrong(self, expected: str) -> ValueError:
        return ValueError(f"no JSON: {expected} expected at character {self._position}")


def _closing(container: object) -> str:
    return "]" if isinstance(container, list) else "}"


def write_flat(value: object, default: Callable[[object], object]) -> str:
    """Write JSON as ``write_json`` does, without ``json.dumps`` of a container."""
    pieces: list[str] = []
    todo: list[object] = [value]
    while todo:
        value = todo.pop()
        if type(value) is _Literal:
            pieces.append(value)
        elif isinstance(value, CONTAINERS):
            opening, closing = ("{", "}") if isinstance(value, dict) else ("[", "]")
            pieces.append(opening)
            todo.append(_Literal(closing))
            todo.extend(reversed(list(_parts(value))))
        elif value is None or isinstance(value, (str, int, float)):
            pieces.append(json.dumps(value))
        else:
            todo.append(default(value))
    return "".join(pieces)


def _parts(container: dict[Any, Any] | list[Any] | tuple[Any, ...]) -> Iterable[object]:
    comma = ""
    if isinstance(container, dict):
        for key, value in container.items():
            text = json.dumps({key: None}, separators=COMPACT)  # {"key":null}, with the text that JSON makes of a key
            yield _Literal(f"{comma}{text[1:-5]}")
            yield value
            comma = ","
    else:
        for value in container:
            if comma:
                yield _Literal(comma)
            yield value
            comma = ","


def deeper_than(levels: int, value: object) -> bool:
    """Tell whether more than ``levels`` containers are inside one another; in a circular value endlessly many are."""
    level = _containers((value,))
    for _ in range(levels):
        if not level:
            return False
        level = [
            value
            for container in level
            for value in (container.values() if type(container) is dict else inner_values(container))
            if type(value) not in SCALARS
        ]
        if not PLAIN.issuperset(map(type, level)):
            level = _containers(level)
        if len(level) > MANY:
            level = list({id(container): container for container in level}.values())
    return bool(level)


def inner_values(container: Any) -> Iterable[object]:
    """Return the values in a dict, list or tuple, as ``json`` sees them."""
    return [value for _, value in container.items()] if isinstance(container, dict) else container


def _containers(values: Iterable[object]) -> list[Any]:
    """Return the containers among these values; an Enum member counts as its value."""
    found = []
    for value in values:
        while isinstance(value, Enum) and not isinstance(value, CONTAINERS):
            value = value.value
        if isinstance(value, CONTAINERS):
            found.append(value)
    return found


def is_circular(value: object) -> bool:
    """Tell whether a container in the value contains itself, so that its text would have no end. Not recursive."""
    done: set[int] = set()
    around: set[int] = set()
    levels: list[tuple[int, Iterator[Any]]] = [(0, iter(_containers((value,))))]
    while levels:
        name, containers = levels[-1]
        for container in containers:
            inner = id(container)
            if inner in around:
                return True
            if inner not in done:
                around.add(inner)
                levels.append((inner, iter(_containers(inner_values(container)))))
                break
        else:
            levels.pop()
            around.discard(name)
            done.add(name)
    return False
