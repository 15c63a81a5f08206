"""The keys of sealed metadata: what a keyring takes and refuses, and that a value opens in its own place only."""

from __future__ import annotations

import base64
import sys
from typing import Any

import pytest

from chuk_sessions import EncryptionError, ProviderError
from chuk_sessions import encryption as module
from chuk_sessions.encryption import Keyring, key_id, keyring_from_env
from tests.api.test_imports import run_python

pytest.importorskip("cryptography", reason="the extra `encryption` is not installed")

K1, K2 = bytes(range(32)), bytes(range(32, 64))
HERE, TEXT = b"here", b'"canary"'


def in_base64(key: bytes) -> str:
    return base64.b64encode(key).decode()


def both(**options: Any) -> Keyring:
    return Keyring({"k2": K2, "k1": K1}, **{"write": "k2", **options})


def test_a_sealed_value_opens_again() -> None:
    """It has the form that the documentation says, and no nonce comes twice."""
    keys = both()
    value, other = keys.seal(TEXT, HERE), keys.seal(TEXT, HERE)
    assert value[:5] == b"\x01" + key_id("k2")
    assert len(value) == 1 + 4 + 12 + len(TEXT) + 16
    assert value[5:17] != other[5:17]
    assert keys.open(value, HERE) == keys.open(other, HERE) == TEXT


def test_every_key_opens_and_one_seals() -> None:
    """So that what an earlier key has sealed stays readable."""
    before, after = both(write="k1"), both()
    value = before.seal(TEXT, HERE)
    assert after.open(value, HERE) == TEXT
    assert (before.is_current(value), after.is_current(value)) == (True, False)
    reading = both(write=None)
    assert reading.open(value, HERE) == TEXT
    assert (reading.seals, reading.is_current(value)) == (False, False)


def test_each_bit_that_is_flipped() -> None:
    """Is noticed: the key is another one then, or the tag is wrong."""
    keys = both()
    value = keys.seal(TEXT, HERE)
    for place in range(8, 8 * len(value)):  # the first byte says that the value is sealed at all
        changed = bytearray(value)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(EncryptionError, match="does not have" if place < 40 else "changed or moved"):
            keys.open(bytes(changed), HERE)


@pytest.mark.parametrize("length", range(34))
def test_a_value_that_was_cut(length: int) -> None:
    with pytest.raises(EncryptionError, match="changed or moved"):
        both().open(both().seal(TEXT, HERE)[:length], HERE)


def test_a_value_with_more_at_its_end() -> None:
    with pytest.raises(EncryptionError, match="changed or moved"):
        both().open(both().seal(TEXT, HERE) + b"\0", HERE)


def test_another_place() -> None:
    with pytest.raises(EncryptionError, match="changed or moved"):
        both().open(both().seal(TEXT, HERE), b"there")


def test_a_key_that_is_not_here() -> None:
    """The error tells its id, by which an operator finds the name."""
    value = both().seal(TEXT, HERE)
    with pytest.raises(EncryptionError, match=f"key that this process does not have.*{key_id('k2').hex()}"):
        Keyring({"k1": K1}, write="k1").open(value, HERE)


def test_a_name_that_got_another_key() -> None:
    """The value counts as changed: it is never taken for a text."""
    with pytest.raises(EncryptionError, match="changed or moved"):
        Keyring({"k2": K1}, write="k2").open(both().seal(TEXT, HERE), HERE)


WRONG: dict[str, tuple[Any, dict[str, Any], type[Exception], str]] = {
    "no keys": ({}, {"write": None}, ValueError, "must have a key"),
    "no mapping": ([K1], {"write": None}, TypeError, "must be a mapping"),
    "a short key": ({"k1": K1[:31]}, {"write": "k1"}, ValueError, "must have 32 bytes, got 31"),
    "a long key": ({"k1": K1 + b"x"}, {"write": "k1"}, ValueError, "must have 32 bytes, got 33"),
    "a text": ({"k1": in_base64(K1)}, {"write": "k1"}, TypeError, "must be bytes, got str"),
    "an empty name": ({"": K1}, {"write": None}, ValueError, "the name of a key"),
    "a key for a name": ({in_base64(K1): K1}, {"write": None}, ValueError, "the name of a key"),
    "a colon": ({"a:b": K1}, {"write": None}, ValueError, "the name of a key"),
    "the same key": ({"k1": K1, "k2": K1}, {"write": "k1"}, ValueError, "'k1' and 'k2' are the same key"),
    "no such name": ({"k1": K1}, {"write": "k2"}, ValueError, "write must be"),
    "another mode": ({"k1": K1}, {"write": "k1", "plaintext": "drop"}, ValueError, "plaintext must be"),
    "refused writing": ({"k1": K1}, {"write": None, "plaintext": "refuse"}, ValueError, "could not be read"),
    "no field names": ({"k1": K1}, {"write": "k1", "plain_fields": [1]}, TypeError, "must be names, got int"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_keyring(name: str) -> None:
    """The error never has a key, nor what may be one."""
    keys, options, kind, words = WRONG[name]
    with pytest.raises(kind, match=words) as caught:
        Keyring(keys, **options)
    assert in_base64(K1) not in str(caught.value)
    assert repr(K1)[2:12] not in str(caught.value)


def test_names_with_one_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values could not be told apart; one name in 4 billion has the id of another."""
    monkeypatch.setattr(module, "key_id", lambda name: b"same")
    with pytest.raises(ValueError, match="'k2' and 'k1' have the same key id"):
        both()


def test_what_is_shown() -> None:
    """Names only; and no attribute has a key."""
    keys = both(plain_fields=["visits", "count:*"])
    assert repr(keys) == "Keyring(['k2', 'k1'], write='k2')"
    for value in vars(keys).values():
        held = list(value.values()) if isinstance(value, dict) else [value]
        assert K1 not in held
        assert K2 not in held


def test_a_new_key() -> None:
    assert {len(Keyring.generate()) for _ in range(9)} == {32}
    assert Keyring.generate() != Keyring.generate()


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "later"])
async def test_keys_of_a_key_management_service(waits: bool) -> None:
    """Each is unwrapped once, by a function of either kind."""
    asked = []

    def unwrap(wrapped: bytes) -> Any:
        asked.append(wrapped)
        return later(wrapped[::-1]) if waits else wrapped[::-1]

    async def later(key: bytes) -> bytes:
        return key

    keys = await Keyring.load(unwrap, {"k2": K2[::-1], "k1": K1[::-1]}, write="k2")
    assert asked == [K2[::-1], K1[::-1]]
    assert both().open(keys.seal(TEXT, HERE), HERE) == TEXT


async def test_a_key_that_cannot_be_unwrapped() -> None:
    """The error is the service's own."""

    def unwrap(wrapped: bytes) -> bytes:
        raise PermissionError("no access")

    with pytest.raises(PermissionError, match="no access"):
        await Keyring.load(unwrap, {"k1": b"..."}, write="k1")


def test_no_environment() -> None:
    assert keyring_from_env() is None


def test_keys_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first seals; either alphabet of Base64 will do, with padding or without."""
    url_safe = base64.urlsafe_b64encode(bytes(31) + b"\xff").decode().rstrip("=")
    monkeypatch.setenv("SESSION_ENCRYPTION_KEYS", f" k2:{in_base64(K2)}, k1:{in_base64(K1)},k0:{url_safe} ")
    monkeypatch.setenv("SESSION_ENCRYPTION_PLAIN_FIELDS", "visits, count:*,")
    keys = keyring_from_env()
    assert keys is not None
    assert repr(keys) == "Keyring(['k2', 'k1', 'k0'], write='k2')"
    assert keys.plain_fields == {"visits", "count:*"}
    assert not keys.refuses_plaintext
    assert both().open(keys.seal(TEXT, HERE), HERE) == TEXT
    monkeypatch.setenv("SESSION_ENCRYPTION_WRITE", "k1")
    monkeypatch.setenv("SESSION_ENCRYPTION_PLAINTEXT", "refuse")
    keys = keyring_from_env()
    assert keys is not None
    assert (keys.write, keys.refuses_plaintext) == ("k1", True)
    monkeypatch.setenv("SESSION_ENCRYPTION_WRITE", "none")
    with pytest.raises(ProviderError, match="could not be read"):
        keyring_from_env()
    monkeypatch.delenv("SESSION_ENCRYPTION_PLAINTEXT")
    keys = keyring_from_env()
    assert keys is not None
    assert keys.write is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (in_base64(K1), "item 1 must be name:key"),
        (f"k2:{in_base64(K2)},{in_base64(K1)}:k1", "item 2 must be name:key"),
        (f"k1:{in_base64(K1)},k1:{in_base64(K2)}", "'k1' comes twice"),
        (f"k1:{in_base64(K1)[:-4]}", "must have 32 bytes, got 30"),
        (f"k1:{in_base64(K1)}!", "'k1' is no Base64"),
        (f"k1:{K1.hex()}", "must have 32 bytes, got 48"),
        ("k1:", "must have 32 bytes, got 0"),
        (f"k1:{in_base64(K1)},", "item 2 must be name:key"),
    ],
    ids=["no name", "the wrong way round", "twice", "short", "another sign", "hex", "no key", "a comma more"],
)
def test_a_variable_without_a_keyring(monkeypatch: pytest.MonkeyPatch, text: str, words: str) -> None:
    """The error names the variable and shows no part of a key."""
    monkeypatch.setenv("SESSION_ENCRYPTION_KEYS", text)
    with pytest.raises(ProviderError, match=words) as caught:
        keyring_from_env()
    assert str(caught.value).startswith("SESSION_ENCRYPTION_KEYS: ")
    assert in_base64(K1)[:8] not in str(caught.value)
    assert K1.hex()[:8] not in str(caught.value)


def test_a_variable_that_names_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_ENCRYPTION_KEYS", f"k1:{in_base64(K1)}")
    monkeypatch.setenv("SESSION_ENCRYPTION_WRITE", "k2")
    with pytest.raises(ProviderError, match="SESSION_ENCRYPTION_WRITE must be the name of a key"):
        keyring_from_env()


def test_without_cryptography(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install, when the keyring is made."""
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(ImportError, match=r"pip install 'chuk-sessions\[encryption\]'"):
        both()


def test_a_cryptography_without_the_cipher(monkeypatch: pytest.MonkeyPatch) -> None:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.ciphers import aead

    def refuse(key: bytes) -> None:
        raise UnsupportedAlgorithm("no")

    monkeypatch.setattr(aead, "AESGCMSIV", refuse)
    with pytest.raises(EncryptionError, match="OpenSSL"):
        both()


def test_what_is_loaded() -> None:
    """A factory without encryption loads neither the cipher nor the module of the keys; that module loads no cipher."""
    program = """
import sys
from chuk_sessions.providers import redis
redis.factory("redis://localhost:1").session_store("box")
print(sorted(name for name in sys.modules if "encryption" in name or "sealed" in name or "cryptography" in name))
import chuk_sessions.encryption
print(sorted(name for name in sys.modules if "cryptography" in name))
"""
    assert run_python(program).split("\n")[:2] == ["[]", "[]"]
