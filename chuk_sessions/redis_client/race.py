"""Connects to the first address of a name that answers: the addresses are tried one after another, and overlap.

As in RFC 8305 ("happy eyeballs"), an address that does not answer does not keep the next one from being tried. asyncio
has that only for the connecting, and uvloop does not have it. Here an attempt is over when the server behind the
address has answered, because a host that hangs accepts connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable

from chuk_sessions.redis_client.connection import Connection

__all__ = ["Attempt", "Begin", "first_of", "give_up"]

CONNECTED = 0.25  # seconds for an address to accept, before the next one is tried too: RFC 8305, section 5
ANSWERED = 1.0  # seconds for the server at the address to answer


class Attempt:
    """An attempt to connect to one address: its progress, for messages and for the race."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.is_connected = False
        self.reason = "no answer"  # why it has not succeeded


Begin = Callable[[], Coroutine[None, None, Connection]]


async def first_of(openings: Iterable[tuple[Attempt, Begin]]) -> Connection:
    """Return the connection of the first attempt that succeeds; give up the others. Raises the last attempt's error."""
    running: set[asyncio.Task[Connection]] = set()
    try:
        winner = await _race(openings, running)
    except BaseException:
        await give_up(running)
        raise
    try:
        await give_up(running)
    except BaseException:  # no caller will use the connection
        winner.abort("connecting was given up")
        raise
    return winner


async def _race(openings: Iterable[tuple[Attempt, Begin]], running: set[asyncio.Task[Connection]]) -> Connection:
    """Return the connection of the first attempt that succeeds, and remove this attempt from ``running``."""
    loop = asyncio.get_running_loop()
    error: BaseException | None = None
    for attempt, begin in openings:
        running.add(loop.create_task(begin()))
        await _give_time(running, attempt)
        error = _take_failed(running) or error
        if winner := _winner(running):
            return winner
    while running:
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        error = _take_failed(running) or error
        if winner := _winner(running):
            return winner
    assert error is not None
    try:
        raise error
    finally:
        del error  # it holds this frame


async def _give_time(running: set[asyncio.Task[Connection]], attempt: Attempt) -> None:
    """Wait until an attempt has ended, or ``attempt`` took so long that the next one must begin."""
    done, _ = await asyncio.wait(running, timeout=CONNECTED, return_when=asyncio.FIRST_COMPLETED)
    if not done and attempt.is_connected:
        await asyncio.wait(running, timeout=ANSWERED - CONNECTED, return_when=asyncio.FIRST_COMPLETED)


def _take_failed(running: set[asyncio.Task[Connection]]) -> BaseException | None:
    failed = {task for task in running if task.done() and (task.cancelled() or task.exception() is not None)}
    running -= failed
    errors = [task.exception() for task in failed if not task.cancelled()]
    return errors[0] if errors else None


def _winner(running: set[asyncio.Task[Connection]]) -> Connection | None:
    task = next((task for task in running if task.done()), None)
    if task is None:
        return None
    running.discard(task)
    return task.result()


async def give_up(attempts: Collection[asyncio.Task[Connection]]) -> None:
    """End attempts. If an attempt has just succeeded, close its connection: no caller will use it."""
    for attempt in attempts:
        attempt.add_done_callback(_close)  # runs even if this function is cancelled too
        attempt.cancel()
    if attempts:
        await asyncio.wait(attempts)


def _close(attempt: asyncio.Task[Connection]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().abort("it is not used")
