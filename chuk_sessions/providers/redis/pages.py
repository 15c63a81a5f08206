"""Reads an index of users a page at a time."""

from __future__ import annotations

from typing import NamedTuple

from chuk_sessions.providers.redis.entries import Member, parse_member
from chuk_sessions.providers.redis.scripts import MEMBERS
from chuk_sessions.redis_client.client import Call
from chuk_sessions.redis_client.commands import Replay
from chuk_sessions.redis_client.replies import SHAPES, unknown_shape

__all__ = ["BEGINNING", "PAGE", "Page", "Place", "read_page"]

PAGE = 500  # entries that are read in one step
Place = tuple[bytes, int, bytes]  # deadline of the entry read last, how many entries read with that deadline, the entry
BEGINNING: Place = (b"", 0, b"")


class Page(NamedTuple):
    """The entries of one user among the ``seen`` entries that were read."""

    now: int  # by the server's clock, in microseconds
    seen: int
    members: list[Member]
    next: Place | None  # where the next page begins; None if this is the last one


async def read_page(
    call: Call, index: str, mark: bytes, place: Place = BEGINNING, condemned: bool = False, size: int = PAGE
) -> Page:
    """Read the page that begins at ``place``, of the user with that mark; pages are in the order of the deadlines.

    An entry that exists all the time is on at least one page, whatever entries come and go, unless its deadline moves
    nearer. With ``condemned`` the first page has some condemned sessions too. Errors are those of ``Client.call``.
    """
    args = (mark, size, *place, b"1" if condemned else b"")
    reply = await MEMBERS.step(call, (index,), args, Replay.READ)
    try:
        now, seen, raw, *further = reply
        following = (further[0], int(further[1]), further[2]) if further else None
        return Page(int(now), int(seen), [parse_member(index, member) for member in raw], following)
    except SHAPES as exc:
        raise unknown_shape("the script of a user's sessions") from exc
