"""An event loop in which time passes at once when all tasks wait: hours of timers take seconds, in their true order.

The network is the real one: a program and the servers that it talks to belong into the same loop. What one has sent is
there for the other at once. While the executor has work, time passes as it does.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

__all__ = ["WarpLoop", "until", "warped"]


class _Warp(selectors.DefaultSelector):
    """Returns at once, and counts the time that it should have waited."""

    passed = 0.0
    threads = 0  # that run

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None or self.threads:
            return super().select(timeout)
        events = super().select(0)
        if not events:
            self.passed += max(timeout, 0.0)
        return events


class WarpLoop(asyncio.SelectorEventLoop):
    """An event loop whose ``time`` runs ahead."""

    def __init__(self) -> None:
        self._warp = _Warp()
        super().__init__(self._warp)

    def time(self) -> float:
        return super().time() + self._warp.passed

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        future: asyncio.Future[Any] = super().run_in_executor(executor, func, *args)
        self._warp.threads += 1
        future.add_done_callback(self._thread_ended)
        return future

    def _thread_ended(self, _: asyncio.Future[Any]) -> None:
        self._warp.threads -= 1


def warped(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a test run in such a loop."""

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=WarpLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


async def until(condition: Callable[[], Any], pause: float = 0.5) -> None:
    """Wait in such a loop until ``condition()`` is true, and look every ``pause`` seconds."""
    for _ in range(1_000_000):
        if condition():
            return
        await asyncio.sleep(pause)
    raise AssertionError("it never came true")
