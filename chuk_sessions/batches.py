"""Many calls at once, with a result or an exception for each; and one that nobody waits for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar, cast

from chuk_sessions.exceptions import ProviderError

__all__ = ["SLICE", "batch", "in_background", "in_order", "slices"]

PAUSES = (0.2, 0.4, 0.8, 1.6, 3.2, 4.0)  # seconds between the attempts to undo something

SLICE = 256  # items of a call that are begun in one turn of the loop

T = TypeVar("T")


def slices(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items in order, so many at a time: what is done for each slice leaves room for others in between."""
    return (items[start : start + size] for start in range(0, len(items), size))


async def batch(calls: Sequence[Coroutine[Any, Any, T] | Exception]) -> list[T | Exception]:
    """The result of each call, or what it raised; begun in one turn of the loop, so that their commands leave together.

    An exception in the place of a call, which could not be made, is its result. What is no error of a call, such as a
    KeyboardInterrupt, is raised.
    """
    waiting = (_raise(call) if isinstance(call, Exception) else call for call in calls)
    results = await asyncio.gather(*waiting, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, Exception):
            raise result
    return cast("list[T | Exception]", results)


async def _raise(error: Exception) -> Any:
    raise error


def in_order(ended: Sequence[tuple[bool, str] | Exception]) -> list[bool | Exception]:
    """What deletions that were begun at once would have given one after the other.

    Each gave whether it ended a session, and the id that this had: the first to reach a session is the one that ended
    it, though another, which did not have to follow an alias, may have been faster.
    """
    left = Counter(each[1] for each in ended if not isinstance(each, Exception) and each[0])
    results: list[bool | Exception] = []
    for each in ended:
        if isinstance(each, Exception):
            results.append(each)
        else:
            results.append(left[each[1]] > 0)
            left[each[1]] -= 1
    return results


_tasks: set[asyncio.Task[object]] = set()


def in_background(undo: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Try to undo what nobody will ask for; the caller, whose deadline may have passed, is told without waiting.

    While the storage fails it is tried again, for some ten seconds: a slow server may have carried out by then what is
    to be undone.
    """
    task: asyncio.Task[object] = asyncio.get_running_loop().create_task(_persist(undo))
    _tasks.add(task)
    task.add_done_callback(_ended)


async def _persist(undo: Callable[[], Coroutine[Any, Any, object]]) -> None:
    for pause in PAUSES:
        try:
            await undo()
        except ProviderError:
            await asyncio.sleep(pause)
        else:
            return
    await undo()


def _ended(task: asyncio.Task[object]) -> None:
    _tasks.discard(task)
    if not task.cancelled():
        task.exception()  # looked at: that it failed changes nothing
