"""A session as a Redis hash: from a ``SessionRecord`` to fields and back, in this one place.

========== ==========================================================================================================
field      what it holds
========== ==========================================================================================================
v          The version of the record: ``1``, or ``1+`` if it has one of the fields ``inc``, ``idle`` and ``end``.
created    When the session was created. All times are microseconds since the epoch, by the server's clock.
accessed   When it was last touched.
expires    When it ends: the deadline of the key.
status     The text of a ``SessionStatus``.
user       The id of its user; no such field without one.
m:<key>    One top-level key of the metadata, its value as JSON. With the prefix no key can shadow another field.
inc        The incarnation, if its user's index is in another slot: what stands there (see ``index``).
idle       Microseconds from a touch to its end, if there is an idle timeout;
end        and when it ends in any case: ``expires`` is no later.
alias      The quoted id that a renewed session has now. An alias is a hash of this one field.
========== ==========================================================================================================

The version says whether there are more than the usual fields because a field that is not there costs the server the
most to look for: a usual record is not asked for these. The clocks of applications do not matter for any time.

Values of metadata are encoded by ``encode_metadata`` and decoded by ``decode_record``, and nowhere else; only the
integers that ``increment`` counts are written by the server. The other fields are for the scripts to read and write.
"""

from __future__ import annotations

from collections.abc import Collection

from chuk_sessions.codec import ANY_DEPTH, MAX_LEVELS, Metadata, decode_fields, encode_fields
from chuk_sessions.exceptions import MetadataError
from chuk_sessions.models import MICROSECONDS, SessionRecord
from chuk_sessions.providers.redis.keys import unquote_part

__all__ = [
    "DEADLINE_DIGITS",
    "UNSETTLED_IDLE",
    "VERSION",
    "VERSIONS",
    "Fields",
    "alias_in",
    "decode_record",
    "encode_metadata",
    "encode_patch",
    "encode_record",
    "in_microseconds",
    "in_seconds",
    "is_unsettled",
    "metadata_field",
    "to_bytes",
    "to_text",
]

VERSION = b"1"
VERSIONS = (VERSION, VERSION + b"+")
METADATA = b"m:"
TIME_DIGITS, DEADLINE_DIGITS = 17, 18  # a deadline may be as late as the year 9999
UNSETTLED_IDLE = 1  # microseconds: the idle timeout of a copy that is to be given to a user, see ``lua/bind_put.lua``
MAX_FIELDS = 500_000  # Redis 6.2 takes 1,048,576 arguments and cuts the connection, everybody's, at one more

Fields = list[bytes] | dict[bytes, bytes]  # the reply to HGETALL: a list with protocol 2, a dict with 3


def encode_metadata(metadata: Metadata, levels: int = MAX_LEVELS) -> list[bytes]:
    """The fields of the metadata, each followed by its value.

    Raises MetadataError for what cannot be stored, and for too many keys or levels.
    """
    items: list[bytes] = []
    fields = encode_fields(metadata, levels)
    if len(fields) > MAX_FIELDS:
        raise MetadataError(f"custom_metadata has more than {MAX_FIELDS} keys; nothing was stored")
    for key, value in fields.items():
        items += (METADATA + to_bytes(key), value.encode())
    return items


def encode_patch(metadata: Metadata, remove: Collection[str]) -> list[bytes | int]:
    """How many fields to remove, these fields, and then those to set, each followed by its value.

    Raises MetadataError as ``encode_metadata``, and if all together are too many.
    """
    items = encode_metadata(metadata)
    if len(remove) + len(items) > 2 * MAX_FIELDS:
        raise MetadataError(f"remove and custom_metadata have more than {MAX_FIELDS} keys; nothing was changed")
    return [len(remove), *map(metadata_field, remove), *items]


def metadata_field(key: str) -> bytes:
    """The field of one top-level key."""
    return METADATA + to_bytes(key)


def encode_record(record: SessionRecord) -> list[bytes]:
    """The fields of a session that has come from elsewhere, each followed by its value.

    All but ``created``, and ``expires`` and ``inc``, which only the server knows. Raises as ``encode_metadata``.
    """
    user = [] if record.user_id is None else [b"user", to_bytes(record.user_id)]
    accessed = b"%d" % in_microseconds(record.accessed)
    fixed = [b"v", VERSION, b"accessed", accessed, b"status", record.status.encode(), *user]
    return fixed + encode_metadata(record.metadata, ANY_DEPTH)


def decode_record(reply: Fields) -> SessionRecord:
    """The record in a hash. Raises KeyError or ValueError if it is none of this version."""
    fixed: dict[bytes, bytes] = {}
    metadata: dict[str, str] = {}
    pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
    for name, value in pairs:
        if name.startswith(METADATA):
            metadata[to_text(name[len(METADATA) :])] = value.decode()
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
        metadata=decode_fields(metadata),
        status=fixed[b"status"].decode(),
    )
    if b"idle" in fixed:
        record.idle, record.idle_expires = in_seconds(fixed[b"idle"]), record.expires
        record.expires = in_seconds(fixed[b"end"], DEADLINE_DIGITS)
    return record


def is_unsettled(record: SessionRecord) -> bool:
    """Whether it is the copy of a login that is under way: found under its id, and no session of its own yet."""
    return record.idle == UNSETTLED_IDLE / MICROSECONDS


def alias_in(reply: Fields) -> str | None:
    """The id that a hash of one field is an alias of; it then holds nothing else."""
    name = reply.get(b"alias") if isinstance(reply, dict) else reply[1] if reply and reply[0] == b"alias" else None
    return None if name is None else unquote_part(name.decode())


def in_microseconds(seconds: float) -> int:
    """A time or a span as records and scripts have it."""
    return round(seconds * MICROSECONDS)


def in_seconds(digits: bytes, most: int = TIME_DIGITS) -> float:
    """The inverse of ``in_microseconds``. Raises ValueError for what is no time, or has more digits than that."""
    if not digits.isdigit() or len(digits) > most:
        raise ValueError("a time is a number of microseconds")
    return int(digits) / MICROSECONDS


def to_bytes(text: str) -> bytes:
    """A user or a metadata key as Redis holds it."""
    return text.encode("utf-8", "surrogatepass")


def to_text(data: bytes) -> str:
    """The inverse of ``to_bytes``."""
    return data.decode("utf-8", "surrogatepass")
