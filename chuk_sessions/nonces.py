"""Random nonces of 12 bytes, made many at a time: to ask the operating system for each takes as long as to seal a bit.

No nonce is handed out twice. A forked process makes its own ones. It knows by its process id that it is one, because a
server written in C may fork without the hooks of Python; and by a hook, because it may get the id that another process
had: in a container of its own, or once that process has ended. Only a machine that is copied while it runs repeats the
nonces that wait in memory: AES-GCM-SIV then shows whether two texts are equal, and no more. They are no secret.
"""

from __future__ import annotations

import os
from os import getpid, urandom
from struct import Struct

__all__ = ["NONCE_BYTES", "new_nonce"]

NONCE_BYTES = 12
MANY = 64  # made at once: a call then takes some microseconds longer
_cut = Struct(f"{NONCE_BYTES}s" * MANY).unpack
_ready: list[bytes] = []  # each is taken out in one step, so that threads may share it
_owner = [getpid()]
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_ready.clear)


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
