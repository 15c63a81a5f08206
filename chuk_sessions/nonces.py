"""Random nonces of 12 bytes, made many at a time: to ask the operating system for each takes as long as to seal a bit.

No nonce is handed out twice. A forked process makes its own ones. It knows by its process id that it is one, because a
server written in C may fork without the hooks of Python. Nonces are no secret, so that those that wait in memory do no
harm.
"""

from __future__ import annotations

from os import getpid, urandom
from struct import Struct

__all__ = ["NONCE_BYTES", "new_nonce"]

NONCE_BYTES = 12
MANY = 64  # made at once: a call then takes some microseconds longer
_cut = Struct(f"{NONCE_BYTES}s" * MANY).unpack
_ready: list[bytes] = []  # each is taken out in one step, so that threads may share it
_owner = [getpid()]


def new_nonce() -> bytes:
    """Return a nonce from the random numbers of the operating system."""
    if getpid() != _owner[0]:
        _ready.clear()
        _owner[0] = getpid()
    try:
        return _ready.pop()
    except IndexError:
        nonce: bytes
        nonce, *others = _cut(urandom(NONCE_BYTES * MANY))
        _ready.extend(others)
        return nonce
