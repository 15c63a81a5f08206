"""The stored data of a session, kept in a form that shows the changes at the end of a request.

Changes are found by comparison and not by watching, because applications replace whole sessions, and change lists and
dicts inside them. A scalar is kept unchanged and compared by type and value. Any other value is kept as the bytes of
its JSON.
"""

from __future__ import annotations

from collections.abc import ItemsView
from typing import Any

from orjson import dumps

from chuk_sessions.codec import ANY_DEPTH, FAITHFUL, REFUSALS, encode_fields, encode_value, text_key
from chuk_sessions.exceptions import MetadataError

__all__ = ["Saved", "are_same", "changes", "check_size", "freeze", "freeze_all", "frozen"]

Saved = dict[str, Any]

SCALARS = frozenset((str, int, float, bool, type(None)))
MISSING: Any = object()
LEAST_OF_BYTES = 3  # a value takes less than 3 times its bytes by orjson, which writes -Infinity as null
MOST_NAMED = 3  # largest keys that an error names
LONGEST_NAME = 40  # characters of a key, in an error


def freeze(value: Any) -> Any:
    """Return the form of a value for comparison: the value itself if it is immutable, else the bytes of its JSON."""
    return value if type(value) in SCALARS else _json(value)


def _json(value: Any) -> bytes:
    """Encode as `encode_value`, fast in the usual case. Raises TypeError or ValueError if it cannot be stored.

    What orjson may not write as we do begins with a newline, so that no text of orjson alone equals it.
    """
    try:
        text = dumps(value, None, FAITHFUL)
    except TypeError:  # orjson does not write this value
        return b"\n" + encode_value(value).encode()
    return b"\n" + encode_value(value).encode() if b"null" in text else text  # null may stand for NaN


def freeze_all(data: dict[str, Any]) -> Saved:
    """Freeze each value of the data that was read from a store."""
    saved = data.copy()
    for key, value in data.items():
        if type(value) not in SCALARS:
            saved[key] = _json(value)
    return saved


def frozen(data: dict[str, Any]) -> Saved:
    """Freeze each value that is about to be stored: another task may change a list in them meanwhile.

    A value that cannot be stored is left out, because the store will raise the error.
    """
    saved: Saved = {}
    for key, value in data.items():
        try:
            saved[key] = freeze(value)
        except REFUSALS:
            continue
    return saved


def are_same(saved: Saved, items: ItemsView[Any, Any]) -> bool:
    """Tell whether nothing differs. The answer is that of `changes`, but it is fast enough for every request.

    Lists and dicts are encoded only if all scalars are as they were.
    """
    if len(items) != len(saved):
        return False
    nested: list[tuple[Any, Any]] = []
    try:
        for key, value in items:
            old = saved[key]
            if old is not value:
                kind = type(value)
                if kind not in SCALARS:
                    nested.append((old, value))
                elif type(old) is not kind or old != value or not (value or _same_zero(old, value)):
                    return False
    except KeyError:
        return False
    for old, value in nested:  # noqa: SIM110 (a generator in the path of every request)
        if not _same_when_encoded(old, value):
            return False
    return True


def changes(saved: Saved, data: dict[Any, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the keys to set, with their values, and the keys to remove, so that the store holds ``data``.

    No method of ``data`` is called that a subclass may override. Raises MetadataError for a key that JSON cannot have.
    """
    changed: dict[str, Any] = {}
    known = 0
    for key, value in dict.items(data):
        old = saved.get(key, MISSING)
        if old is MISSING:
            if type(key) is not str:
                return changes(saved, _with_text_keys(data))
            changed[key] = value
        else:
            known += 1
            if old is not value and not _same(old, value):
                changed[key] = value
    if known == len(saved):
        return changed, []
    return changed, [key for key in saved if not dict.__contains__(data, key)]


def _same(saved: Any, value: Any) -> bool:
    """Tell whether a value equals a frozen one. One that cannot be stored does not: so the store raises its error."""
    kind = type(value)
    if kind in SCALARS:
        return saved is value or (type(saved) is kind and saved == value and (bool(value) or _same_zero(saved, value)))
    return _same_when_encoded(saved, value)


def _same_zero(saved: Any, value: Any) -> bool:
    """Tell whether equal values that count as false are written alike: 0.0 and -0.0 are not."""
    return repr(saved) == repr(value)


def _same_when_encoded(saved: Any, value: Any) -> bool:
    """Do what `_same` does, for a value that is no scalar."""
    try:
        if type(saved) is bytes and dumps(value, None, FAITHFUL) == saved:
            return True
    except TypeError:  # orjson does not write this value
        pass
    try:
        return bool(_json(value) == (saved if type(saved) is bytes else _json(saved)))
    except REFUSALS:
        return False


def _with_text_keys(data: dict[Any, Any]) -> dict[str, Any]:
    """Return the data with the keys that JSON makes of its keys."""
    try:
        return {text_key(key): value for key, value in dict.items(data)}
    except TypeError as exc:
        kinds = sorted({type(key).__name__ for key in dict.keys(data)} - {"str"})
        raise MetadataError(f"a session key must be a str, got {', '.join(kinds)}; nothing was stored") from exc


def check_size(data: dict[Any, Any], max_bytes: int) -> None:
    """Raise MetadataError, which names the largest keys, if the JSON of a session takes more than ``max_bytes``.

    A value that cannot be stored at all raises MetadataError too, here or when it is stored.
    """
    try:
        if LEAST_OF_BYTES * len(dumps(data, None, FAITHFUL)) <= max_bytes:
            return  # it is small, however its values are written
    except TypeError:  # orjson does not write this value
        pass
    fields = encode_fields(data, ANY_DEPTH)
    sizes = {key: len(key.encode(errors="replace")) + _bytes(text) for key, text in fields.items()}
    total = sum(sizes.values())
    if total <= max_bytes:
        return
    largest = sorted(sizes, key=lambda key: -sizes[key])[:MOST_NAMED]
    named = ", ".join(f"{key[:LONGEST_NAME]!r} ({sizes[key]:,} bytes)" for key in largest)
    raise MetadataError(
        f"the session has {total:,} bytes of JSON, and max_bytes is {max_bytes:,}; its largest keys: {named};"
        " nothing was stored"
    )


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
