"""Writes after a response has begun: they outlive the task of the request.

A server may cancel that task when its client leaves (Hypercorn does, and aiohttp can be told to). The changes of a
stream or a WebSocket must not be lost then: a task of its own makes the write again. To set a key twice to the same
value is the same as to set it once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from chuk_sessions.exceptions import StorageError

__all__ = ["write_late", "write_later"]

Commit = Callable[[], Awaitable[None]]
Log = Callable[[Exception], None]

_tasks: set[asyncio.Task[None]] = set()  # the loop itself keeps only weak references to tasks


async def write_late(commit: Commit, log: Log) -> None:
    """Call ``commit``, and once more in the background if it is cancelled. A StorageError goes to ``log``."""
    try:
        await commit()
    except StorageError as error:
        log(error)
    except asyncio.CancelledError:
        write_later(commit, log)
        raise


def write_later(commit: Commit, log: Log) -> None:
    """Call ``commit`` in the background; its errors go to ``log``."""
    task = asyncio.get_running_loop().create_task(_later(commit, log))
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


async def _later(commit: Commit, log: Log) -> None:
    try:
        await commit()
    except Exception as error:  # no caller waits for this task
        log(error)
