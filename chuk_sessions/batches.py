"""Many calls at once, with a result or an exception for each; and one that nobody waits for.

``ManyAtOnce`` has the methods of ``SessionManager`` that take several sessions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from chuk_sessions.arguments import check_several, id_or_error
from chuk_sessions.exceptions import ProviderError, StorageError
from chuk_sessions.stores.contract import CompleteStore

__all__ = ["ManyAtOnce", "batch", "in_background"]

T = TypeVar("T")


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


def _session_error(action: str, result: bool | Exception) -> bool | Exception:
    """What a batch returns for one item: a failing storage as StorageError with its cause."""
    if not isinstance(result, ProviderError):
        return result
    error = StorageError(f"could not {action} a session: {result}")
    error.__cause__ = result
    return error


class ManyAtOnce:
    """For a class with a store and ``allocate_session``."""

    _store: CompleteStore
    _touch_interval: float

    async def allocate_session(self, *args: Any, **options: Any) -> str:
        """See ``SessionManager``."""
        raise NotImplementedError

    async def allocate_sessions(self, requests: Iterable[Mapping[str, Any]]) -> list[str | Exception]:
        """``allocate_session`` for each of ``requests``, the arguments of one call by name; on Redis in one round trip.

        Per request, in order: the id, or the exception that the call would have raised; TypeError for one that is no
        dict. What one of them does has no bearing on the others. Several requests for a user at the limit end sessions
        of each other.
        """
        return await batch([self._request(each) for each in check_several("requests", requests, "dicts of arguments")])

    def _request(self, request: Any) -> Coroutine[Any, Any, str] | Exception:
        if not isinstance(request, Mapping):
            return TypeError(f"a request must be a dict of arguments, got {type(request).__name__}")
        try:
            return self.allocate_session(**request)
        except Exception as exc:  # an argument that it does not have, or whatever reading the request raises
            return exc

    async def validate_sessions(self, session_ids: Iterable[str]) -> list[bool | Exception]:
        """``validate_session`` for each id, on Redis in one round trip per server.

        Per id, in order: whether the session lives; StorageError if the storage failed, strict or not; TypeError for
        what is no str, and ValueError for an id over 1 KiB.
        """
        ids = map(id_or_error, check_several("session_ids", session_ids, "ids"))
        touch, interval = self._store.touch, self._touch_interval
        results = await batch([each if isinstance(each, Exception) else touch(each, interval) for each in ids])
        return [_session_error("validate", result) for result in results]

    async def delete_sessions(self, session_ids: Iterable[str]) -> list[bool | Exception]:
        """``delete_session`` for each id, on Redis in one round trip per server.

        Per id, in order: whether there was one to end, else as ``validate_sessions``. An id that is given twice is
        found once.
        """
        ids = map(id_or_error, check_several("session_ids", session_ids, "ids"))
        delete = self._store.delete
        results = await batch([each if isinstance(each, Exception) else delete(each) for each in ids])
        return [_session_error("delete", result) for result in results]


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
