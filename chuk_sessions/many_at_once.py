"""The methods of ``SessionManager`` that take several sessions, with a result or an exception for each.

They work on ``SLICE`` items at a time: each slice ends before the next begins, and other tasks can run in between.
Each slice has the time of a call. If the storage answered no item of a slice, the items after it are not tried.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from chuk_sessions.arguments import check_several, id_or_error
from chuk_sessions.batches import SLICE, batch, slices
from chuk_sessions.exceptions import NotSent, OutcomeUnknown, ProviderError, StorageError
from chuk_sessions.stores.contract import CompleteStore, DeletingMany, can

__all__ = ["ManyAtOnce", "Together", "as_it_is"]

T = TypeVar("T")


def _session_error(action: str, result: bool | Exception) -> bool | Exception:
    """Turn the result for one item into that of the method: a ProviderError becomes a StorageError with its cause."""
    if not isinstance(result, ProviderError):
        return result
    error = StorageError(f"could not {action} a session: {result}")
    error.__cause__ = result
    return error


def _no_dict(request: object) -> TypeError | None:
    if isinstance(request, Mapping):
        return None
    return TypeError(f"a request must be a dict of arguments, got {type(request).__name__}")


def _no_answer(results: Sequence[object]) -> bool:
    """Tell whether the storage was asked, and answered nothing."""
    causes = [each.__cause__ if isinstance(each, StorageError) else each for each in results]
    asked = [each for each in causes if not isinstance(each, TypeError | ValueError)]
    return bool(asked) and all(isinstance(each, NotSent | OutcomeUnknown) for each in asked)


def _not_tried(action: str) -> StorageError:
    cause = NotSent("not tried, as the storage answered none of the items before")
    error = StorageError(f"could not {action} a session: {cause}")
    error.__cause__ = cause
    return error


def as_it_is(operation: str, size: int, call: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
    """Return the call, which is made of that many operations of that name. Traces put something around it here."""
    return call


class Together(Protocol):
    """See ``as_it_is``."""

    def __call__(self, operation: str, size: int, call: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """Return the call, or something around it."""


class ManyAtOnce:
    """A base of a class with a store and ``allocate_session``."""

    _store: CompleteStore
    _touch_interval: float
    _together: Together

    async def allocate_session(self, *args: Any, **options: Any) -> str:
        """See ``SessionManager``."""
        raise NotImplementedError

    async def allocate_sessions(self, requests: Iterable[Mapping[str, Any]]) -> list[str | Exception]:
        """Allocate many sessions; on Redis in one round trip for some hundred of them.

        The requests do not affect each other. The exception is a user at the limit: of several requests for that user,
        each may end sessions of the others.

        Args:
            requests: For each session the arguments of ``allocate_session``, by name.

        Returns:
            For each request, in order: the id, or the exception that ``allocate_session`` would have raised. TypeError
                for a request that is no dict.

        Raises:
            TypeError: ``requests`` is no iterable of dicts.
        """
        results: list[str | Exception] = []
        away = False
        for some in slices(check_several("requests", requests, "dicts of arguments"), SLICE):
            if away:
                results += [_no_dict(each) or _not_tried("allocate") for each in some]
                continue
            made = await self._together("create", len(some), batch([self._request(each) for each in some]))
            results += made
            away = _no_answer(made)
        return results

    def _request(self, request: Any) -> Coroutine[Any, Any, str] | Exception:
        if (error := _no_dict(request)) is not None:
            return error
        try:
            return self.allocate_session(**request)
        except Exception as exc:  # an unknown argument, or an error from reading the request
            return exc

    async def validate_sessions(self, session_ids: Iterable[str]) -> list[bool | Exception]:
        """Validate and touch many sessions; on Redis in one round trip per server for some hundred of them.

        Args:
            session_ids: Their ids.

        Returns:
            For each id, in order: whether the session lives. StorageError if the storage failed, whether the manager is
                strict or not; TypeError for what is no str, and ValueError for an id over 1 KiB.

        Raises:
            TypeError: ``session_ids`` is no iterable of ids.
        """
        touch, interval = self._store.touch, self._touch_interval
        return await self._for_each(
            "validate",
            session_ids,
            lambda ids: self._together("touch", len(ids), batch([touch(session_id, interval) for session_id in ids])),
        )

    async def delete_sessions(self, session_ids: Iterable[str]) -> list[bool | Exception]:
        """End many sessions; on Redis in one round trip per server for some hundred of them.

        The results are those of deletions one after the other: of several ids of one session the first has ended it.

        Args:
            session_ids: Their ids.

        Returns:
            For each id, in order: whether there was a session to end, or an exception as ``validate_sessions`` gives
                it.

        Raises:
            TypeError: ``session_ids`` is no iterable of ids.
        """
        return await self._for_each("delete", session_ids, self._delete_all)

    async def _for_each(
        self,
        action: str,
        session_ids: Iterable[str],
        ask: Callable[[list[str]], Coroutine[Any, Any, list[bool | Exception]]],
    ) -> list[bool | Exception]:
        """Return a result for each id, in order. ``ask`` gives the answers of the storage for some valid ids."""
        results: list[bool | Exception] = []
        away = False
        for some in slices(check_several("session_ids", session_ids, "ids"), SLICE):
            ids = list(map(id_or_error, some))
            valid = [each for each in ids if isinstance(each, str)]
            answers: list[bool | Exception]
            if away:
                answers = [_not_tried(action) for _ in valid]
            else:
                found = await ask(valid)
                answers = [_session_error(action, each) for each in found]
                away = _no_answer(found)
            given = iter(answers)
            results += [next(given) if isinstance(each, str) else each for each in ids]
        return results

    def _delete_all(self, session_ids: list[str]) -> Coroutine[Any, Any, list[bool | Exception]]:
        if can(self._store, DeletingMany):
            return self._store.delete_all(session_ids)
        return batch([self._store.delete(each) for each in session_ids])
