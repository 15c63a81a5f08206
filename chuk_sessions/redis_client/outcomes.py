"""Tells callers of a command that failed: because of an error reply, or because the connection was lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from chuk_sessions.exceptions import NotSent, OutcomeUnknown, ProviderError, ServerError
from chuk_sessions.redis_client.commands import Command, Replay, Reply, Waiter
from chuk_sessions.redis_client.replies import MissingScriptError

__all__ = ["INTERRUPTED", "LoggedInAgain", "SecondTry", "hand_on", "not_counted", "settle", "settle_with_error"]

INTERRUPTED = "an exception came amid the sending"


def settle(command: Command, error: ProviderError) -> None:
    """Give the error to the caller of ``command``, if it still waits."""
    if not command[0].done():
        command[0].set_exception(error)


def settle_with_error(command: Command, error: ServerError) -> None:
    """Give an error reply to the caller: the default of an owner."""
    command[0].set_exception(error)


def hand_on(commands: deque[Command], send: Callable[[Command], None]) -> None:
    """Move the commands from one queue to the next, in order.

    If an exception comes in between, the first command that is left may be in both queues. Its caller gets NotSent,
    which is true: nothing is written in the same turn of the loop, and no command is written once its caller waits no
    more. The other commands stay in the queue.
    """
    try:
        while commands:
            send(commands[0])
            commands.popleft()
    except BaseException:
        if commands:
            settle(commands[0], NotSent(INTERRUPTED))
        raise


def not_counted(commands: Iterable[Command]) -> int:
    """Return how many of these commands have not been counted as timeouts before."""
    return sum(not (isinstance(command[0], SecondTry) and command[0].is_counted) for command in commands)


class SecondTry:
    """Waits in the place of a caller whose command was sent and will be sent once more."""

    __slots__ = ("_reason", "_replay", "_waiter", "is_counted")

    def __init__(self, waiter: Waiter, replay: Replay, reason: str, *, is_counted: bool = False) -> None:
        self._waiter = waiter
        self._replay = replay
        self._reason = reason
        self.is_counted = is_counted  # among the timeouts, when its first connection ended for silence

    def done(self) -> bool:
        """Tell whether the caller has given up."""
        return self._waiter.done()

    def set_result(self, result: Reply) -> None:
        """Pass the reply on. If a deletion did not find its key now, the first try counts as having removed it."""
        self._waiter.set_result(result or 1 if self._replay is Replay.DELETE else result)

    def set_exception(self, exception: Exception) -> None:
        """Pass the error on. If the second try was not sent, or ran nothing, the outcome of the first is unknown."""
        if isinstance(exception, MissingScriptError):
            exception.lost = self._reason
        if isinstance(exception, NotSent):
            exception = OutcomeUnknown(
                f"{self._reason}, before the reply came, and the server could not be asked again"
            )
        self._waiter.set_exception(exception)


class LoggedInAgain:
    """Waits in the place of a caller whose command was refused for want of a login, and is sent once more."""

    __slots__ = ("done", "set_exception", "set_result", "waiter")

    def __init__(self, waiter: Waiter) -> None:
        self.waiter = waiter
        self.done = waiter.done
        self.set_result = waiter.set_result
        self.set_exception = waiter.set_exception
