"""From the text of an error reply to an exception."""

from __future__ import annotations

import re

from chuk_sessions.exceptions import (
    LoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ServerError,
    WrongTypeError,
)

__all__ = ["server_error"]

KINDS = {
    "LOADING": LoadingError,
    "NOPERM": NoPermissionError,
    "OOM": OutOfMemoryError,
    "READONLY": ReadOnlyError,
    "WRONGTYPE": WrongTypeError,
}
# The code begins the message; Redis 6.2 puts where a script was before it: "ERR Error running script ...: -OOM ...".
CODE = re.compile(rf"(?:^|: -?)({'|'.join(KINDS)}) ")
# What Redis 7 says when a script may not run a command; it gives no code then.
SCRIPT_MAY_NOT = "The user executing the script can't "


def server_error(message: str) -> ServerError:
    """The exception for an error reply.

    The arguments that some messages repeat are left out: a password or a key could be among them.
    """
    message = message.partition(", with args beginning with")[0]
    found = CODE.search(message)
    if found:
        return KINDS[found.group(1)](message)
    return NoPermissionError(message) if SCRIPT_MAY_NOT in message else ServerError(message)
