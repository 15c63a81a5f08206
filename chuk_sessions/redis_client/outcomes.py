"""How callers are told of a command that failed: with an error reply, or with the connection that was lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from chuk_sessions.exceptions import NotSent, OutcomeUnknown, ProviderError, ServerError
from chuk_sessions.redis_client.commands import Command, Replay, Reply, Waiter
from chuk_sessions.redis_client.replies import MissingScriptError

__all__ = ["INTERRUPTED", "SecondTry", "hand_on", "settle", "settle_with_error"]

INTERRUPTED = "an exception came amid the sending"


def settle(command: Command, error: ProviderError) -> None:
    """Tell whoever still waits for ``command``."""
    if not command[0].done():
        command[0].set_exception(error)


def settle_with_error(command: Command, error: ServerError) -> None:
    """What an owner does with an error reply unless it knows better: the caller gets it."""
    command[0].set_exception(error)


def hand_on(commands: deque[Command], send: Callable[[Command], None]) -> None:
    """Hand the commands on, from one queue to the next, in order.

    If an exception comes amid that, the first that is left may be in both queues. Its caller is told: nothing is
    written in the same turn of the loop, nor at all once nobody waits for it. The others stay.
    """
    try:
        while commands:
            send(commands[0])
            commands.popleft()
    except BaseException:
        if commands:
            settle(commands[0], NotSent(INTERRUPTED))
        raise


class SecondTry:
    """Waits in the place of a caller whose command was sent, and is to be sent once more."""

    __slots__ = ("_reason", "_replay", "_waiter")

    def __init__(self, waiter: Waiter, replay: Replay, reason: str) -> None:
        self._waiter = waiter
        self._replay = replay
        self._reason = reason

    def done(self) -> bool:
        """Whether the caller has given up."""
        return self._waiter.done()

    def set_result(self, result: Reply) -> None:
        """Hand on the reply; if the key to delete was gone this time, one of the two removed it."""
        self._waiter.set_result(result or 1 if self._replay is Replay.DELETE else result)

    def set_exception(self, exception: Exception) -> None:
        """Hand on the error; that the second try was not sent, or ran nothing, says nothing of the first."""
        if isinstance(exception, MissingScriptError):
            exception.lost = self._reason
        if isinstance(exception, NotSent):
            exception = OutcomeUnknown(
                f"{self._reason}, before the reply came, and the server could not be asked again"
            )
        self._waiter.set_exception(exception)
