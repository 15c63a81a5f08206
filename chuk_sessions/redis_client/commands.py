"""A command on its way to a server, and the waiter for its reply.

A command is a plain tuple, as every call makes one; ``Command`` describes its parts. Its waiter is the caller's future,
or an object in the place of several callers, or of a caller whose command is sent once more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Protocol, cast

import hiredis

__all__ = [
    "BESIDE_A_VALUE",
    "LARGE",
    "MANY",
    "MAY_BE_LARGE",
    "NO_SLOT",
    "Argument",
    "Asking",
    "Command",
    "Large",
    "Nobody",
    "Packed",
    "Packing",
    "Preceded",
    "Replay",
    "Reply",
    "Waiter",
    "clear_given_up",
    "is_large",
    "large",
    "pack",
]

MANY = 200  # waiting commands from which on it is worth removing those whose callers gave up
BESIDE_A_VALUE = 1 << 14  # bytes of a command that are no value: keys, names, the source of a script
LARGE = 1 << 20  # bytes of a command above which it goes over the lane; every server takes values of this size
NO_SLOT = -1  # the slot of a command without a key, or of a command that must not be sent to another server


class Replay(IntEnum):
    """Whether a command that was written may be sent again if its reply was lost."""

    NEVER = 0  # no, as it may have taken effect: the caller is told that the outcome is unknown
    READ = 1  # yes, as a second time does no harm
    DELETE = 2  # yes; if the key is gone by then, the first or the second command removed it


class Waiter(Protocol):
    """The waiter for a reply: a future, or an object in the place of several."""

    def done(self) -> bool:
        """Tell whether no caller waits any more."""

    def set_result(self, result: Any, /) -> None:
        """Take the reply."""

    def set_exception(self, exception: Exception, /) -> None:
        """Take the error, if there is no reply."""


class Packing(Waiter, Protocol):
    """A waiter that makes the bytes of its command when it is written."""

    def pack(self) -> bytes:
        """Return the bytes."""


Argument = bytes | str | int
Reply = Any
Packed = bytes | Callable[[], bytes]
# The waiter; the bytes, or a function that makes them when they are written; the watchdog's tick when the command was
# made; whether it may be sent again if its reply is lost; the hash slot of its key in a cluster.
Command = tuple[Waiter, Packed, int, Replay, int]

# hiredis types the argument as a tuple of exactly one element.
pack = cast(Callable[[tuple[Argument, ...]], bytes], hiredis.pack_command)


class Large:
    """The bytes of a command that must not use the connection that others share; see ``Lane``."""

    __slots__ = ("packed",)

    def __init__(self, packed: bytes) -> None:
        self.packed = packed

    def __call__(self) -> bytes:
        """Return the bytes."""
        return self.packed


class Preceded:
    """Makes the bytes of a pair of commands, which no other command may come between: they leave in one write.

    ``before`` is the first of the pair. Its own waiter gets its reply.
    """

    __slots__ = ()
    before: Command

    def __call__(self) -> bytes:
        """Return the bytes of both."""
        raise NotImplementedError


class Asking(Preceded):
    """Makes the bytes of ASKING and a command: ASKING holds for the next command only."""

    __slots__ = ("packed",)

    def __init__(self, packed: Packed) -> None:
        self.packed = packed

    def __call__(self) -> bytes:
        """Return the bytes of both."""
        return pack((b"ASKING",)) + (self.packed if isinstance(self.packed, bytes) else self.packed())


class Nobody:
    """The waiter for a reply that does not matter."""

    def done(self) -> bool:
        """Tell that no caller waits."""
        return True

    set_result = set_exception = lambda self, outcome: None


Asking.before = (Nobody(), b"", 0, Replay.NEVER, NO_SLOT)


def clear_given_up(commands: deque[Command]) -> int:
    """Remove the commands that no caller waits for. Return the number of commands at which to call this again.

    With that number each command is visited about twice at most.
    """
    for _ in range(len(commands)):  # if an exception is raised in between, no command is lost
        if commands[0][0].done():
            commands.popleft()
        else:
            commands.rotate(-1)
    return max(MANY, 2 * len(commands))


MAY_BE_LARGE = (Large, Asking)  # the types for which ``is_large`` can be true


def is_large(packed: Packed) -> bool:
    """Tell whether a command goes over the lane."""
    return isinstance(packed.packed if isinstance(packed, Asking) else packed, Large)


def large(packed: bytes, most: int, bounded: bool) -> Packed:
    """Mark a command over ``LARGE``, to go over the lane. Raises ValueError for one over ``max_value_bytes``."""
    size = len(packed)
    if bounded and size > most + BESIDE_A_VALUE:
        raise ValueError(
            f"a command of {size:,} bytes is over max_value_bytes ({most:,}) and was not sent: store less, or raise"
            " that option of the Redis URL and proto-max-bulk-len on the server"
        )
    return Large(packed) if size > LARGE else packed
