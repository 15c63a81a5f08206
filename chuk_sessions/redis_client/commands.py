"""A command on its way to a server, and who waits for its reply.

A command is a tuple, as there is one for each call: what it holds is said at ``Command``. Its waiter is the caller's
future, or stands for several callers or for one whose command is sent once more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Protocol, cast

import hiredis

__all__ = [
    "ASKING_ITSELF",
    "BESIDE_A_VALUE",
    "LARGE",
    "MANY",
    "NO_SLOT",
    "Argument",
    "Asking",
    "Command",
    "Large",
    "Packed",
    "Replay",
    "Reply",
    "Waiter",
    "clear_given_up",
    "is_large",
    "large",
    "pack",
]

MANY = 200  # commands that wait: from then on it is worth looking for those whose callers gave up
BESIDE_A_VALUE = 1 << 14  # bytes of a command that are no value: keys, names, the source of a script
LARGE = 1 << 20  # bytes of a command from which on it goes by itself; a server takes values of so many in any case
NO_SLOT = -1  # of a command that has no key, or that must not be sent elsewhere


class Replay(IntEnum):
    """What may be done with a command that was written and whose reply was lost."""

    NEVER = 0  # it may have taken effect: the caller is told that the outcome is unknown
    READ = 1  # sending it once more does no harm
    DELETE = 2  # likewise; and if the key is gone by then, this command or the first one removed it


class Waiter(Protocol):
    """Who waits for a reply: a future, or something that stands for several."""

    def done(self) -> bool:
        """Whether nobody waits any more."""

    def set_result(self, result: Any, /) -> None:
        """Hand over the reply."""

    def set_exception(self, exception: Exception, /) -> None:
        """Hand over why there is none."""


Argument = bytes | str | int
Reply = Any
Packed = bytes | Callable[[], bytes]
# Who waits; the bytes, or what makes them when they are written; the watchdog's tick at which it was made; what may be
# done if its reply is lost; the hash slot of its key in a cluster.
Command = tuple[Waiter, Packed, int, Replay, int]

# hiredis types the argument as a tuple of exactly one element.
pack = cast(Callable[[tuple[Argument, ...]], bytes], hiredis.pack_command)


class Large:
    """The bytes of a command that must not go over the connection that others share; see ``Lane``."""

    __slots__ = ("packed",)

    def __init__(self, packed: bytes) -> None:
        self.packed = packed

    def __call__(self) -> bytes:
        """The bytes."""
        return self.packed


class Asking:
    """Makes the bytes of a command that must come right after ASKING, in one write, lest another profits from it."""

    __slots__ = ("packed",)

    def __init__(self, packed: Packed) -> None:
        self.packed = packed

    def __call__(self) -> bytes:
        """The bytes of both."""
        return pack((b"ASKING",)) + (self.packed if isinstance(self.packed, bytes) else self.packed())


class _Nobody:
    """Waits for the reply to ASKING."""

    def done(self) -> bool:
        return True

    set_result = set_exception = lambda self, outcome: None


ASKING_ITSELF: Command = (_Nobody(), b"", 0, Replay.NEVER, NO_SLOT)


def clear_given_up(commands: deque[Command]) -> int:
    """Take out the commands that nobody waits for; at how many it is worth doing again: each is seen twice at most."""
    for _ in range(len(commands)):  # whatever is raised in between, each command is in there
        if commands[0][0].done():
            commands.popleft()
        else:
            commands.rotate(-1)
    return max(MANY, 2 * len(commands))


def is_large(packed: Packed) -> bool:
    """Whether a command goes by itself."""
    return isinstance(packed.packed if isinstance(packed, Asking) else packed, Large)


def large(packed: bytes, most: int, bounded: bool) -> Packed:
    """Have a command go by itself, if it is ``LARGE``. ``ValueError`` if it is over the option ``max_value_bytes``."""
    size = len(packed)
    if bounded and size > most + BESIDE_A_VALUE:
        raise ValueError(
            f"a command of {size:,} bytes is over max_value_bytes ({most:,}), and was not sent: store less, or raise"
            " that option of the Redis URL, and proto-max-bulk-len on the server"
        )
    return Large(packed) if size > LARGE else packed
