"""Makes and parses entries of an index, and parses the other replies of the scripts that read and write them.

The form of an entry is described in ``scripts``.
"""

from __future__ import annotations

from typing import NamedTuple

from chuk_sessions.providers.redis.keys import name_in_key, unquote_part
from chuk_sessions.providers.redis.record import to_text
from chuk_sessions.redis_client.commands import Reply
from chuk_sessions.redis_client.replies import SHAPES, unknown_shape

__all__ = [
    "Member",
    "entry_in",
    "fields_in",
    "integer_in",
    "mark_of",
    "name_in",
    "number_in",
    "parse_member",
    "raw_member",
    "target_of",
]


class Member(NamedTuple):
    """A session in the index."""

    raw: bytes
    user: bytes
    incarnation: bytes
    name: str  # the id as the key has it, quoted

    @property
    def session_id(self) -> str:
        """The id of the session."""
        return unquote_part(self.name)

    @property
    def born(self) -> int:
        """When the session was created, in microseconds."""
        return int(self.incarnation.split(b".")[0])

    @property
    def filed(self) -> int:
        """When the session came into the index under this id, in microseconds; after a renewal later than ``born``."""
        parts = self.incarnation.split(b".")
        return int(parts[2]) if len(parts) > 2 else int(parts[0])

    @property
    def elsewhere(self) -> bool:
        """Whether the session is in another slot than the index."""
        return not self.incarnation.endswith(b".")


def parse_member(raw: bytes) -> Member:
    """Do the inverse of ``member_of`` in ``lua/include/member_of.lua``. Raises ProviderError for another text."""
    try:
        length, rest = raw.split(b":", 1)
        user, rest = rest[: int(length)], rest[int(length) :]
        incarnation, name = rest.split(b":", 1)
        member = Member(raw, user, incarnation, name.decode())
        to_text(user), member.born, member.filed  # the properties that are read later
    except SHAPES as exc:
        raise unknown_shape("a script that tells an index entry") from exc
    return member


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


def entry_in(reply: Reply, name: str, size: int) -> list[bytes]:
    """Return a list of ``size`` texts, the first of them an index entry. Raises ProviderError for another reply."""
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


def raw_member(key: str, user: bytes, incarnation: bytes) -> bytes:
    """Make the index entry of a session of that incarnation."""
    return b"%b%b:%b" % (mark_of(user), incarnation, name_in_key(key).encode())


def mark_of(user: bytes) -> bytes:
    """Make the prefix of the index entries of a user."""
    return b"%d:%b" % (len(user), user)
