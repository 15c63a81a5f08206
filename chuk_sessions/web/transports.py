"""Transports of the id of a session: their protocol, and the transports that use headers.

``Cookie`` is in ``cookies``. Programs send an id in a header on purpose. A browser never sends it by itself, and no
other site can make a browser send it. So headers need no protection from CSRF, and no ``Vary``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from chuk_sessions.ids import is_random
from chuk_sessions.web.asgi import Headers, Scope, header

__all__ = ["LONGEST_ID", "Bearer", "Header", "Transport", "own_id", "own_ids"]

LONGEST_ID = 80  # characters; ids made by a manager have at most 66
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Transport(Protocol):
    """Brings the id of a session from the client, and back to it."""

    @property
    def ambient(self) -> bool:
        """Whether a browser sends the id by itself, also with requests that another site has caused."""
        ...

    def ids(self, scope: Scope) -> Sequence[str]:
        """Return the ids of a request, at most two; a text that does not have the form of our ids is left out."""
        ...

    def issue(self, headers: Headers, session_id: str, seconds_left: float) -> None:
        """Add the header that tells the client its id to a response. The session lives for ``seconds_left`` at most."""
        ...

    def clear(self, headers: Headers) -> None:
        """Add the header that makes the client forget its id to a response."""
        ...


def own_ids(texts: Sequence[bytes]) -> Sequence[str]:
    """Return the texts that have the form of a manager's ids. Other texts are not worth a command to the store."""
    return [found for text in texts if (found := own_id(text)) is not None]


def own_id(text: bytes) -> str | None:
    """Return the text if it has the form of a manager's ids, else None."""
    if len(text) > LONGEST_ID:
        return None
    found = text.decode("latin-1")
    return found if is_random(found) else None


def header_name(name: str) -> bytes:
    """Return the name of a header in the form of ASGI. Raises ValueError for a text that cannot be a name."""
    if not HEADER_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a header")
    return name.lower().encode()


@dataclass(frozen=True)
class Header:
    """The id in a header of its own, for programs: ``Header("X-Session")``.

    A response has the header when the session is new or has got a new id, and an empty header when it has ended.
    """

    name: str = "X-Session"
    ambient: bool = field(default=False, init=False)
    _name: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_name", header_name(self.name))

    def ids(self, scope: Scope) -> Sequence[str]:
        """Return the id in the header, if the value is an id."""
        value = header(scope, self._name)
        return () if value is None else own_ids([value.strip()])

    def issue(self, headers: Headers, session_id: str, seconds_left: float) -> None:
        """Put the id into the header of the response."""
        headers.append((self._name, session_id.encode()))

    def clear(self, headers: Headers) -> None:
        """Add the header of the response with an empty value."""
        headers.append((self._name, b""))


@dataclass(frozen=True)
class Bearer(Header):
    """The id in ``Authorization: Bearer``. A response has it in the header ``name``; a client keeps it like a token."""

    def ids(self, scope: Scope) -> Sequence[str]:
        """Return the token, if it is the id of a session."""
        scheme, _, token = (header(scope, b"authorization") or b"").partition(b" ")
        return own_ids([token.strip()]) if scheme.lower() == b"bearer" else ()
