"""The parts of all CSRF tokens: keys, a signature over separate parts, the time and random bytes."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from secrets import token_bytes
from typing import Any, NamedTuple

__all__ = [
    *("Content", "Keys", "check_keys", "is_id", "pack", "read_base64", "seal", "sign"),
    *("to_base64", "unpack", "unseal"),
]

Keys = str | bytes | Sequence[str | bytes]

MIN_KEY_BYTES = 16
TIME_BYTES, RANDOM_BYTES, TAG_BYTES = 8, 16, 32
MAX_TOKEN = 8192  # characters; a longer token is refused unread
MAX_SKEW = 60  # seconds that a token may be from the future, as clocks of two servers differ


class Content(NamedTuple):
    """The content of a token: its time, in seconds since the epoch, and its data."""

    timestamp: int
    data: dict[str, Any]

    def is_fresh(self, max_age_seconds: float) -> bool:
        """Tell whether the token is not older than ``max_age_seconds``, and not from the future."""
        return -MAX_SKEW <= time.time() - self.timestamp <= max_age_seconds


def check_keys(secret_key: Keys) -> list[bytes]:
    """Return the keys as bytes: the first key signs, all keys verify.

    Raises ValueError for a key under 16 bytes and for an empty list, TypeError for an object that is no key.
    """
    given = [secret_key] if isinstance(secret_key, (str, bytes)) else list(secret_key)
    if not given:
        raise ValueError("secret_key must not be an empty list")
    keys = []
    for key in given:
        if not isinstance(key, (str, bytes)):
            raise TypeError(f"secret_key must be a str, bytes or a list of them, got {type(key).__name__}")
        raw = key.encode() if isinstance(key, str) else key
        if len(raw) < MIN_KEY_BYTES:
            raise ValueError(f"secret_key must have at least {MIN_KEY_BYTES} bytes, such as secrets.token_bytes(32)")
        keys.append(raw)
    return keys


def sign(key: bytes, *parts: bytes) -> bytes:
    """Sign the parts by HMAC-SHA256, each with its length before it: two different lists have different signatures."""
    joined = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    return hmac.digest(key, joined, hashlib.sha256)


def pack(timestamp: int | None, data: dict[str, Any] | None) -> bytes:
    """Join time, 16 random bytes and the data as JSON. Raises TypeError or ValueError if a token cannot have them."""
    moment = int(time.time()) if timestamp is None else timestamp
    if type(moment) is not int or not 0 <= moment < 1 << 63:
        raise ValueError("timestamp must be seconds since the epoch, as an int")
    if data is not None and not isinstance(data, dict):
        raise TypeError(f"user_data must be a dict or None, got {type(data).__name__}")
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).encode() if data else b""
    return moment.to_bytes(TIME_BYTES, "big") + token_bytes(RANDOM_BYTES) + text


def unpack(payload: bytes) -> Content | None:
    """Return the content that ``pack`` joined; None for any other payload."""
    if len(payload) < TIME_BYTES + RANDOM_BYTES:
        return None
    text = payload[TIME_BYTES + RANDOM_BYTES :]
    try:
        data = json.loads(text) if text else {}
    except ValueError:
        return None
    return Content(int.from_bytes(payload[:TIME_BYTES], "big"), data) if isinstance(data, dict) else None


def seal(prefix: str, key: bytes, session_id: str, payload: bytes) -> str:
    """Make a token: prefix, payload and signature. Raises ValueError for an empty session id."""
    if not session_id:
        raise ValueError("session_id must not be empty")
    tag = sign(key, prefix.encode(), session_id.encode("utf-8", "surrogatepass"), payload)
    return f"{prefix}{to_base64(payload + tag)}"


def unseal(prefix: str, keys: list[bytes], session_id: str, token: Any) -> Content | None:
    """Return the content of a token of that session; None if it was not sealed for it with one of the keys."""
    raw = read_base64(prefix, token)
    if raw is None or len(raw) < TAG_BYTES or not is_id(session_id):
        return None
    payload, tag = raw[:-TAG_BYTES], raw[-TAG_BYTES:]
    parts = prefix.encode(), session_id.encode("utf-8", "surrogatepass"), payload
    if not sum(hmac.compare_digest(tag, sign(key, *parts)) for key in keys):  # takes the same time for every key
        return None
    return unpack(payload)


def is_id(session_id: Any) -> bool:
    """Tell whether a token can be bound to this session id."""
    return isinstance(session_id, str) and session_id != ""


def to_base64(raw: bytes) -> str:
    """Encode bytes as Base64 for URLs, without padding."""
    return urlsafe_b64encode(raw).decode().rstrip("=")


def read_base64(prefix: str, token: Any) -> bytes | None:
    """Decode the bytes after the prefix; None for a text that ``to_base64`` would not have written."""
    if not isinstance(token, str) or len(token) > MAX_TOKEN or not token.startswith(prefix) or not token.isascii():
        return None
    text = token[len(prefix) :]
    try:
        raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return None
    return raw if to_base64(raw) == text else None
