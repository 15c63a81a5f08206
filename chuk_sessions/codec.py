"""``custom_metadata`` to JSON and back: as one document, or one text per top-level key.

What is read equals ``json.loads(json.dumps(metadata))``. orjson alone would break that promise: it writes NaN and
Infinity as null, reads integers beyond 64 bits as floats, and takes dataclasses and datetimes that ``json`` refuses.
So orjson does what it does faithfully; the rest is written by ``json`` behind ``JSON_MARK`` and read by it again.
``json`` and orjson both escape newlines, so the mark occurs nowhere else, and it is white space to any other reader.

UUID and Enum members, which ``json`` refuses, are taken as their JSON value.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any
from uuid import UUID

from orjson import OPT_PASSTHROUGH_DATACLASS, OPT_PASSTHROUGH_DATETIME, OPT_PASSTHROUGH_SUBCLASS, dumps, loads

from chuk_sessions.exceptions import MetadataError

__all__ = [
    "Metadata",
    "decode_document",
    "decode_fields",
    "encode_document",
    "encode_fields",
    "merge_document",
    "text_key",
]

Metadata = dict[Any, Any]

JSON_MARK = "\n"
FAITHFUL = OPT_PASSTHROUGH_DATACLASS | OPT_PASSTHROUGH_DATETIME | OPT_PASSTHROUGH_SUBCLASS
MAX_DEPTH = 500  # at which a search for what was refused gives up; json itself takes some 900 levels
REFUSALS = (TypeError, ValueError, RecursionError)  # of json and orjson alike


def encode_document(metadata: Metadata) -> str:
    """``metadata`` as one JSON text. Raises MetadataError that names the path to what cannot be stored."""
    try:
        return _encode(metadata if type(metadata) is dict else check_dict(metadata))
    except REFUSALS as exc:
        raise _refusal(metadata, exc) from exc


def decode_document(text: str) -> dict[str, Any]:
    """The metadata in a text that ``encode_document`` wrote. Raises ValueError for another."""
    document = json.loads(text) if text.startswith(JSON_MARK) else loads(text)
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
                if "null" not in after or not _has_non_finite(metadata):
                    return after
        # Which keys are equal once they are JSON, and which of them counts, is for json to say.
        return _encode(decode_document(text) | decode_document(encode_document(metadata)))
    except REFUSALS as exc:
        raise _refusal(metadata, exc) from exc


def encode_fields(metadata: Metadata) -> dict[str, str]:
    """Each top-level key of ``metadata`` with its value as JSON. Raises MetadataError as ``encode_document`` does."""
    try:
        return {text_key(key): _encode(value) for key, value in check_dict(metadata).items()}
    except REFUSALS as exc:
        raise _refusal(metadata, exc) from exc


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


def _encode(value: object) -> str:
    try:
        # Decoded at once: orjson's own result is a 1 KB buffer cut short, and keeping it costs ten times as much.
        text = dumps(value, None, FAITHFUL).decode()
    except TypeError:  # orjson.JSONEncodeError is one
        return _encode_by_json(value)
    if "null" in text and _has_non_finite(value):
        return _encode_by_json(value)
    return text


def _encode_by_json(value: object) -> str:
    # Read back before it is stored: nesting and digits may be written that cannot be read, and keys may turn equal.
    return JSON_MARK + json.dumps(json.loads(json.dumps(value, default=_json_value)), separators=(",", ":"))


def _decode(text: str) -> Any:
    return json.loads(text) if text.startswith(JSON_MARK) else loads(text)


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


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # surrogates, of which json joins pairs
        return False
    return True


def _has_non_finite(value: object) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(_has_non_finite, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_has_non_finite, value))
    return isinstance(value, Enum) and _has_non_finite(value.value)


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
            if len(levels) > MAX_DEPTH:
                return "".join(path[:10]) + "...", "nested too deeply"
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
