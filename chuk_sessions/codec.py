"""Encodes ``custom_metadata`` as JSON and decodes it: as one document, or as one text per top-level key.

Metadata that is read equals ``json.loads(json.dumps(metadata))``. orjson alone would break that promise: it writes NaN
and Infinity as null, reads integers beyond 64 bits as floats, and takes dataclasses and datetimes that ``json``
refuses. So orjson writes the values for which it agrees with ``json``. Other values are written by ``json`` behind
``JSON_MARK``, and read by ``json``. Both escape newlines in their texts, so the mark occurs nowhere else; to any other
reader it is white space.

UUID and Enum members, which ``json`` refuses, are written as their JSON value.

Metadata may be ``MAX_LEVELS`` levels deep, on every Python and at any depth of the caller's stack. Metadata that
earlier versions stored may be deeper: reading has no limit (see ``flat_json``), and ``levels=ANY_DEPTH`` writes such
metadata again.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Any
from uuid import UUID

from orjson import OPT_PASSTHROUGH_DATACLASS, OPT_PASSTHROUGH_DATETIME, OPT_PASSTHROUGH_SUBCLASS, dumps, loads

from chuk_sessions.exceptions import MetadataError
from chuk_sessions.flat_json import deeper_than, inner_values, is_circular, read_json, write_json

__all__ = [
    "ANY_DEPTH",
    "MAX_LEVELS",
    "SEALED",
    "Metadata",
    "decode_document",
    "decode_fields",
    "decode_values",
    "drop_keys",
    "encode_document",
    "encode_fields",
    "encode_value",
    "merge_document",
    "text_key",
    "text_keys",
]

Metadata = dict[Any, Any]

JSON_MARK = "\n"
MARK_BYTE = JSON_MARK.encode()
SEALED = b"\x01"  # the beginning of a sealed value (see ``encryption``), which no JSON text has
FAITHFUL = OPT_PASSTHROUGH_DATACLASS | OPT_PASSTHROUGH_DATETIME | OPT_PASSTHROUGH_SUBCLASS
MAX_LEVELS = 200  # containers inside one another, the metadata itself included
ANY_DEPTH = sys.maxsize
DEEP = 2 * MAX_LEVELS  # a shorter text cannot be too deep, as each level takes two characters
TOO_DEEP = f"nested deeper than {MAX_LEVELS} levels"
REFUSALS = (TypeError, ValueError)  # of json and orjson alike


def encode_document(metadata: Metadata, levels: int = MAX_LEVELS) -> str:
    """Encode ``metadata`` as one JSON text. Raises MetadataError with the path to a value that cannot be stored."""
    try:
        if type(metadata) is not dict:
            check_dict(metadata)
        try:  # as ``_encode``: written flat, because each new session needs it
            text = dumps(metadata, None, FAITHFUL).decode()
        except TypeError:
            return _encode_by_json(metadata, levels)
        return text if len(text) < DEEP and "null" not in text else _checked(text, metadata, levels)
    except REFUSALS as exc:
        raise _refusal(metadata, exc) from exc


def decode_document(text: str) -> dict[str, Any]:
    """Decode a text that ``encode_document`` wrote. Raises ValueError for any other text."""
    document = read_json(text) if text.startswith(JSON_MARK) else loads(text)
    if not isinstance(document, dict):
        raise ValueError("a metadata document must be a JSON object")
    return document


def merge_document(text: str, metadata: Metadata) -> str:
    """Return ``text`` with the keys of ``metadata`` set. Raises MetadataError as ``encode_document`` does."""
    try:
        if type(metadata) is dict and text[0] == "{":
            merged = loads(text)
            merged |= metadata
            try:
                after = dumps(merged, None, FAITHFUL).decode()
            except TypeError:
                pass
            else:
                if len(after) >= DEEP:
                    _check_depth(after, metadata, MAX_LEVELS)
                if "null" not in after or not _has_non_finite(metadata):
                    return after
        # json decides which keys are equal as JSON, and which of these keys counts.
        return _encode(decode_document(text) | decode_document(encode_document(metadata)), ANY_DEPTH)
    except REFUSALS as exc:
        raise _refusal(metadata, exc) from exc


def drop_keys(text: str, keys: Iterable[str]) -> str:
    """Return ``text`` without these keys, each as ``text_key`` gives it; a key that ``text`` lacks is no error."""
    document = decode_document(text)
    for key in keys:
        document.pop(key, None)
    return _encode(document, ANY_DEPTH)


def encode_fields(metadata: Metadata, levels: int = MAX_LEVELS) -> dict[str, str]:
    """Encode the value of each top-level key of ``metadata`` as JSON. Raises MetadataError as ``encode_document``."""
    fields: dict[str, str] = {}
    levels -= 1
    try:
        for key, value in check_dict(metadata).items():
            fields[text_key(key)] = _encode(value, levels)
    except REFUSALS as exc:
        raise _refusal(metadata, exc) from exc
    return fields


def encode_value(value: object) -> str:
    """Encode one value as ``encode_fields`` does, of any depth. Raises TypeError or ValueError if it is refused."""
    return _encode(value, ANY_DEPTH)


def decode_fields(fields: dict[str, str]) -> dict[str, Any]:
    """Decode the fields that ``encode_fields`` wrote. Raises ValueError for anything else."""
    joined = ",".join(fields.values())
    if JSON_MARK in joined:
        return {key: _decode(value) for key, value in fields.items()}
    values = loads(f"[{joined}]")
    if len(values) != len(fields):
        raise ValueError("a metadata field must be one JSON value")
    return dict(zip(fields, values, strict=True))


def decode_values(values: list[bytes]) -> list[Any]:
    """Decode values of fields that are still bytes, as ``decode_fields`` does, but all of them in one step."""
    joined = b",".join(values)
    if MARK_BYTE in joined:
        return [_decode(value.decode()) for value in values]
    decoded: list[Any] = loads(b"[%b]" % joined)
    if len(decoded) != len(values):
        raise ValueError("a metadata field must be one JSON value")
    return decoded


def check_dict(metadata: object) -> Metadata:
    """Return ``metadata``. Raises MetadataError if it is no dict."""
    if not isinstance(metadata, dict):
        raise MetadataError(f"custom_metadata must be a dict, got {type(metadata).__name__}; nothing was stored")
    return metadata


def _encode(value: object, levels: int = MAX_LEVELS) -> str:
    try:
        # Decoded at once: the bytes of orjson are a shortened buffer of 1 KB, and keeping them takes ten times as much.
        text = dumps(value, None, FAITHFUL).decode()
    except TypeError:  # orjson.JSONEncodeError is one
        return _encode_by_json(value, levels)
    return text if len(text) < DEEP and "null" not in text else _checked(text, value, levels)


def _checked(text: str, value: object, levels: int) -> str:
    """Return the text that orjson made of a value, or that of ``json`` if orjson's is not the same as JSON."""
    if len(text) >= DEEP:
        _check_depth(text, value, levels)
    if "null" in text and _has_non_finite(value):
        return _encode_by_json(value, levels)
    return text


def _check_depth(text: str, value: object, levels: int) -> None:
    """Raise ValueError if the value of that text is too deep. First count brackets: too few of them rule it out."""
    if text.count("[") + text.count("{") > levels and deeper_than(levels, value):
        raise ValueError(TOO_DEEP)


def _encode_by_json(value: object, levels: int) -> str:
    if levels > MAX_LEVELS:  # only what contains itself is too deep then
        if is_circular(value):
            raise ValueError("circular: it contains itself")
    elif deeper_than(levels, value):
        raise ValueError(TOO_DEEP)
    # The text is read back before it is stored: it may have digits that cannot be read, and keys that are now equal.
    return JSON_MARK + write_json(read_json(write_json(value, _json_value)), _json_value)


def _decode(text: str) -> Any:
    return read_json(text) if text.startswith(JSON_MARK) else loads(text)


def _json_value(value: object) -> object:
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"{type(value).__name__} is no JSON type")


def text_key(key: object) -> str:
    """Return the text that JSON makes of a key. Raises TypeError for an object that cannot be a key."""
    if type(key) is str and (key.isascii() or _is_utf8(key)):
        return key
    return next(iter(json.loads(json.dumps({key: None}))))  # type: ignore[no-any-return]


def text_keys(metadata: Metadata) -> set[str]:
    """Return the text of each top-level key. Raises MetadataError as ``encode_document`` does."""
    try:
        return {text_key(key) for key, _ in check_dict(metadata).items()}
    except REFUSALS as exc:
        raise _refusal(metadata, exc) from exc


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # surrogates; json joins two of them to one character
        return False
    return True


def _has_non_finite(value: object) -> bool:
    todo = [value]
    while todo:
        value = todo.pop()
        if isinstance(value, float):
            if not math.isfinite(value):
                return True
        elif isinstance(value, (dict, list, tuple)):
            todo.extend(inner_values(value))
        elif isinstance(value, Enum):
            todo.append(value.value)
    return False


def _refusal(metadata: object, exc: Exception) -> MetadataError:
    where, why = _find_refused(metadata) or ("custom_metadata", str(exc))
    return MetadataError(f"{where} cannot be stored as JSON: {why}; nothing was stored")


def _find_refused(metadata: object) -> tuple[str, str] | None:
    """Return the path to the first value in ``metadata`` that cannot be stored, and the reason. Not recursive."""
    path: list[str] = []
    levels: list[tuple[int, Iterator[tuple[str, object]]]] = [(0, iter([("custom_metadata", metadata)]))]
    while levels:
        step, value = next(levels[-1][1], ("", None))
        if not step:
            levels.pop()
            continue
        path[len(levels) - 1 :] = [step]
        if isinstance(value, (dict, list, tuple)):
            if any(id(value) == outer for outer, _ in levels):
                return "".join(path), "circular: it contains itself"
            if len(levels) > MAX_LEVELS:
                return "".join(path[:10]) + "...", TOO_DEEP
            if isinstance(value, dict):
                for key in value:
                    if _why_refused(text_key, key):
                        return f"a key of {''.join(path)}", f"{type(key).__name__} cannot be a JSON key"
            levels.append((id(value), _steps(value)))
        elif why := _why_refused(_encode, value):
            return "".join(path), why
    return None


def _steps(value: dict[Any, Any] | list[Any] | tuple[Any, ...]) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        return ((f"[{key!r}]", item) for key, item in value.items())
    return ((f"[{i}]", item) for i, item in enumerate(value))


def _why_refused(encode: Callable[[Any], object], value: object) -> str | None:
    try:
        encode(value)
    except REFUSALS as exc:
        return str(exc)
    return None
