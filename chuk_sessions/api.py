"""The short way to the provider API: ``async with get_session() as session``."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

from chuk_sessions.provider_factory import factory_for_env

__all__ = ["get_session", "session"]


def get_session() -> AbstractAsyncContextManager[Any]:
    """Open the provider that ``SESSION_PROVIDER`` names: ``factory_for_env()()``.

    Example:
        >>> async with get_session() as store:
        ...     await store.setex("code:alice", 600, "4711")

    Returns:
        An asynchronous context manager. What it gives has ``set``, ``setex``, ``get``, ``delete`` and ``close``; a
        provider of your own has what you wrote.

    Raises:
        UnknownProvider: As ``factory_for_env``.
    """
    return factory_for_env()()


session = get_session
