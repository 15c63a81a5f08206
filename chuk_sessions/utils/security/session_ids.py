"""Session ids in the forms of several protocols, and checks of any session ids, under the names of 0.6.3.

A ``SessionManager`` makes its own ids and uses none of this.
"""

from __future__ import annotations

import math
import re
import secrets
import string
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from chuk_sessions.enums import ProtocolType
from chuk_sessions.utils.security.signing import is_id

__all__ = [
    "ProtocolType",
    "analyze_session_id_strength",
    "estimate_entropy",
    "generate_secure_session_id",
    "validate_session_id_format",
]

LETTERS_AND_DIGITS = string.ascii_letters + string.digits
URL_SAFE = LETTERS_AND_DIGITS + "-_"
HEX = "0123456789abcdef"
DEFAULT_BITS = 128
SHORTEST, LONGEST = 16, 255
STRONG, MEDIUM = 128, 64  # bits
JWT_BYTES = 22
UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
VISIBLE = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class Form:
    """The form of a protocol's ids: ``{prefix}{separator}`` and ``length`` characters of an alphabet."""

    length: int
    alphabet: str
    prefix: str = ""
    separator: str = "-"
    least_bits: float = 64  # that `estimate_entropy` must find; random ids of this form have more

    def pattern(self, strict: bool) -> re.Pattern[str]:
        """Return a pattern of ids of this form, with or without a time; of any length unless ``strict``."""
        characters = f"[{re.escape(self.alphabet)}]"
        head = f"{re.escape(self.prefix + self.separator)}(?:[0-9a-f]{{8,}}{re.escape(self.separator)})?"
        return re.compile(f"{head}{characters}{{{self.length},}}" if strict else f"(?:{head})?{characters}+")


FORMS = {
    ProtocolType.GENERIC: Form(44, LETTERS_AND_DIGITS, "sess"),
    ProtocolType.MCP: Form(36, URL_SAFE + ".", "mcp"),
    ProtocolType.HTTP: Form(32, URL_SAFE, "http"),
    ProtocolType.WEBSOCKET: Form(32, URL_SAFE, "ws"),
    ProtocolType.API_KEY: Form(40, HEX, "ak", "_"),
    ProtocolType.TEMP_TOKEN: Form(22, LETTERS_AND_DIGITS, "tmp", "_"),
}


def generate_secure_session_id(
    protocol: str | ProtocolType = ProtocolType.GENERIC,
    custom_format: dict[str, Any] | None = None,
    include_timestamp: bool = False,
    entropy_bits: int | None = None,
) -> str:
    """Make an id from the randomness of the operating system, at least 128 bits of it unless told otherwise.

    ``custom_format`` has ``length`` and ``alphabet``, and ``prefix`` and ``separator`` if wished.
    ``include_timestamp`` puts the time into it as hexadecimal seconds, but into a JWT's id or a UUID. ``entropy_bits``
    makes it longer if need be; a UUID has 122 bits whatever is asked for.

    Raises ValueError for an unknown protocol without a custom format, and for a format with too little randomness.
    """
    bits = DEFAULT_BITS if entropy_bits is None else entropy_bits
    if custom_format is None:
        kind = _protocol(protocol)
        if kind is None:
            raise ValueError(f"unknown protocol {protocol!r}; known: {', '.join(ProtocolType)}; or give custom_format")
        if kind is ProtocolType.UUID:
            return str(uuid.uuid4())
        if kind is ProtocolType.JWT:
            return secrets.token_urlsafe(max(JWT_BYTES, math.ceil(bits / 8)))
        form = FORMS[kind]
        length = max(form.length, math.ceil(bits / math.log2(len(form.alphabet))))
    else:
        form = _custom(custom_format, bits)
        length = form.length
    parts = [form.prefix] if form.prefix else []
    if include_timestamp:
        parts.append(f"{int(time.time()):x}")
    parts.append("".join(secrets.choice(form.alphabet) for _ in range(length)))
    return form.separator.join(parts)


def _protocol(protocol: str | ProtocolType) -> ProtocolType | None:
    try:
        return ProtocolType(protocol)
    except ValueError:
        return None


def _custom(custom_format: dict[str, Any], bits: int) -> Form:
    form = Form(
        custom_format.get("length", 0),
        custom_format.get("alphabet", ""),
        custom_format.get("prefix", ""),
        custom_format.get("separator", "-"),
    )
    if form.length < SHORTEST:
        raise ValueError(f"custom_format: length must be at least {SHORTEST}")
    if len(form.alphabet) < 2 or len(set(form.alphabet)) != len(form.alphabet):
        raise ValueError("custom_format: alphabet must have two characters or more, each once")
    found = form.length * math.log2(len(form.alphabet))
    if found < bits:
        raise ValueError(f"custom_format: {form.length} characters have {found:.0f} bits, and {bits} are asked for")
    return form


def validate_session_id_format(
    session_id: str,
    protocol: str | ProtocolType = ProtocolType.GENERIC,
    min_entropy_bits: int | None = None,
    strict_mode: bool = True,
) -> bool:
    """Tell whether a text has the form of that protocol's ids and looks random. All ids of this module do.

    With ``strict_mode`` it must have the prefix and the length of ids of this module; without it only characters and
    entropy are checked. For ``generic`` any visible ASCII is allowed. A text of the right form need not be the id of a
    session.
    """
    kind = _protocol(protocol)
    if kind is None or not is_id(session_id) or not SHORTEST <= len(session_id) <= LONGEST:
        return False
    if kind is ProtocolType.UUID:
        fits, least = UUID.fullmatch(session_id), 64.0
    elif kind is ProtocolType.JWT:
        fits, least = re.fullmatch(r"[A-Za-z0-9_.-]+", session_id), 64.0
    else:
        form = FORMS[kind]
        fits = (VISIBLE if kind is ProtocolType.GENERIC else form.pattern(strict_mode)).fullmatch(session_id)
        least = form.least_bits
    return fits is not None and estimate_entropy(session_id) >= (
        least if min_entropy_bits is None else min_entropy_bits
    )


def estimate_entropy(session_id: str) -> float:
    """Estimate how many bits of entropy a text has at most; 0 for a text that repeats a character or a pattern.

    The estimate counts how often each character occurs. A text does not show its randomness: the digits of pi get a
    high estimate too.
    """
    period = _period(session_id)
    counts = Counter(period)
    if len(counts) < 2:
        return 0.0
    per_character = -sum(count / len(period) * math.log2(count / len(period)) for count in counts.values())
    return per_character * _surprises(period)


def _period(text: str) -> str:
    """Return the shortest text of which the whole text is a repetition."""
    size = (text + text).find(text, 1) if text else 0
    return text[:size]


def _surprises(text: str) -> int:
    """Count the characters outside runs, such as `aaaa`, `abcd` or `9753`, and outside repeated parts."""
    return min(len(text) - _in_runs(text), 2 + len({text[at : at + 3] for at in range(len(text))}))


def _in_runs(text: str) -> int:
    """Count the characters that continue a run."""
    steps = [ord(after) - ord(before) for before, after in pairwise(text)]
    return sum(after == before for before, after in pairwise(steps))


def analyze_session_id_strength(session_id: str) -> dict[str, Any]:
    """Analyze an id: its length, an estimate of its entropy, and the protocols whose form it has.

    Keys: ``valid``, ``length``, ``entropy_bits``, ``strength`` (``strong``, ``medium``, ``weak``),
    ``character_diversity``, ``unique_characters``, ``patterns_detected``, ``protocol_compliance``, ``recommendations``,
    ``charset_estimate``.
    """
    bits, unique = estimate_entropy(session_id), len(set(session_id))
    patterns = []
    if len(_period(session_id)) < len(session_id):
        patterns.append("repetition")
    elif _in_runs(session_id) > len(session_id) / 4:
        patterns.append("sequence")
    advice = []
    if len(session_id) < SHORTEST:
        advice.append(f"use at least {SHORTEST} characters")
    if bits < STRONG:
        advice.append("use more random characters")
    return {
        "valid": bits >= MEDIUM and SHORTEST <= len(session_id) <= LONGEST,
        "length": len(session_id),
        "entropy_bits": round(bits, 1),
        "strength": "strong" if bits >= STRONG else "medium" if bits >= MEDIUM else "weak",
        "character_diversity": round(unique / len(session_id), 2) if session_id else 0.0,
        "unique_characters": unique,
        "patterns_detected": patterns,
        "protocol_compliance": {
            name: validate_session_id_format(session_id, name, strict_mode=False)
            for name in ("mcp", "http", "websocket", "uuid")
        },
        "recommendations": advice,
        "charset_estimate": _charset(session_id),
    }


def _charset(text: str) -> int:
    """Estimate the size of the alphabet that the id was made of."""
    classes = (string.ascii_lowercase, string.ascii_uppercase, string.digits, string.punctuation)
    return sum(len(each) for each in classes if set(text) & set(each))
