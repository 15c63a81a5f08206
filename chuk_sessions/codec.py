"""``custom_metadata`` to JSON and back: as one document, or one text per top-level key.

What is read equals ``json.loads(json.dumps(metadata))``. orjson alone would break that promise: it writes NaN and
Infinity as null, reads integers beyond 64 bits as floats, and takes dataclasses and datetimes that ``json`` refuses.
So orjson does what it does faithfully; the rest is written by ``json`` behind ``JSON_MARK`` and read by it again.
``json`` and orjson both escape newlines, so the mark occurs nowhere else, and it is white space to any other reader.

UUID and Enum members, which ``json`` refuses, are taken as their JSON value.

Metadata may be ``MAX_LEVELS`` levels deep, on every Python and however deep its caller stands. What earlier versions
stored may be deeper: reading has no limit (see ``flat_json``), and ``levels=ANY_DEPTH`` writes again what was read.
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
from chuk_sessions.flat_json import deeper_than, inner_values, read_json, write_json

__all__ = [
    "ANY_DEPTH",
    "MAX_LEVELS",
    "Metadata",
    "decode_document",
    "decode_fields",
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
FAITHFUL = OPT_PASSTHROUGH_DATACLASS | OPT_PASSTHROUGH_DATETIME | OPT_PASSTHROUGH_SUBCLASS
MAX_LEVELS = 200  # containers in one another, the metadata itself included
ANY_DEPTH = sys.maxsize
DEEP = 2 * MAX_LEVELS  # characters that the text of a value must have to be too deep, as each level takes two
TOO_DEEP = f"nested deeper than {MAX_LEVELS} levels"
REFUSALS = (TypeError, ValueError)  # of json and orjson alike


def encode_document(metadata: Metadata, levels: int = MAX_LEVELS) -> str:
    """``metadata`` as one JSON text. Raises MetadataError that names the path to what cannot be stored."""
    try:
        return _encode(metadata if type(metadata) is dict else check_dict(metadata), levels)
    except REFUSALS as exc:
        raise _refusal(metadata, exc) from exc


def decode_document(text: str) -> dict[str, Any]:
    """The metadata in a text that ``encode_document`` wrote. Raises ValueError for another."""
    document = read_json(text) if text.startswith(JSON_MARK) else loads(text)
    if not isinstance(document, dict):
        raise ValueError("a metadata document must be a JSON object")
    return document


def merge_document(text: str, metadata: Metadata) -> str:
    """``text`` with the keys of ``metadata`` set. Raises MetadataError as ``encode_document`` does."""
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
        # Which keys are equal once they are JSON, and which of them counts, is for json to say.
        return _encode(decode_document(text) | decode_document(encode_document(metadata)), ANY_DEPTH)
    except REFUSALS as exc:
        raise _refusal(metadata, exc) from exc


def drop_keys(text: str, keys: Iterable[str]) -> str:
    """``text`` without these keys, each as ``text_key`` gives it; those that it does not have are left out."""
    document = decode_document(text)
    for key in keys:
        document.pop(key, None)
    return _encode(document, ANY_DEPTH)


def encode_fields(metadata: Metadata, levels: int = MAX_LEVELS) -> dict[str, str]:
    """Each top-level key of ``metadata`` with its value as JSON. Raises MetadataError as ``encode_document`` does."""
    fields: dict[str, str] = {}
    levels -= 1
    try:
        for key, value in check_dict(metadata).items():
            fields[text_key(key)] = _encode(value, levels)
    except REFUSALS as exc:
        raise _refusal(metadata, exc) from exc
    return fields


def encode_value(value: object) -> str:
    """One value as ``encode_fields`` writes it, however deep. Raises TypeError or ValueError for what is refused."""
    return _encode(value, ANY_DEPTH)


def decode_fields(fields: dict[str, str]) -> dict[str, Any]:
    """The metadata that ``encode_fields`` wrote. Raises ValueError for anything else."""
    joined = ",".join(fields.values())
    if JSON_MARK in joined:
        return {key: _decode(value) for key, value in fields.items()}
    values = loads(f"[{joined}]")
    if len(values) != len(fields):
        raise ValueError("a metadata field must be one JSON value")
    return dict(zip(fields, values, strict=True))


def check_dict(metadata: object) -> Metadata:
    """``metadata`` itself; MetadataError if it is no dict."""
    if not isinstance(metadata, dict):
        raise MetadataError(f"custom_metadata must be a dict, got {type(metadata).__name__}; nothing was stored")
    return metadata


def _encode(value: object, levels: int = MAX_LEVELS) -> str:
    try:
        # Decoded at once: orjson's own result is a 1 KB buffer cut short, and keeping it costs ten times as much.
        text = dumps(value, None, FAITHFUL).decode()
    except TypeError:  # orjson.JSONEncodeError is one
        return _encode_by_json(value, levels)
    if len(text) >= DEEP:
        _check_depth(text, value, levels)
    if "null" in text and _has_non_finite(value):
        return _encode_by_json(value, levels)
    return text


def _check_depth(text: str, value: object, levels: int) -> None:
    """Raise ValueError if the value of that text is too deep; counting characters is the quick way to tell that not."""
    if text.count("[") + text.count("{") > levels and deeper_than(levels, value):
        raise ValueError(TOO_DEEP)


def _encode_by_json(value: object, levels: int) -> str:
    if deeper_than(levels, value):
        raise ValueError(TOO_DEEP)
    # Read back before it is stored: digits may be written that cannot be read, and keys may turn equal.
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
    """The text that JSON makes of a key. Raises TypeError for what cannot be one."""
    if type(key) is str and (key.isascii() or _is_utf8(key)):
        return key
    return next(iter(json.loads(json.dumps({key: None}))))  # type: ignore[no-any-return]


def text_keys(metadata: Metadata) -> set[str]:
    """The text of each top-level key. Raises MetadataError as ``encode_document`` does."""
    try:
        return {text_key(key) for key, _ in check_dict(metadata).items()}
    except REFUSALS as exc:
        raise _refusal(metadata, exc) from exc


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # surrogates, of which json joins pairs
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
    """Path to the first thing inside ``metadata`` that cannot be stored, and why it cannot. One walk, not recursive."""
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
