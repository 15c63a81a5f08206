"""Random nonces of 12 bytes, made many at a time: to ask the operating system for each takes as long as to seal a bit.

No nonce is handed out twice. A forked process drops those that it has from its parent and makes its own. Nonces are no
secret, so that it does no harm that some wait in memory.
"""

from __future__ import annotations

import os
from os import urandom
from struct import Struct

__all__ = ["NONCE_BYTES", "new_nonce"]

NONCE_BYTES = 12
MANY = 64  # made at once: a call then takes some microseconds longer
_cut = Struct(f"{NONCE_BYTES}s" * MANY).unpack
_ready: list[bytes] = []  # each is taken out in one step, so that threads may share it


def new_nonce() -> bytes:
    """Return a nonce from the random numbers of the operating system."""
    try:
        return _ready.pop()
    except IndexError:
        nonce: bytes
        nonce, *others = _cut(urandom(NONCE_BYTES * MANY))
        _ready.extend(others)
        return nonce


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_ready.clear)
