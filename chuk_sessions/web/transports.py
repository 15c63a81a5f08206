"""How the id of a session travels: what a transport must do, and those that use headers.

``Cookie`` is in ``cookies``. An id in a header is sent by programs on purpose and never by a browser by itself: no
other site can make a browser send it, so there is no question of CSRF, and no ``Vary``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from chuk_sessions.ids import is_random
from chuk_sessions.web.asgi import Headers, Scope, header

__all__ = ["LONGEST_ID", "Bearer", "Header", "Transport", "own_ids"]

LONGEST_ID = 80  # characters; ids made by a manager have at most 66
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Transport(Protocol):
    """Brings the id of a session from the client, and back to it."""

    @property
    def ambient(self) -> bool:
        """Whether a browser sends the id by itself, also for requests that another site has caused."""
        ...

    def ids(self, scope: Scope) -> Sequence[str]:
        """The ids that a request presents, at most two; what has not the form of an id of ours is left out."""
        ...

    def issue(self, headers: Headers, session_id: str, seconds_left: float) -> None:
        """Add to the headers of a response what tells the client its id, of a session that lives so long at most."""
        ...

    def clear(self, headers: Headers) -> None:
        """Add to the headers of a response what makes the client forget its id."""
        ...


def own_ids(texts: Sequence[bytes]) -> Sequence[str]:
    """Those in the form of ids made by a manager; anything else is not worth a command to the store."""
    if not texts:
        return ()
    short = (text for text in texts if len(text) <= LONGEST_ID)
    return [found for found in (text.decode("latin-1") for text in short) if is_random(found)]


def header_name(name: str) -> bytes:
    """A header's name as ASGI has it. Raises ValueError for what cannot be one."""
    if not HEADER_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a header")
    return name.lower().encode()


@dataclass(frozen=True)
class Header:
    """The id in a header of its own, for programs: ``Header("X-Session")``.

    A response has the header when the session is new or has got a new id, and an empty one when it has ended.
    """

    name: str = "X-Session"
    ambient: bool = field(default=False, init=False)
    _name: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_name", header_name(self.name))

    def ids(self, scope: Scope) -> Sequence[str]:
        """The id in the header, if it is one."""
        value = header(scope, self._name)
        return () if value is None else own_ids([value.strip()])

    def issue(self, headers: Headers, session_id: str, seconds_left: float) -> None:
        """Put the id into the header of the response."""
        headers.append((self._name, session_id.encode()))

    def clear(self, headers: Headers) -> None:
        """Put nothing into the header of the response."""
        headers.append((self._name, b""))


@dataclass(frozen=True)
class Bearer(Header):
    """The id in ``Authorization: Bearer``; a response has it in the header of that name, as a client keeps a token."""

    def ids(self, scope: Scope) -> Sequence[str]:
        """The token, if it is the id of a session."""
        scheme, _, token = (header(scope, b"authorization") or b"").partition(b" ")
        return own_ids([token.strip()]) if scheme.lower() == b"bearer" else ()
