"""Many calls at once, with a result or an exception for each."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar, cast

from chuk_sessions.exceptions import ProviderError, SessionError

__all__ = ["batch", "session_error"]

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
    """What a batch returns for one item: a failing storage as SessionError with its cause."""
    if not isinstance(result, ProviderError):
        return result
    error = SessionError(f"could not {action} a session: {result}")
    error.__cause__ = result
    return error
