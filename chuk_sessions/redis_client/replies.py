"""What replies mean: an exception with a code for an error, a dict for names and values.

The words of servers are read here and nowhere else. What differs between servers:

* Redis 6.2 puts the place in a script before the error of a command in it: ``ERR Error running script (call to f_...):
  @user_script:1: @user_script: 1: -OOM ...``; if the script returned what pcall gave, only ``@user_script: 1: -OOM
  ...``. Redis 7 and later, and Valkey, begin with the code and put the place at the end.
* A script that may not run a command has no code for that: ``The user executing the script can't ...`` up to Redis
  7.0, ``ACL failure in script: ...`` later and on Valkey, with or without ERR before it.
* A script that writes while its cluster is down, though reads are allowed (``cluster-allow-reads-when-down``), has no
  code for that: ``Script attempted to execute a write command while the cluster is down and readonly``, up to 6.2
  ``Lua script ...``, on Valkey 9 ``Can not execute a write command 'HSET' while ...``. It has done nothing, as that is
  so for all its writes or for none.
* What follows a code is not read, so that the name of the server in it does not matter.
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

# What taking a reply apart raises if it has not the shape of the command's; also UnicodeDecodeError, a ValueError.
SHAPES = (ValueError, TypeError, LookupError, AttributeError, OverflowError)
REPLICA_CODES = ("READONLY", "MASTERDOWN")  # the server is a replica, and did nothing


class MissingScriptError(ServerError):
    """``NOSCRIPT``: the server does not know the script by its hash; it ran nothing.

    ``lost`` says why the reply to an earlier try of the same command was lost; empty if there was none. That try may
    have run the script.
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
# A command with one of these is sent again, as it did nothing. In a script they would not say that of the script.
SENT_AGAIN = ("ASK", "CLUSTERDOWN", "MOVED", "NOSCRIPT", "TRYAGAIN")


def server_error(message: str) -> ServerError:
    """The exception for an error reply.

    The arguments that some messages repeat are left out: a password or a key could be among them.
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
    """Where MOVED or ASK sends a command that the server at ``asked`` got; None for other errors and addresses."""
    if error.code in ("MOVED", "ASK"):
        with suppress(ValueError, IndexError):
            return parse_address(str(error).split()[2], asked)
    return None


def as_dict(reply: list[Any] | dict[Any, Any], command: str = "HELLO") -> dict[Any, Any]:
    """A reply of names and values, which is a list with protocol 2 and a dict with 3. ProviderError for another."""
    try:
        return reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
    except SHAPES as exc:
        raise unknown_shape(command) from exc


def unknown_shape(command: str) -> ProviderError:
    """Make the error for a well-formed reply that is none to ``command``, or none to the script of that name."""
    return ProviderError(f"the reply to {command} has an unknown shape; is there a proxy, or a server of another kind?")
