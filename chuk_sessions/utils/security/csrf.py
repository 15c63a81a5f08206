"""CSRF tokens for forms, bound to a session id, under the names of 0.6.3. Needs no storage.

An application that can do without tokens should: ``chuk_sessions.web.CrossOriginGuard`` needs none.

A token is ``v2.`` and the Base64 of time, 16 random bytes, data and an HMAC-SHA256. ``secret_key`` is one key of at
least 16 bytes, or a list: the first key signs, all keys verify. A function that makes a token raises ValueError for a
key that is too short or an empty session id. A function that checks a token raises ValueError only for the key, and
returns False for any bad token.

With ``accept_v1=True`` tokens of 0.6.3 are accepted too: needed as long as forms with such tokens may come back.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from typing import Any

from chuk_sessions.enums import TokenType
from chuk_sessions.utils.security.info import DEFAULT_MAX_AGE, CSRFTokenInfo
from chuk_sessions.utils.security.signing import (
    MAX_TOKEN,
    Content,
    Keys,
    check_keys,
    is_id,
    pack,
    read_base64,
    seal,
    sign,
    to_base64,
    unpack,
    unseal,
)

__all__ = [
    "CSRFTokenInfo",
    "TokenType",
    "extract_csrf_token_info",
    "generate_csrf_token",
    "generate_double_submit_token",
    "generate_encrypted_csrf_token",
    "is_csrf_token_expired",
    "validate_csrf_token",
    "validate_double_submit_token",
    "validate_encrypted_csrf_token",
]

HMAC, COOKIE, FORM, ENCRYPTED = "v2.", "v2d.", "v2f.", "v2e."
V1 = re.compile(r"([0-9]{1,12}):([A-Za-z0-9_-]*):([0-9a-f]{64})")
NONCE_BYTES = 12


def generate_csrf_token(
    session_id: str, secret_key: Keys, timestamp: int | None = None, user_data: dict[str, Any] | None = None
) -> str:
    """Make a token for a form of this session. ``user_data`` is signed, but anybody can read it.

    ``timestamp`` is the time of the token, now by default.
    """
    return seal(HMAC, check_keys(secret_key)[0], session_id, pack(timestamp, user_data))


def validate_csrf_token(
    token: str,
    session_id: str,
    secret_key: Keys,
    max_age_seconds: float = DEFAULT_MAX_AGE,
    require_user_data: bool = False,
    *,
    accept_v1: bool = False,
) -> bool:
    """Tell whether the token was made for this session, is not too old and, with ``require_user_data``, has data.

    A token whose time is over 60 seconds in the future is not valid.
    """
    content = _content(token, session_id, check_keys(secret_key), accept_v1)
    return content is not None and content.is_fresh(max_age_seconds) and bool(content.data or not require_user_data)


def extract_csrf_token_info(token: str, session_id: str, secret_key: Keys, *, accept_v1: bool = False) -> CSRFTokenInfo:
    """Return the content of a token of any age; a token that was not made for this session is not valid."""
    content = _content(token, session_id, check_keys(secret_key), accept_v1)
    if content is None:
        return CSRFTokenInfo(is_valid=False, error="not a token of this session, or changed")
    return CSRFTokenInfo(session_id, content.timestamp, user_data=content.data)


def is_csrf_token_expired(
    token: str, session_id: str, secret_key: Keys, max_age_seconds: float = DEFAULT_MAX_AGE, *, accept_v1: bool = False
) -> bool:
    """Tell whether a token of this session is too old. False if it is no token of this session, and so not valid."""
    content = _content(token, session_id, check_keys(secret_key), accept_v1)
    return content is not None and not content.is_fresh(max_age_seconds)


def generate_double_submit_token(session_id: str, secret_key: Keys, cookie_value: str | None = None) -> tuple[str, str]:
    """Make a pair of tokens, for a cookie and for a form: only with the key can the second be made from the first.

    Neither token has the session id in it. Anybody can read ``cookie_value`` in the first.
    """
    key = check_keys(secret_key)[0]
    cookie = seal(COOKIE, key, session_id, pack(None, None if cookie_value is None else {"value": cookie_value}))
    return cookie, _form_token(key, session_id, cookie)


def validate_double_submit_token(
    cookie_token: str,
    form_token: str,
    session_id: str,
    secret_key: Keys,
    max_age_seconds: float = DEFAULT_MAX_AGE,
) -> bool:
    """Tell whether the two tokens belong together, were made for this session and are not too old."""
    keys = check_keys(secret_key)
    content = unseal(COOKIE, keys, session_id, cookie_token)
    if content is None or not content.is_fresh(max_age_seconds):
        return False
    if read_base64(FORM, form_token) is None:
        return False
    return sum(hmac.compare_digest(form_token, _form_token(key, session_id, cookie_token)) for key in keys) > 0


def generate_encrypted_csrf_token(
    session_id: str, secret_key: Keys, user_data: dict[str, Any] | None = None, timestamp: int | None = None
) -> str:
    """Make a token whose data can be read with the key only: AES-256-GCM-SIV.

    Raises ImportError, which names the extra to install, if the package ``cryptography`` is missing.
    """
    if not session_id:
        raise ValueError("session_id must not be empty")
    from secrets import token_bytes

    nonce = token_bytes(NONCE_BYTES)
    sealed = _cipher(check_keys(secret_key)[0]).encrypt(nonce, pack(timestamp, user_data), _bound_to(session_id))
    return f"{ENCRYPTED}{to_base64(nonce + sealed)}"


def validate_encrypted_csrf_token(
    token: str, session_id: str, secret_key: Keys, max_age_seconds: float = DEFAULT_MAX_AGE
) -> tuple[bool, dict[str, Any] | None]:
    """Return whether the token was made for this session and is not too old, and its data.

    The data is an empty dict if there is none, and None if the token is not valid. Raises ImportError as
    ``generate_encrypted_csrf_token``.
    """
    keys = check_keys(secret_key)
    raw = read_base64(ENCRYPTED, token)
    if raw is None or len(raw) <= NONCE_BYTES or not is_id(session_id):
        return False, None
    for key in keys:
        content = _decrypted(key, raw, session_id)
        if content is not None:
            return (True, content.data) if content.is_fresh(max_age_seconds) else (False, None)
    return False, None


def _content(token: Any, session_id: str, keys: list[bytes], accept_v1: bool) -> Content | None:
    found = unseal(HMAC, keys, session_id, token)
    return _content_of_v1(token, session_id, keys) if found is None and accept_v1 else found


def _content_of_v1(token: Any, session_id: str, keys: list[bytes]) -> Content | None:
    """Read a token of 0.6.3: time, Base64 of the data, and HMAC-SHA256 in hex over session id, time and data."""
    match = V1.fullmatch(token) if isinstance(token, str) and len(token) <= MAX_TOKEN else None
    if match is None or not is_id(session_id):
        return None
    message = f"{session_id}:{match[1]}:{match[2]}".encode("utf-8", "surrogatepass")
    if not sum(hmac.compare_digest(match[3], hmac.new(key, message, hashlib.sha256).hexdigest()) for key in keys):
        return None
    raw = read_base64("", match[2])
    try:
        data = json.loads(raw) if raw else {}
    except ValueError:
        return None
    return Content(int(match[1]), data) if isinstance(data, dict) else None


def _form_token(key: bytes, session_id: str, cookie_token: str) -> str:
    tag = sign(key, FORM.encode(), session_id.encode("utf-8", "surrogatepass"), cookie_token.encode())
    return f"{FORM}{to_base64(tag)}"


def _bound_to(session_id: str) -> bytes:
    return f"{ENCRYPTED}\0{session_id}".encode("utf-8", "surrogatepass")


def _cipher(key: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
    except ImportError as exc:
        raise ImportError("encrypted CSRF tokens need: pip install 'chuk-sessions[encryption]'") from exc
    return AESGCMSIV(sign(key, b"encrypted CSRF tokens"))


def _decrypted(key: bytes, raw: bytes, session_id: str) -> Content | None:
    cipher = _cipher(key)
    from cryptography.exceptions import InvalidTag

    try:
        payload = cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], _bound_to(session_id))
    except (InvalidTag, ValueError):
        return None
    return unpack(payload)
