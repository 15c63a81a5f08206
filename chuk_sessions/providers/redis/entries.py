"""Makes and parses entries of an index, and parses the other replies of the scripts that read and write them.

The form of an entry is described in ``scripts``.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

from chuk_sessions.providers.redis.keys import name_in_key, tag_in_index, unquote_part
from chuk_sessions.redis_client.commands import Reply
from chuk_sessions.redis_client.replies import SHAPES, unknown_shape

__all__ = [
    "MARK_BYTES",
    "Member",
    "fields_in",
    "form_of",
    "head_of",
    "integer_in",
    "mark_of",
    "member_of",
    "moment_in",
    "name_in",
    "number_in",
    "parse_member",
    "raw_member",
    "target_of",
    "texts_in",
]


MARK_BYTES = 8
TIME_AT, REST_AT = slice(9, 17), 17
DATED, OWN, WHOLE, ELSEWHERE = b"-", b".", b":", b"+"  # the forms of an entry
SECOND, RANDOM = slice(-49, -39), slice(-38, -6)  # where an id made here has its second, and its random digits
PREFIX = "sess-"


class Member(NamedTuple):
    """A session in an index."""

    raw: bytes
    index_key: str
    session_id: str
    born: int  # when the session was created, in microseconds
    digits: bytes = b""  # what its incarnation has after the creation time

    @property
    def incarnation(self) -> bytes:
        """The creation time, a dot, and for a session in another slot than the index some digits."""
        return b"%d.%b" % (self.born, self.digits)

    @property
    def filed(self) -> int:
        """When the session came into the index under this id, in microseconds; after a renewal later than ``born``."""
        _, _, renewed = self.digits.partition(b".")
        return int(renewed or self.born)

    @property
    def elsewhere(self) -> bool:
        """Whether the session is in another slot than the index."""
        return self.digits != b""


def parse_member(index: str, raw: bytes) -> Member:
    """Do the inverse of ``raw_member``. Raises ProviderError for another text."""
    try:
        form, born, rest = raw[MARK_BYTES : TIME_AT.start], int.from_bytes(raw[TIME_AT], "big"), raw[REST_AT:]
        digits = b""
        if form == DATED:
            second = int.from_bytes(rest[:5], "big")
            name = f"{PREFIX}{rest[5:-32].decode()}{second:010d}-{rest[-32:].decode()}{tag_in_index(index)}"
        elif form == OWN:
            name = f"{PREFIX}{rest.decode()}{tag_in_index(index)}"
        elif form == WHOLE:
            name = rest.decode()
        else:
            digits, rest = rest.split(b":", 1)
            name = rest.decode()
        member = Member(raw, index, unquote_part(name), born, digits)
        if form not in (DATED, OWN, WHOLE, ELSEWHERE) or (form == ELSEWHERE) != member.elsewhere:
            raise ValueError("an entry of another form")
        member.filed  # noqa: B018 (it is read later)
    except SHAPES as exc:
        raise unknown_shape("a script that tells an index entry") from exc
    return member


def member_of(index: str, key: str, user: bytes, incarnation: bytes) -> Member:
    """Make the entry of a session of that incarnation. Raises ProviderError for a text that is no incarnation."""
    try:
        return parse_member(index, raw_member(index, key, user, incarnation))
    except SHAPES as exc:
        raise unknown_shape("a script that tells an incarnation") from exc


def raw_member(index: str, key: str, user: bytes, incarnation: bytes) -> bytes:
    """Make the index entry of a session of that incarnation; ``lua/include/member.lua`` makes the same."""
    created, _, digits = incarnation.partition(b".")
    name = name_in_key(key)
    born = moment_in(created).to_bytes(8, "big")
    if digits:
        return b"%b%b%b%b:%b" % (mark_of(user), ELSEWHERE, born, digits, name.encode())
    form = form_of(key)
    if form == DATED:
        second = int(name[SECOND]).to_bytes(5, "big")
        rest = second + f"{name[len(PREFIX) : SECOND.start]}{name[RANDOM]}".encode()
    else:
        rest = name[len(PREFIX) : RANDOM.stop].encode() if form == OWN else name.encode()
    return mark_of(user) + form + born + rest


def moment_in(created: bytes) -> int:
    """Return the creation time that an entry has for these digits: scripts know times as 64-bit floats."""
    return int(float(created))


def mark_of(user: bytes) -> bytes:
    """Make what all entries of a user begin with. Users who share an index have equal tags, but not equal marks."""
    return blake2b(user, digest_size=MARK_BYTES).digest()


def head_of(user: bytes, key: str) -> bytes:
    """Make the field ``head`` of the session with that key, which is in the slot of its user's index."""
    return mark_of(user) + form_of(key)


def form_of(key: str) -> bytes:
    """Return the form of the entry of the session with that key, if it is in the slot of its user's index."""
    name = key[key.rindex(":") + 1 :]
    if name[:5] != "sess-" or name[-6:] != key[9:15]:  # the tag in the key
        return WHOLE
    return DATED if name[-39:-38] == "-" and name[-49:-39].isdigit() else OWN


def target_of(reply: Reply) -> str | None:
    """Return the current id if the reply of a script says that the key is an alias; else None."""
    if isinstance(reply, list) and len(reply) == 2 and reply[0] == b">":
        return name_in(reply[1])
    return None


def name_in(reply: Reply) -> str:
    """Return the id in the reply of a script, which has it quoted. Raises ProviderError for another reply."""
    try:
        return unquote_part(reply.decode())
    except SHAPES as exc:
        raise unknown_shape("a script that tells an id") from exc


def texts_in(reply: Reply, name: str, size: int) -> list[bytes]:
    """Return a list of ``size`` texts. Raises ProviderError for another reply."""
    if isinstance(reply, list) and len(reply) == size and all(isinstance(each, bytes) for each in reply):
        return reply
    raise unknown_shape(name)


def fields_in(reply: Reply, name: str, size: int) -> list[bytes | None]:
    """Return a list of ``size`` values, None for a missing field. Raises ProviderError for another reply."""
    if isinstance(reply, list) and len(reply) == size and all(isinstance(each, bytes | None) for each in reply):
        return reply
    raise unknown_shape(name)


def integer_in(reply: Reply, name: str) -> int:
    """Return a reply that is an integer. Raises ProviderError for another reply."""
    if isinstance(reply, int):
        return reply
    raise unknown_shape(name)


def number_in(text: bytes) -> int:
    """Return the number that the digits are. Raises ProviderError for another text."""
    if not text.isdigit():
        raise unknown_shape("a script that tells a deadline")
    return int(text)
