"""Ids of several protocols under the names of 0.6.3: what is made here is valid here."""

from __future__ import annotations

from typing import Any

import pytest

from chuk_sessions import ProtocolType
from chuk_sessions.utils.security.session_ids import (
    analyze_session_id_strength,
    estimate_entropy,
    generate_secure_session_id,
    validate_session_id_format,
)

PREFIXES = {
    **{"generic": "sess-", "mcp": "mcp-", "http": "http-", "websocket": "ws-", "jwt": "", "uuid": ""},
    **{"api_key": "ak_", "temp_token": "tmp_"},
}


@pytest.mark.parametrize("protocol", ProtocolType)
@pytest.mark.parametrize("include_timestamp", [False, True])
def test_what_is_made_is_valid(protocol: ProtocolType, include_timestamp: bool) -> None:
    """Always: 0.6.3 refused three quarters of its own API keys."""
    found = {generate_secure_session_id(protocol.value, include_timestamp=include_timestamp) for _ in range(500)}
    assert len(found) == 500
    for each in found:
        assert each.startswith(PREFIXES[protocol])
        assert validate_session_id_format(each, protocol), each
        assert validate_session_id_format(each, protocol, strict_mode=False), each
        assert validate_session_id_format(each), each


@pytest.mark.parametrize(
    "text",
    [
        *("short", "", "x" * 44, "sess-" + "a" * 44, "sess-" + "ab" * 22, "abcdefghijklmnopqrstuvwxyz"),
        *("0123456789" * 5, "sess 0123 with spaces and more", "sess-" + "\xe9" * 44, "x" * 300, None, 5),
    ],
)
def test_what_is_no_id(text: Any) -> None:
    assert not validate_session_id_format(text)


def test_the_form_of_another_protocol() -> None:
    for protocol in ("mcp", "http", "websocket", "uuid", "api_key", "temp_token"):
        assert not validate_session_id_format(generate_secure_session_id(), protocol)
    assert not validate_session_id_format(generate_secure_session_id(), "nonsense")
    assert not validate_session_id_format(generate_secure_session_id(), min_entropy_bits=1000)


def test_entropy() -> None:
    """Of a repeated character there is none, though it may be long; of a random id about what it has."""
    assert estimate_entropy("x" * 300) == estimate_entropy("") == 0
    assert estimate_entropy("ab" * 100) < 5
    assert estimate_entropy("abcdefghijklmnopqrstuvwxyz") < 20
    assert 128 < estimate_entropy(generate_secure_session_id()) < 300


def test_custom_formats_and_more_bits() -> None:
    found = generate_secure_session_id(
        "mine", {"length": 40, "alphabet": "0123456789", "prefix": "x", "separator": ":"}
    )
    assert found.startswith("x:")
    assert len(found) == 42
    assert len(generate_secure_session_id("generic", entropy_bits=512)) == 5 + 86
    assert len(generate_secure_session_id("jwt", entropy_bits=512)) == 86


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "nonsense"}, "unknown protocol"),
        ({"custom_format": {}}, "length must be"),
        ({"custom_format": {"length": 20, "alphabet": "a"}}, "alphabet must have"),
        ({"custom_format": {"length": 20, "alphabet": "aab"}}, "alphabet must have"),
        ({"custom_format": {"length": 20, "alphabet": "ab"}}, "20 bits, and 128"),
    ],
)
def test_what_cannot_be_made(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate_secure_session_id(**options)


def test_analysis() -> None:
    """A good id, a bad one, and none."""
    good = analyze_session_id_strength(generate_secure_session_id("mcp"))
    assert (good["valid"], good["strength"]) == (True, "strong")
    assert good["patterns_detected"] == good["recommendations"] == []
    assert good["protocol_compliance"]["mcp"]
    bad = analyze_session_id_strength("abcabcabcabcabcabc")
    assert (bad["valid"], bad["strength"], bad["patterns_detected"]) == (False, "weak", ["repetition"])
    assert analyze_session_id_strength("abcdefghijklmnop")["patterns_detected"] == ["sequence"]
    assert analyze_session_id_strength("")["character_diversity"] == 0
