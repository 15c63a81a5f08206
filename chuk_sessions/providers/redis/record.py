"""Writes a session as a Redis hash and reads it back: all conversion of a ``SessionRecord`` is here.

========== ==========================================================================================================
field      what it holds
========== ==========================================================================================================
v          The version of the record: ``2``, or ``2+`` if it has one of the fields ``inc``, ``idle`` and ``end``.
created    When the session was created. All times are microseconds since the epoch, by the server's clock.
accessed   When it was last touched.
expires    When it ends: the deadline of the key.
user       The id of its user; no such field without one.
head       What its entry in the index of its user begins with (see ``scripts``), if that is in the slot of the session.
status     The text of a ``SessionStatus``, if it is not ``active``.
m:<key>    One top-level key of the metadata, its value as JSON, or sealed (see ``sealed``), which the first byte
           tells. With the prefix no key can shadow another field.
inc        The incarnation, if its user's index is in another slot: what stands there (see ``index``).
idle       Microseconds from a touch to its end, if there is an idle timeout;
end        and when it ends in any case: ``expires`` is no later.
alias      The quoted id that a renewed session has now. An alias is a hash of this one field.
========== ==========================================================================================================

The version says whether the record has more than the usual fields. To look for a missing field costs the server the
most, so these fields of a usual record are not read. No time comes from the clock of an application.

Only ``encode_metadata`` encodes values of metadata, and only ``decode_record`` decodes them. The server itself writes
the integers that ``increment`` counts. Scripts read and write the other fields.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from chuk_sessions.codec import ANY_DEPTH, MAX_LEVELS, SEALED, Metadata, decode_values, encode_fields
from chuk_sessions.exceptions import MetadataError
from chuk_sessions.models import ACTIVE, MICROSECONDS, SessionRecord
from chuk_sessions.providers.redis.keys import unquote_part

__all__ = [
    "DEADLINE_DIGITS",
    "METADATA",
    "UNSETTLED_IDLE",
    "VERSION",
    "VERSIONS",
    "Decode",
    "Encode",
    "Fields",
    "alias_in",
    "decode_record",
    "encode_metadata",
    "encode_patch",
    "encode_record",
    "has_sealed_values",
    "in_microseconds",
    "in_seconds",
    "is_unsettled",
    "metadata_field",
    "to_bytes",
    "to_text",
]

VERSION = b"2"
VERSIONS = (VERSION, VERSION + b"+")
METADATA = b"m:"
TIME_DIGITS, DEADLINE_DIGITS = 17, 18  # a deadline may be as late as the year 9999
UNSETTLED_IDLE = 1  # microseconds: the idle timeout of a copy that a user is about to get, see ``lua/bind_put.lua``
MAX_FIELDS = 500_000  # Redis 6.2 takes 1,048,576 arguments; at one more it closes the connection that all calls share

Fields = list[bytes] | dict[bytes, bytes]  # the reply to HGETALL: a list with protocol 2, a dict with 3
# Functions like ``encode_metadata`` and ``decode_record``; the text is the key of the session, which seals need.
Encode = Callable[[Metadata, int, str], list[bytes]]
Decode = Callable[[Fields, str], SessionRecord]


def encode_metadata(metadata: Metadata, levels: int = MAX_LEVELS, key: str = "") -> list[bytes]:
    """Return the fields of the metadata, each followed by its value. They do not depend on the key of the session.

    Raises MetadataError for a value that cannot be stored, and for too many keys or levels.
    """
    items: list[bytes] = []
    fields = encode_fields(metadata, levels)
    if len(fields) > MAX_FIELDS:
        raise MetadataError(f"custom_metadata has more than {MAX_FIELDS} keys; nothing was stored")
    for key, value in fields.items():
        items += (METADATA + to_bytes(key), value.encode())
    return items


def encode_patch(metadata: Metadata, remove: Collection[str]) -> list[bytes]:
    """Return the number of fields to remove, these fields, and then the fields to set, each followed by its value.

    Raises MetadataError as ``encode_metadata``, and if the fields to remove and to set are together too many.
    """
    items = encode_metadata(metadata)
    if len(remove) + len(items) > 2 * MAX_FIELDS:
        raise MetadataError(f"remove and custom_metadata have more than {MAX_FIELDS} keys; nothing was changed")
    return [b"%d" % len(remove), *map(metadata_field, remove), *items]


def metadata_field(key: str) -> bytes:
    """Return the field of one top-level key of the metadata."""
    return METADATA + to_bytes(key)


def encode_record(record: SessionRecord, encode: Encode = encode_metadata, key: str = "") -> list[bytes]:
    """Return the fields of a session that comes from other storage, each followed by its value.

    The fields ``created``, ``expires``, ``head`` and ``inc`` are left out: they depend on the key and the server.
    Raises MetadataError as ``encode_metadata``.
    """
    user = [] if record.user_id is None else [b"user", to_bytes(record.user_id)]
    accessed = b"%d" % in_microseconds(record.accessed)
    status = [] if record.status == ACTIVE else [b"status", record.status.encode()]
    return [b"v", VERSION, b"accessed", accessed, *status, *user, *encode(record.metadata, ANY_DEPTH, key)]


def decode_record(reply: Fields, key: str = "") -> SessionRecord:
    """Return the record in a hash, whatever the key of the session.

    Raises KeyError or ValueError if it is no record of this version.
    """
    fixed: dict[bytes, bytes] = {}
    names: list[str] = []
    values: list[bytes] = []
    if isinstance(reply, dict):
        pairs: Iterable[tuple[bytes, bytes]] = reply.items()
    else:
        fields = iter(reply)
        pairs = zip(fields, fields, strict=True)
    for name, value in pairs:
        if name[:2] == METADATA:
            names.append(name[2:].decode("utf-8", "surrogatepass"))  # as ``to_text`` does
            values.append(value)
        else:
            fixed[name] = value
    if fixed[b"v"] not in VERSIONS:
        raise ValueError("a record of another version")
    user = fixed.get(b"user")
    record = SessionRecord(
        user_id=None if user is None else to_text(user),
        created=in_seconds(fixed[b"created"]),
        expires=in_seconds(fixed[b"expires"], DEADLINE_DIGITS),
        accessed=in_seconds(fixed[b"accessed"]),
        metadata=dict(zip(names, decode_values(values), strict=True)),
        status=fixed[b"status"].decode() if b"status" in fixed else ACTIVE,
    )
    if b"idle" in fixed:
        record.idle, record.idle_expires = in_seconds(fixed[b"idle"]), record.expires
        record.expires = in_seconds(fixed[b"end"], DEADLINE_DIGITS)
    return record


def has_sealed_values(reply: Any) -> bool:
    """Tell whether a hash is a record of this version with a sealed value, which ``decode_record`` refuses."""
    pairs = reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=False))
    return pairs.get(b"v") in VERSIONS and any(
        name.startswith(METADATA) and value.startswith(SEALED) for name, value in pairs.items()
    )


def is_unsettled(record: SessionRecord) -> bool:
    """Tell whether the record is the copy of a pending login: calls find it under its id, but it is no session yet."""
    return record.idle == UNSETTLED_IDLE / MICROSECONDS


def alias_in(reply: Fields) -> str | None:
    """Return the id that an alias stands for; None if the hash is no alias. An alias has only one field."""
    name = reply.get(b"alias") if isinstance(reply, dict) else reply[1] if reply and reply[0] == b"alias" else None
    return None if name is None else unquote_part(name.decode())


def in_microseconds(seconds: float) -> int:
    """Return a time or a span in the unit of records and scripts."""
    return round(seconds * MICROSECONDS)


def in_seconds(digits: bytes, most: int = TIME_DIGITS) -> float:
    """Do the inverse of ``in_microseconds``. Raises ValueError for a text that is no time or is too long."""
    if not digits.isdigit() or len(digits) > most:
        raise ValueError("a time is a number of microseconds")
    return int(digits) / MICROSECONDS


def to_bytes(text: str) -> bytes:
    """Return the bytes of a user or a metadata key on Redis."""
    return text.encode("utf-8", "surrogatepass")


def to_text(data: bytes) -> str:
    """Do the inverse of ``to_bytes``."""
    return data.decode("utf-8", "surrogatepass")
