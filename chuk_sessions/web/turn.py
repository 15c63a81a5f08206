"""``Turn``: the tasks of one request use the store one after another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from contextlib import suppress
from typing import Any, cast

__all__ = ["AT_ONCE", "Turn"]


class Turn:
    """Is held by ``async with``, by one task at a time: the others wait.

    A turn that is free is taken without a coroutine, and made without a lock: most requests have one task. The routine
    that runs for most of them does without ``async with`` too, which takes three times as long: ``if not turn.take():
    await turn.wait()``, and ``leave`` at the end.
    """

    __slots__ = ("_waiting", "is_in_use")

    def __init__(self) -> None:
        self.is_in_use = False
        self._waiting: list[asyncio.Future[None]] | None = None

    def __aenter__(self) -> Awaitable[None]:
        return AT_ONCE if self.take() else self.wait()

    def __aexit__(self, *exc_info: object) -> Awaitable[None]:
        self.leave()
        return AT_ONCE

    def take(self) -> bool:
        """Take the turn if it is free. Return whether it was."""
        if self.is_in_use:
            return False
        self.is_in_use = True
        return True

    def leave(self) -> None:
        """Let the tasks that wait go on."""
        self.is_in_use = False
        waiting, self._waiting = self._waiting, None
        for waiter in waiting or ():
            with suppress(RuntimeError):  # its loop is closed
                waiter.get_loop().call_soon_threadsafe(_go_on, waiter)

    async def wait(self) -> None:
        """Wait until the turn is free, and take it. All who wait are woken: one of them may have been cancelled.

        A blocking call that was given up has its end in another thread: the turn may become free at any step here.
        """
        while self.is_in_use:
            waiter = asyncio.get_running_loop().create_future()
            waiting = self._waiting
            if waiting is None:
                waiting = self._waiting = []
            waiting.append(waiter)
            if self._waiting is waiting and self.is_in_use:
                await waiter
        self.is_in_use = True


def _go_on(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class _AtOnce:
    """An awaitable that never suspends; one serves all."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        return cast("Generator[Any, None, None]", NOTHING.__iter__())


NOTHING: tuple[()] = ()
AT_ONCE = _AtOnce()
