"""Many calls at once, with a result or an exception for each; and a call in the background."""

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
    """Give the items in order, ``size`` at a time: between two slices other tasks can run."""
    return (items[start : start + size] for start in range(0, len(items), size))


async def batch(calls: Sequence[Coroutine[Any, Any, T] | Exception]) -> list[T | Exception]:
    """Await all calls. Return the result of each, or its exception.

    All begin in one turn of the loop, so that their commands leave together. An exception in the place of a call, for a
    call that could not be made, is its own result. A BaseException that is no Exception, such as KeyboardInterrupt, is
    raised.
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
    """Return the results that concurrent deletions would have had one after the other.

    Each of ``ended`` is whether the deletion ended a session, and the id of that session. Of several deletions of one
    session the first in order has ended it. In fact another may have been faster, as it did not follow an alias.
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
    """Run ``undo`` in the background, as the caller may not wait: its deadline may have passed.

    While the storage fails, ``undo`` runs again, for some ten seconds. By then a slow server may have carried out the
    call that is to be undone.
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
        task.exception()  # retrieved, so that asyncio does not log it; the failure changes nothing
