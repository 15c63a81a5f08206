"""Entries of an index, and what else the scripts that read and write them reply: taken apart and put together here.

What an entry looks like is said in ``scripts``.
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
    name: str  # the id as it stands in the key

    @property
    def session_id(self) -> str:
        """Its id."""
        return unquote_part(self.name)

    @property
    def born(self) -> int:
        """When it was created, in microseconds."""
        return int(self.incarnation.split(b".")[0])

    @property
    def filed(self) -> int:
        """When it was put into the index under this id, in microseconds; a renewal comes later than the creation."""
        parts = self.incarnation.split(b".")
        return int(parts[2]) if len(parts) > 2 else int(parts[0])

    @property
    def elsewhere(self) -> bool:
        """Whether its session is in a slot of its own."""
        return not self.incarnation.endswith(b".")


def parse_member(raw: bytes) -> Member:
    """The inverse of ``member_of`` in ``lua/include/member_of.lua``. Raises ProviderError for anything else."""
    try:
        length, rest = raw.split(b":", 1)
        user, rest = rest[: int(length)], rest[int(length) :]
        incarnation, name = rest.split(b":", 1)
        member = Member(raw, user, incarnation, name.decode())
        to_text(user), member.born, member.filed  # all that is read of it later
    except SHAPES as exc:
        raise unknown_shape("a script that tells an index entry") from exc
    return member


def target_of(reply: Reply) -> str | None:
    """The id to ask for instead, if the reply of a script is that this one is an alias."""
    if isinstance(reply, list) and len(reply) == 2 and reply[0] == b">":
        return name_in(reply[1])
    return None


def name_in(reply: Reply) -> str:
    """The id that a script tells as it stands in a key. Raises ProviderError for anything else."""
    try:
        return unquote_part(reply.decode())
    except SHAPES as exc:
        raise unknown_shape("a script that tells an id") from exc


def entry_in(reply: Reply, name: str, size: int) -> list[bytes]:
    """A list of so many texts, the first of them an index entry. Raises ProviderError for another reply."""
    if isinstance(reply, list) and len(reply) == size and all(isinstance(each, bytes) for each in reply):
        return reply
    raise unknown_shape(name)


def fields_in(reply: Reply, name: str, size: int) -> list[bytes | None]:
    """A list of so many texts, None for those that are not there. Raises ProviderError for another reply."""
    if isinstance(reply, list) and len(reply) == size and all(isinstance(each, bytes | None) for each in reply):
        return reply
    raise unknown_shape(name)


def integer_in(reply: Reply, name: str) -> int:
    """A reply that is an integer. Raises ProviderError for another one."""
    if isinstance(reply, int):
        return reply
    raise unknown_shape(name)


def number_in(text: bytes) -> int:
    """A number of digits. Raises ProviderError for anything else."""
    if not text.isdigit():
        raise unknown_shape("a script that tells a deadline")
    return int(text)


def raw_member(key: str, user: bytes, incarnation: bytes) -> bytes:
    """The entry of a session of that incarnation, as the index holds it."""
    return b"%b%b:%b" % (mark_of(user), incarnation, name_in_key(key).encode())


def mark_of(user: bytes) -> bytes:
    """How the members of a user's sessions begin."""
    return b"%d:%b" % (len(user), user)
