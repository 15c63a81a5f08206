"""CSRF tokens under the names of 0.6.3, without its defects."""

from __future__ import annotations

import base64
import json
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import chuk_sessions
from chuk_sessions.utils import utc_now_iso
from chuk_sessions.utils.security.csrf import (
    CSRFTokenInfo,
    extract_csrf_token_info,
    generate_csrf_token,
    generate_double_submit_token,
    generate_encrypted_csrf_token,
    is_csrf_token_expired,
    validate_csrf_token,
    validate_double_submit_token,
    validate_encrypted_csrf_token,
)

SESSION, KEY, OTHER_KEY = "sess-alice-1", "k" * 32, "o" * 32
OF_063 = "1795954215:eyJhIjoxfQ:ffebb2a91c7f1eda1da90f449c6b24b40949e20e0e6014e318b48a429a47cbc1"
ITS_SESSION, ITS_KEY = "s" * 10, "k" * 20


def test_a_token_of_the_session() -> None:
    """Is valid for it alone, and tells its data."""
    token = generate_csrf_token(SESSION, KEY, user_data={"action": "delete"})
    assert token.startswith("v2.")
    assert validate_csrf_token(token, SESSION, KEY, require_user_data=True)
    info = extract_csrf_token_info(token, SESSION, KEY)
    assert (info.session_id, info.user_data) == (SESSION, {"action": "delete"})
    assert (info.is_valid, info.token_type) == (True, "hmac")
    assert info.age_seconds in (0, 1)
    assert not info.is_expired
    assert not validate_csrf_token(token, "sess-bob-1", KEY)
    assert not validate_csrf_token(token, SESSION, OTHER_KEY)
    assert not validate_csrf_token(generate_csrf_token(SESSION, KEY), SESSION, KEY, require_user_data=True)


def test_no_two_tokens_are_the_same() -> None:
    """Also in the same second: 0.6.3 gave one for all of it."""
    assert len({generate_csrf_token(SESSION, KEY, 1_000_000) for _ in range(100)}) == 100


def test_a_bad_token_gives_nothing_away() -> None:
    token = generate_csrf_token(SESSION, KEY, user_data={"secret": 1})
    info = extract_csrf_token_info(token, SESSION, OTHER_KEY)
    assert (info.session_id, info.timestamp, info.user_data, info.is_valid) == ("", 0, {}, False)
    assert info.error


@pytest.mark.parametrize(("age", "valid"), [(-61, False), (-30, True), (0, True), (3500, True), (3700, False)])
def test_age(age: int, valid: bool) -> None:
    """Neither too old nor from the future."""
    moment = int(time.time()) - age
    tokens = generate_csrf_token(SESSION, KEY, moment), generate_encrypted_csrf_token(SESSION, KEY, None, moment)
    assert validate_csrf_token(tokens[0], SESSION, KEY) is valid
    assert is_csrf_token_expired(tokens[0], SESSION, KEY) is not valid
    assert validate_encrypted_csrf_token(tokens[1], SESSION, KEY) == ((True, {}) if valid else (False, None))
    assert not is_csrf_token_expired("junk", SESSION, KEY)


def test_every_changed_character_is_noticed() -> None:
    pairs: list[tuple[Any, Any]] = [
        (generate_csrf_token, lambda token: validate_csrf_token(token, SESSION, KEY)),
        (generate_encrypted_csrf_token, lambda token: validate_encrypted_csrf_token(token, SESSION, KEY)[0]),
    ]
    for make, check in pairs:
        token: str = make(SESSION, KEY, user_data={"a": 1})
        assert check(token)
        for place in range(len(token)):
            for other in "A.~=":
                changed = token[:place] + other + token[place + 1 :]
                assert changed == token or not check(changed)
        for longer in (f"{token}A", f"{token}=", f" {token}", f"{token}\n", token[:-1], ""):
            assert not check(longer)


@given(st.one_of(st.none(), st.integers(), st.binary(), st.text(), st.text().map("v2.".__add__)))
def test_anything_else_is_no_token(token: Any) -> None:
    """And never an exception."""
    assert not validate_csrf_token(token, SESSION, KEY, accept_v1=True)
    assert not extract_csrf_token_info(token, SESSION, KEY, accept_v1=True).is_valid
    assert validate_encrypted_csrf_token(token, SESSION, KEY) == (False, None)
    assert not validate_double_submit_token(token, token, SESSION, KEY)


@pytest.mark.parametrize("key", ["", "k", "k" * 15, b"k" * 15, [], ["k" * 32, "short"]])
def test_a_short_key_is_refused(key: Any) -> None:
    """By what makes tokens and by what checks them."""
    for call in (
        lambda: generate_csrf_token(SESSION, key),
        lambda: validate_csrf_token("x", SESSION, key),
        lambda: generate_double_submit_token(SESSION, key),
        lambda: validate_double_submit_token("x", "x", SESSION, key),
        lambda: generate_encrypted_csrf_token(SESSION, key),
        lambda: validate_encrypted_csrf_token("x", SESSION, key),
    ):
        with pytest.raises(ValueError, match="secret_key"):
            call()


def test_arguments_that_cannot_be_in_a_token() -> None:
    with pytest.raises(TypeError, match="secret_key"):
        generate_csrf_token(SESSION, [5])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="user_data"):
        generate_csrf_token(SESSION, KEY, user_data=[1])  # type: ignore[arg-type]
    for make in (generate_csrf_token, generate_encrypted_csrf_token, generate_double_submit_token):
        with pytest.raises(ValueError, match="session_id"):
            make("", KEY)
    for timestamp in (-1, 1.5, True):
        with pytest.raises(ValueError, match="timestamp"):
            generate_csrf_token(SESSION, KEY, timestamp)  # type: ignore[arg-type]


def test_keys_may_change() -> None:
    """The first of a list signs, all of them verify."""
    old = generate_csrf_token(SESSION, KEY)
    new = generate_csrf_token(SESSION, [OTHER_KEY, KEY])
    assert validate_csrf_token(old, SESSION, [OTHER_KEY, KEY])
    assert validate_csrf_token(new, SESSION, OTHER_KEY)
    assert not validate_csrf_token(new, SESSION, KEY)
    assert validate_encrypted_csrf_token(generate_encrypted_csrf_token(SESSION, KEY), SESSION, [OTHER_KEY, KEY])[0]
    assert validate_double_submit_token(*generate_double_submit_token(SESSION, KEY), SESSION, [OTHER_KEY, KEY])


def test_tokens_of_063_only_if_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that it made, with the key and the session of then."""
    monkeypatch.setattr(time, "time", lambda: 1795954300.0)
    assert not validate_csrf_token(OF_063, ITS_SESSION, ITS_KEY)
    assert validate_csrf_token(OF_063, ITS_SESSION, ITS_KEY, accept_v1=True)
    assert extract_csrf_token_info(OF_063, ITS_SESSION, ITS_KEY, accept_v1=True).user_data == {"a": 1}
    assert not validate_csrf_token(OF_063, ITS_SESSION, ITS_KEY, 10, accept_v1=True)
    assert not validate_csrf_token(OF_063, "x" * 10, ITS_KEY, accept_v1=True)
    assert not validate_csrf_token(OF_063.replace("1795", "1796", 1), ITS_SESSION, ITS_KEY, accept_v1=True)


def test_double_submit() -> None:
    """The two belong together and to the session, and neither has its id."""
    cookie, form = generate_double_submit_token(SESSION, KEY, "mine")
    assert validate_double_submit_token(cookie, form, SESSION, KEY)
    other_cookie, other_form = generate_double_submit_token(SESSION, KEY)
    for pair in ((cookie, other_form), (other_cookie, form), (form, cookie), (cookie, cookie), (form, form)):
        assert not validate_double_submit_token(*pair, SESSION, KEY)
    assert not validate_double_submit_token(cookie, form, "sess-bob-1", KEY)
    assert not validate_double_submit_token(cookie, form, SESSION, OTHER_KEY)
    assert not validate_double_submit_token(cookie, form, SESSION, KEY, -1)
    for token in (cookie, form):
        assert SESSION.encode() not in base64.urlsafe_b64decode(token.partition(".")[2] + "==")
        assert not validate_csrf_token(token, SESSION, KEY)


def test_encrypted() -> None:
    """The data cannot be read, and the same data is another text each time."""
    tokens = {generate_encrypted_csrf_token(SESSION, KEY, {"secret": "canary"}, 2_000_000_000) for _ in range(50)}
    assert len(tokens) == 50
    token = generate_encrypted_csrf_token(SESSION, KEY, {"secret": "canary"})
    assert b"canary" not in base64.urlsafe_b64decode(token.partition(".")[2] + "==")
    assert validate_encrypted_csrf_token(token, SESSION, KEY) == (True, {"secret": "canary"})
    assert validate_encrypted_csrf_token(token, "sess-bob-1", KEY) == (False, None)
    assert validate_encrypted_csrf_token(token, SESSION, OTHER_KEY) == (False, None)


def test_encrypted_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(ImportError, match=r"chuk-sessions\[encryption\]"):
        generate_encrypted_csrf_token(SESSION, KEY)


def test_the_names_are_where_they_were() -> None:
    """At the top of the package too."""
    assert chuk_sessions.CSRFTokenInfo is CSRFTokenInfo
    assert [each.value for each in chuk_sessions.TokenType] == ["hmac", "double_submit", "encrypted"]
    assert len(chuk_sessions.ProtocolType) == 8
    told = CSRFTokenInfo(SESSION, 5).to_dict()
    assert json.loads(json.dumps(told))["token_type"] == "hmac"
    assert (told["is_expired"], told["session_id"]) == (True, SESSION)
    assert utc_now_iso().endswith("Z")
