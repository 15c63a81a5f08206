"""Taking turns: one operation at a time under a name, for all event loops and threads of a process.

A lock of ``asyncio`` works in one event loop only. A lock of ``threading`` would stop a whole loop while one of its
tasks waits. Here a waiting task puts a future into the queue of the name. The task that ends a turn wakes the first
waiting task, in that task's own loop; from that moment on the woken task has the turn.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Hashable

__all__ = ["Turn", "Turns"]

Waiter = tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]


class Turn:
    """The turn under a name, and the tasks that wait for it, in order."""

    __slots__ = ("name", "waiters")

    def __init__(self, name: Hashable) -> None:
        self.name = name
        self.waiters: deque[Waiter] = deque()


class Turns:
    """The turns that tasks have at the moment. A name that no task uses takes no memory.

    A forked child begins without turns: the tasks that had a turn, or waited for it, are not in the child.
    """

    def __init__(self) -> None:
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._guard = threading.Lock()  # held for a few steps at a time, and never while anything is awaited
        self._turns: dict[Hashable, Turn] = {}

    def __len__(self) -> int:
        return len(self._turns)

    async def begin(self, name: Hashable) -> Turn:
        """Wait for the turn under that name and return it. The caller must pass it to ``end``."""
        with self._guard:
            turn = self._turns.get(name)
            if turn is None:
                turn = self._turns[name] = Turn(name)
                return turn
            loop = asyncio.get_running_loop()
            waiter = loop, loop.create_future()
            turn.waiters.append(waiter)
        try:
            await waiter[1]
        except BaseException:  # cancelled, or thrown away with its loop
            self._leave(turn, waiter)
            raise
        return turn

    def _leave(self, turn: Turn, waiter: Waiter) -> None:
        """Stop waiting; if the turn has come meanwhile, pass it on."""
        with self._guard:
            if waiter in turn.waiters:
                turn.waiters.remove(waiter)
                return
        self.end(turn)

    def end(self, turn: Turn) -> None:
        """Give the turn to the next waiting task, if there is one."""
        while True:
            with self._guard:
                if self._turns.get(turn.name) is not turn:
                    return  # the turn belongs to the parent process, which this one was forked from
                if not turn.waiters:
                    del self._turns[turn.name]
                    return
                loop, future = turn.waiters.popleft()
            try:
                loop.call_soon_threadsafe(_wake, future)
            except RuntimeError:  # that loop is closed
                continue
            return


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
