"""Keys for metadata that is encrypted at rest: ``redis.factory(url, encryption=Keyring(...))``.

A sealed value is AES-256-GCM-SIV (RFC 8452), which stays safe if a nonce comes twice, so that one key may seal any
number of values:

    0x01 | key id, 4 bytes | nonce, 12 bytes | ciphertext | tag, 16 bytes

No JSON text begins with 0x01, so that sealed and plain values can be told apart in one session. The key id is a hash of
the name of the key, not of the key. The tag also covers what the value is bound to (see ``providers.redis.sealed``):
a value that was moved to another place cannot be opened there.

The package ``cryptography`` is imported when the first keyring is made.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterable, Mapping
from hashlib import blake2b
from inspect import isawaitable
from os import urandom
from typing import TYPE_CHECKING, Any, Literal, Self

from chuk_sessions.codec import SEALED, text_key
from chuk_sessions.environment import KEYS_VARIABLE, variable
from chuk_sessions.exceptions import EncryptionError, ProviderError
from chuk_sessions.nonces import NONCE_BYTES, new_nonce

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

__all__ = [
    "NONCE_AT",
    "TEXT_AT",
    "Keyring",
    "key_id",
    "keyring_from_env",
    "keyring_in",
    "plain_fields_from_env",
]

WRITE_VARIABLE = "SESSION_ENCRYPTION_WRITE"
PLAINTEXT_VARIABLE = "SESSION_ENCRYPTION_PLAINTEXT"
PLAIN_FIELDS_VARIABLE = "SESSION_ENCRYPTION_PLAIN_FIELDS"
NOTHING = "none"  # WRITE_VARIABLE: seal nothing

KEY_BYTES, ID_BYTES, TAG_BYTES = 32, 4, 16
NONCE_AT, TEXT_AT = 1 + ID_BYTES, 1 + ID_BYTES + NONCE_BYTES
LEAST = TEXT_AT + 1 + TAG_BYTES  # bytes: the shortest JSON text is one digit
NAME = re.compile(r"[A-Za-z0-9._-]{1,32}")  # shorter than a key in Base64: what fits is no key that went astray
NAMES_ARE = "the name of a key is 1 to 32 letters, digits, dots, dashes and underscores"
MISSING = "encryption at rest needs: pip install 'chuk-sessions[encryption]'"

Plaintext = Literal["read", "refuse"]
Unwrap = Callable[[bytes], bytes | Awaitable[bytes]]


class Keyring:
    """Hold the keys of sessions: one key seals new values, all keys open the values that they have sealed.

    ``docs/operate/encryption.md`` says how to begin, and how to change keys, while applications run. The object keeps
    no key that could be read from it again; neither ``repr`` nor an error shows one.

    Example:
        >>> keys = Keyring({"k1": Keyring.generate()}, write="k1", plain_fields=["visits"])

    Args:
        keys: The keys by name, 32 random bytes each. A name is 1 to 32 letters, digits, dots, dashes and underscores,
            and belongs to its key for ever: it is in each value that the key has sealed, as a hash.
        write: The name of the key that seals new values. None seals nothing: new values are written plain, sealed ones
            can be read.
        plaintext: What becomes of a value that is not sealed: ``"read"`` reads it, ``"refuse"`` makes it an
            EncryptionError.
        plain_fields: Top-level keys of the metadata that are never sealed, for counters: only these can be incremented.
            A name, or several; a name with ``*`` at its end stands for all keys that begin so.

    Raises:
        ValueError: There is no key, a key has not 32 bytes or comes twice, a name is none or has the id of another
            name, ``write`` names no key, or ``plaintext`` is something else; also ``"refuse"`` with ``write=None``,
            which would refuse what it writes.
        TypeError: A key is no bytes, or ``keys`` is no mapping.
        ImportError: The package ``cryptography`` is missing, which the extra ``encryption`` installs.
        EncryptionError: Its OpenSSL has no AES-GCM-SIV.
    """

    def __init__(
        self,
        keys: Mapping[str, bytes],
        *,
        write: str | None,
        plaintext: Plaintext = "read",
        plain_fields: str | Iterable[str] = (),
    ) -> None:
        _check_keys(keys)
        if write is not None and write not in keys:
            raise ValueError("write must be the name of one of the keys, or None")
        if plaintext not in ("read", "refuse"):
            raise ValueError("plaintext must be 'read' or 'refuse'")
        if plaintext == "refuse" and write is None:
            raise ValueError("with plaintext='refuse' write must name a key: what is written could not be read")
        self.names = {key_id(name): name for name in keys}
        self.write = write
        self.refuses_plaintext = plaintext == "refuse"
        self.plain_fields = _check_fields(plain_fields)
        self._ciphers = {key_id(name): _cipher(key) for name, key in keys.items()}
        self.encrypt: Any = None if write is None else self._ciphers[key_id(write)].encrypt
        self.beginning = b"" if write is None else SEALED + key_id(write)
        self.decrypt_by_beginning = {SEALED + each: cipher.decrypt for each, cipher in self._ciphers.items()}
        self.refusals = _refusals()

    def __repr__(self) -> str:
        return f"Keyring({list(self.names.values())}, write={self.write!r})"

    @staticmethod
    def generate() -> bytes:
        """Make a new key from the random numbers of the operating system.

        Returns:
            32 bytes.
        """
        return urandom(KEY_BYTES)

    @classmethod
    async def load(
        cls,
        unwrap: Unwrap,
        wrapped: Mapping[str, bytes],
        *,
        write: str | None,
        plaintext: Plaintext = "read",
        plain_fields: str | Iterable[str] = (),
    ) -> Self:
        """Make a keyring of keys that a key management service has encrypted.

        Args:
            unwrap: A function, asynchronous or not, that decrypts one key. It is called once for each key.
            wrapped: The encrypted keys by name.
            write: As for ``Keyring``, like the others.
            plaintext: As for ``Keyring``.
            plain_fields: As for ``Keyring``.

        Returns:
            The keyring.

        Raises:
            ValueError: As for ``Keyring``; also TypeError, ImportError and EncryptionError. Errors of ``unwrap`` pass
                through.
        """
        keys: dict[str, bytes] = {}
        for name, each in wrapped.items():
            found = unwrap(each)
            keys[name] = await found if isawaitable(found) else found
        return cls(keys, write=write, plaintext=plaintext, plain_fields=plain_fields)

    @property
    def seals(self) -> bool:
        """Whether new values are sealed."""
        return self.encrypt is not None

    def seal(self, text: bytes, bound_to: bytes) -> bytes:
        """Return the text as a sealed value that can be opened with the same ``bound_to`` only.

        Only if ``seals`` is true.
        """
        nonce = new_nonce()
        sealed: bytes = self.beginning + nonce + self.encrypt(nonce, text, bound_to)
        return sealed

    def open(self, value: bytes, bound_to: bytes) -> bytes:
        """Return the text in a sealed value.

        Raises EncryptionError, whose text goes on after the name of a value: it was sealed with a key that is not here,
        or was changed, or was sealed for another place.
        """
        if len(value) >= LEAST:
            decrypt = self.decrypt_by_beginning.get(value[:NONCE_AT])
            if decrypt is None:
                raise _unknown_key(value)
            try:
                return decrypt(value[NONCE_AT:TEXT_AT], value[TEXT_AT:], bound_to)
            except self.refusals:
                pass
        raise EncryptionError("was changed or moved since it was sealed: it cannot be opened here")

    def reseal(self, value: bytes, bound_to: bytes, now_bound_to: bytes) -> bytes:
        """Seal a sealed value for another place: with the key that seals new values, else with its own.

        Raises EncryptionError as ``open``.
        """
        text = self.open(value, bound_to)
        if self.seals:
            return self.seal(text, now_bound_to)
        head, nonce = value[:NONCE_AT], new_nonce()
        return head + nonce + self._ciphers[head[1:]].encrypt(nonce, text, now_bound_to)

    def is_current(self, value: bytes) -> bool:
        """Tell whether a value is sealed with the key that seals new values."""
        return self.seals and value.startswith(self.beginning)


def key_id(name: str) -> bytes:
    """Return the 4 bytes that stand for a key in the values that it has sealed: a hash of its name."""
    return blake2b(name.encode(), digest_size=ID_BYTES).digest()


def _unknown_key(value: bytes) -> EncryptionError:
    """Make the error for a value that was sealed with a key which is not here."""
    return EncryptionError(f"is sealed with a key that this process does not have (id {value[1:NONCE_AT].hex()})")


def keyring_from_env() -> Keyring | None:
    """Make the keyring that the environment describes; None if ``SESSION_ENCRYPTION_KEYS`` is not set.

    Raises ProviderError for variables that no keyring can be made of, ImportError and EncryptionError as ``Keyring``.
    """
    text = variable(KEYS_VARIABLE)
    return keyring_in(text, KEYS_VARIABLE, plain_fields_from_env(), by_env=True) if text else None


def plain_fields_from_env() -> tuple[str, ...]:
    """Return the names in ``SESSION_ENCRYPTION_PLAIN_FIELDS``, which commas separate."""
    return tuple(name for part in variable(PLAIN_FIELDS_VARIABLE).split(",") if (name := part.strip()))


def keyring_in(text: str, where: str, plain_fields: Iterable[str] = (), *, by_env: bool = False) -> Keyring:
    """Make a keyring of ``name:Base64,name:Base64``. The first key seals, unless with ``by_env`` a variable says other.

    Raises ProviderError, which has ``where`` and no part of a key; ImportError and EncryptionError as ``Keyring``.
    """
    keys: dict[str, bytes] = {}
    for number, item in enumerate(text.split(","), 1):
        name, colon, encoded = item.strip().partition(":")
        if not colon or NAME.fullmatch(name) is None:
            raise ProviderError(f"{where}: item {number} must be name:key, with 32 bytes in Base64; {NAMES_ARE}")
        if name in keys:
            raise ProviderError(f"{where}: the key {name!r} comes twice")
        try:
            keys[name] = b64decode(encoded.translate({45: "+", 95: "/"}) + "=" * (-len(encoded) % 4), validate=True)
        except ValueError:
            raise ProviderError(f"{where}: the key {name!r} is no Base64") from None
    write: str | None = (variable(WRITE_VARIABLE) if by_env else "") or next(iter(keys))
    plaintext: Any = (variable(PLAINTEXT_VARIABLE).lower() if by_env else "") or "read"
    if write not in (*keys, NOTHING):
        raise ProviderError(f"{WRITE_VARIABLE} must be the name of a key in {where}, or {NOTHING}")
    write = write if write in keys else None
    try:
        return Keyring(keys, write=write, plaintext=plaintext, plain_fields=plain_fields)
    except ValueError as exc:
        raise ProviderError(f"{where}: {exc}") from None


def _check_keys(keys: Any) -> None:
    """Raise ValueError or TypeError as ``Keyring``; neither has a key or what may be one."""
    if not isinstance(keys, Mapping):
        raise TypeError(f"keys must be a mapping from names to keys, got {type(keys).__name__}")
    if not keys:
        raise ValueError("a keyring must have a key: Keyring.generate() makes one")
    seen: dict[bytes, str] = {}
    ids: dict[bytes, str] = {}
    for name, key in keys.items():
        if not isinstance(name, str) or NAME.fullmatch(name) is None:
            raise ValueError(NAMES_ARE)
        if not isinstance(key, bytes):
            raise TypeError(f"the key {name!r} must be bytes, got {type(key).__name__}")
        if len(key) != KEY_BYTES:
            raise ValueError(f"the key {name!r} must have {KEY_BYTES} bytes, got {len(key)}: Keyring.generate()")
        if (other := seen.setdefault(key, name)) != name:
            raise ValueError(f"{other!r} and {name!r} are the same key")
        if (other := ids.setdefault(key_id(name), name)) != name:
            raise ValueError(f"the names {other!r} and {name!r} have the same key id: choose another name for one")


def _check_fields(plain_fields: str | Iterable[str]) -> frozenset[str]:
    """Return the names as JSON has them. Raises TypeError for what is no name."""
    names = [plain_fields] if isinstance(plain_fields, str) else list(plain_fields)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"plain_fields must be names, got {type(name).__name__}")
    return frozenset(map(text_key, names))


def _cipher(key: bytes) -> AESGCMSIV:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
    except ImportError as exc:
        raise ImportError(MISSING) from exc
    try:
        return AESGCMSIV(key)
    except UnsupportedAlgorithm as exc:
        text = (
            "the OpenSSL of the installed cryptography has no AES-GCM-SIV: it takes OpenSSL 3.2, which its wheels have"
        )
        raise EncryptionError(text) from exc


def _refusals() -> tuple[type[Exception], ...]:
    """Return the exceptions of opening a value by ``decrypt_by_beginning``, if its key or its tag is wrong."""
    from cryptography.exceptions import InvalidTag

    return InvalidTag, ValueError, KeyError
