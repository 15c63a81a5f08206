"""Decodes replies: an error becomes an exception with a code, names and values become a dict.

Only this module reads the words of servers. Servers differ in these points:

* In Redis 6.2 the place in a script precedes the error of a command in it: ``ERR Error running script (call to f_...):
  @user_script:1: @user_script: 1: -OOM ...``. If the script returned the error of a pcall, it is only
  ``@user_script: 1: -OOM ...``. Redis 7 and later, and Valkey, begin with the code and end with the place.
* If a script may not run a command, the error has no code: ``The user executing the script can't ...`` up to Redis
  7.0, ``ACL failure in script: ...`` later and on Valkey, with or without ERR before it.
* If a script writes while its cluster is down but reads are allowed (``cluster-allow-reads-when-down``), the error has
  no code: ``Script attempted to execute a write command while the cluster is down and readonly``, up to 6.2 ``Lua
  script ...``, on Valkey 9 ``Can not execute a write command 'HSET' while ...``. The script has done nothing, as either
  all its writes are refused or none.
* The words after a code are not read, so that a server's name in them does not matter.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from chuk_sessions.exceptions import (
    LoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ProviderError,
    ReadOnlyError,
    ServerError,
    WrongTypeError,
)
from chuk_sessions.redis_client.config import Address
from chuk_sessions.redis_client.slots import parse_address

__all__ = [
    "REPLICA_CODES",
    "SHAPES",
    "MissingScriptError",
    "UnknownCommandError",
    "as_dict",
    "redirected_to",
    "server_error",
    "unknown_shape",
]

# The exceptions of unpacking a reply of an unexpected shape; UnicodeDecodeError is a ValueError.
SHAPES = (ValueError, TypeError, LookupError, AttributeError, OverflowError)
REPLICA_CODES = ("READONLY", "MASTERDOWN")  # the server is a replica, and did nothing


class MissingScriptError(ServerError):
    """``NOSCRIPT``: the server does not know the script by its hash; it ran nothing.

    ``lost`` is the reason why the reply to an earlier try of the same command was lost; empty if there was no earlier
    try. That try may have run the script.
    """

    code = "NOSCRIPT"
    lost = ""


class UnknownCommandError(ServerError):
    """``ERR unknown command``: the server is of another kind, or an old one."""

    code = "ERR"


KINDS: dict[str, type[ServerError]] = {
    kind.code: kind
    for kind in (
        LoadingError,
        MissingScriptError,
        NoPermissionError,
        OutOfMemoryError,
        ReadOnlyError,
        WrongTypeError,
    )
}
PLACE = re.compile(r"(?:ERR Error running script \(call to \w+\): )?(?:@?user_script: ?\d+: )+-?")
SCRIPT_MAY_NOT = re.compile(r"(?:ERR )?(?:The user executing the script |ACL failure in script: )")
DOWN_FOR_SCRIPT = re.compile(
    r"(?:ERR )?(?:(?:Lua s|S)cript attempted to execute a (?:write )?command|Can not execute a (?:write )?command '.*')"
    " while the cluster is down"
)
UNKNOWN_COMMAND = "ERR unknown command"
# A command with one of these errors did nothing, and is sent again. As the error of a command inside a script, the code
# would not mean that the script did nothing.
SENT_AGAIN = ("ASK", "CLUSTERDOWN", "MOVED", "NOSCRIPT", "TRYAGAIN")


def server_error(message: str) -> ServerError:
    """Make the exception for an error reply.

    Some messages repeat the arguments of the command. These are left out, as a password or a key may be among them.
    """
    message = message.partition(", with args beginning with")[0]
    place = PLACE.match(message)
    words = message if place is None else message[place.end() :]
    if SCRIPT_MAY_NOT.match(words):
        return NoPermissionError(message)
    if DOWN_FOR_SCRIPT.match(words):
        return ServerError(message, code="CLUSTERDOWN")
    if words.startswith(UNKNOWN_COMMAND):
        return UnknownCommandError(message)
    code = ServerError(words).code
    if place is not None and (not code or code in SENT_AGAIN):
        return ServerError(message)
    return KINDS.get(code, ServerError)(message, code=code)


def redirected_to(error: ServerError, asked: Address) -> Address | None:
    """Return the address in a MOVED or ASK of the server at ``asked``; None for another error or a bad address."""
    if error.code in ("MOVED", "ASK"):
        with suppress(ValueError, IndexError):
            return parse_address(str(error).split()[2], asked)
    return None


def as_dict(reply: list[Any] | dict[Any, Any], command: str) -> dict[Any, Any]:
    """Return the names and values that ``command`` replied, a list with protocol 2. Raises ProviderError for others."""
    try:
        return reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
    except SHAPES as exc:
        raise unknown_shape(command) from exc


def unknown_shape(command: str) -> ProviderError:
    """Make the error for a well-formed reply that does not fit ``command``, or the script of that name."""
    return ProviderError(f"the reply to {command} has an unknown shape; is there a proxy, or a server of another kind?")
