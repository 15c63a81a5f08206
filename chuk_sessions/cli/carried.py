"""Sealed values on their way to another server: carried as the bytes that they are, without a key.

A value is bound to its sandbox, the slot tag of its session and its field, so that a session which keeps its id and its
sandbox can be opened at the target as before. For another sandbox its values are opened and sealed anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chuk_sessions.codec import MAX_LEVELS, SEALED, Metadata
from chuk_sessions.exceptions import EncryptionError
from chuk_sessions.ids import quote_part, session_key
from chuk_sessions.providers.redis.record import METADATA, decode_record, encode_metadata, metadata_field, to_text

if TYPE_CHECKING:
    from chuk_sessions.encryption import Keyring
    from chuk_sessions.models import SessionRecord

__all__ = ["Carried", "decode_carried", "encode_carried", "for_sandbox", "is_carried"]


@dataclass(frozen=True, slots=True)
class Carried:
    """A value of metadata as it stands on the server, sealed. Its text does not have it."""

    raw: bytes = field(repr=False)


def decode_carried(fields: list[bytes]) -> SessionRecord:
    """Return the record in a hash, its sealed values as ``Carried``. Raises as ``decode_record``."""
    plain: list[bytes] = []
    sealed: dict[str, Carried] = {}
    for name, value in zip(fields[::2], fields[1::2], strict=True):
        if name.startswith(METADATA) and value.startswith(SEALED):
            sealed[to_text(name[len(METADATA) :])] = Carried(value)
        else:
            plain += (name, value)
    record = decode_record(plain)
    record.metadata.update(sealed)
    return record


def encode_carried(metadata: Metadata, levels: int = MAX_LEVELS, key: str = "") -> list[bytes]:
    """Return the fields of the metadata, each followed by its value. Raises as ``encode_metadata``."""
    items = encode_metadata({name: value for name, value in metadata.items() if not isinstance(value, Carried)}, levels)
    for name, value in metadata.items():
        if isinstance(value, Carried):
            items += (metadata_field(name), value.raw)
    return items


def is_carried(metadata: Metadata) -> bool:
    """Tell whether one of the values is sealed."""
    return any(isinstance(value, Carried) for value in metadata.values())


def for_sandbox(metadata: Metadata, session_id: str, before: str, after: str, keyring: Keyring | None) -> Metadata:
    """Return the metadata of a session with its sealed values sealed anew, for another sandbox.

    Raises EncryptionError without a keyring, and for a value that cannot be opened.
    """
    if before == after or not is_carried(metadata):
        return metadata
    if keyring is None:
        raise EncryptionError("its values are sealed for its sandbox, so that --into needs --keys")
    from chuk_sessions.providers.redis.sealed.values import Seals

    old, new = quote_part(before), quote_part(after)
    opening, sealing = Seals(keyring, old), Seals(keyring, new)
    anew: Metadata = {}
    for name, value in metadata.items():
        if isinstance(value, Carried):
            text = opening.open(metadata_field(name), value.raw, session_key(old, session_id))
            value = Carried(sealing.sealed([metadata_field(name), text], session_key(new, session_id))[1])
        anew[name] = value
    return anew
