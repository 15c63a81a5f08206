"""Seals the values of metadata and opens them, each for its place: sandbox, slot tag and field.

A sealed value (see ``encryption``) is bound to ``0x01 NUL sandbox NUL slot tag NUL field``, with the sandbox quoted as
in a key, so that no two places share a text. A renewal keeps the slot tag, which follows from the id alone; a login
changes it, so that the values are sealed anew (see ``binding``). Names of fields stay plain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chuk_sessions.codec import MAX_LEVELS, SEALED, Metadata
from chuk_sessions.encryption import NONCE_AT, TEXT_AT
from chuk_sessions.exceptions import EncryptionError
from chuk_sessions.models import SessionRecord
from chuk_sessions.nonces import new_nonce
from chuk_sessions.providers.redis.keys import TAG_IN_KEY
from chuk_sessions.providers.redis.record import (
    METADATA,
    VERSIONS,
    Encode,
    Fields,
    decode_record,
    encode_metadata,
    metadata_field,
    to_text,
)
from chuk_sessions.redis_client.replies import as_dict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chuk_sessions.encryption import Keyring

__all__ = ["Seals", "remembered"]

MOST_SHOWN = 60  # characters of the name of a field in an error


class Seals:
    """The seals of one sandbox. ``key`` is always the key of a session, which has its slot tag."""

    def __init__(self, keyring: Keyring, quoted_sandbox: str) -> None:
        self._keyring = keyring
        self._begin = f"{SEALED.decode()}\0{quoted_sandbox}\0"
        names = keyring.plain_fields
        self._seals_all = not names
        self._plain = frozenset(metadata_field(name) for name in names if not name.endswith("*"))
        self._plain_prefixes = tuple(metadata_field(name[:-1]) for name in names if name.endswith("*"))

    def encode(self, metadata: Metadata, levels: int = MAX_LEVELS, key: str = "") -> list[bytes]:
        """Return the fields of the metadata, each followed by its value. Raises as ``encode_metadata``."""
        return self.sealed(encode_metadata(metadata, levels), key)

    def decode(self, reply: Fields, key: str) -> SessionRecord:
        """Return the record in a hash. Raises EncryptionError as ``open``, all else as ``decode_record``."""
        try:
            opened = self.opened(reply, key)
        except EncryptionError:
            if as_dict(reply, "HGETALL").get(b"v") not in VERSIONS:
                raise ValueError("a record of another version") from None
            raise
        return decode_record(opened)

    def sealed(self, items: Sequence[bytes], key: str) -> list[bytes]:
        """Return these fields, each followed by its value, with all values sealed that are to be."""
        sealed = [*items]
        encrypt, beginning, seals_all = self._keyring.encrypt, self._keyring.beginning, self._seals_all
        if encrypt is None:
            return sealed
        bound_to = f"{self._begin}{key[TAG_IN_KEY]}\0".encode()  # without a call of ``_place``: for every change
        value_at = 1
        while value_at < len(sealed):
            field = sealed[value_at - 1]
            if seals_all or not self.is_plain(field):
                nonce = new_nonce()
                sealed[value_at] = beginning + nonce + encrypt(nonce, sealed[value_at], bound_to + field)
            value_at += 2
        return sealed

    def opened(self, reply: Fields, key: str) -> Fields:
        """Return the fields of a record with all its values opened. Raises EncryptionError as ``open``."""
        opened = [part for pair in reply.items() for part in pair] if isinstance(reply, dict) else list(reply)
        opens, bound_to = self._keyring.decrypt_by_beginning, self._place(key)
        refuses = self._keyring.refuses_plaintext
        for i in range(0, len(opened) - 1, 2):
            field = opened[i]
            if field.startswith(METADATA):
                value = opened[i + 1]
                open_it = opens.get(value[:NONCE_AT])
                if open_it is not None:
                    try:
                        opened[i + 1] = open_it(value[NONCE_AT:TEXT_AT], value[TEXT_AT:], bound_to + field)
                    except self._keyring.refusals:
                        opened[i + 1] = self.open(field, value, key)  # which raises the error that says why
                elif refuses or value.startswith(SEALED):
                    self.open(field, value, key)
        return opened

    def open(self, field: bytes, value: bytes, key: str) -> bytes:
        """Return the text of a value, sealed or plain.

        Raises EncryptionError, with the name of the field, for a sealed value that cannot be opened, and for a plain
        one that is refused.
        """
        if value.startswith(SEALED):
            try:
                return self._keyring.open(value, self._place(key) + field)
            except EncryptionError as exc:
                raise _about(field, str(exc)) from None
        if self._keyring.refuses_plaintext and not self.is_plain(field):
            raise _about(field, "is not sealed, and this process refuses plain values")
        return value

    def reseal(self, sealed: dict[bytes, bytes], key: str, new_key: str) -> dict[bytes, bytes]:
        """Return sealed values of a session for another key of it. Raises EncryptionError as ``open``."""
        moved, before, after = {}, self._place(key), self._place(new_key)
        for field, value in sealed.items():
            try:
                moved[field] = self._keyring.reseal(value, before + field, after + field)
            except EncryptionError as exc:
                raise _about(field, str(exc)) from None
        return moved

    def is_plain(self, field: bytes) -> bool:
        """Tell whether the values of that field are never sealed."""
        return field in self._plain or field.startswith(self._plain_prefixes)

    def _place(self, key: str) -> bytes:
        return f"{self._begin}{key[TAG_IN_KEY]}\0".encode()  # without a call of ``tag_in_key``: for every reply


def remembered(encode: Encode) -> Encode:
    """Return a function like ``encode`` that gives the same bytes if it is called again with the same objects.

    A transfer compares what it has written with what is there, and no value is sealed twice in the same way.
    """
    last: list[tuple[Metadata, str, list[bytes]]] = []

    def encode_once(metadata: Metadata, levels: int = MAX_LEVELS, key: str = "") -> list[bytes]:
        if not last or last[0][0] is not metadata or last[0][1] != key:
            last[:] = [(metadata, key, encode(metadata, levels, key))]
        return last[0][2]

    return encode_once


def _about(field: bytes, text: str) -> EncryptionError:
    name = to_text(field[len(METADATA) :])
    return EncryptionError(f"custom_metadata[{name[:MOST_SHOWN]!r}] {text}")
