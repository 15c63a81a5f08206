"""Many calls at once, with a result or an exception for each; and one that nobody waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar, cast

from chuk_sessions.exceptions import ProviderError, StorageError

__all__ = ["batch", "in_background", "session_error"]

T = TypeVar("T")


async def batch(calls: Sequence[Coroutine[Any, Any, T]]) -> list[T | Exception]:
    """The result of each call, or what it raised; begun in one turn of the loop, so that their commands leave together.

    What is no error of a call, such as a KeyboardInterrupt, is raised.
    """
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, Exception):
            raise result
    return cast("list[T | Exception]", results)


def session_error(action: str, result: bool | Exception) -> bool | Exception:
    """What a batch returns for one item: a failing storage as StorageError with its cause."""
    if not isinstance(result, ProviderError):
        return result
    error = StorageError(f"could not {action} a session: {result}")
    error.__cause__ = result
    return error


_tasks: set[asyncio.Task[object]] = set()


def in_background(work: Coroutine[Any, Any, object]) -> None:
    """Try to undo what nobody will ask for; the caller, whose deadline may have passed, is told without waiting."""
    task: asyncio.Task[object] = asyncio.get_running_loop().create_task(work)
    _tasks.add(task)
    task.add_done_callback(_ended)


def _ended(task: asyncio.Task[object]) -> None:
    _tasks.discard(task)
    if not task.cancelled():
        task.exception()  # looked at: that it failed changes nothing
