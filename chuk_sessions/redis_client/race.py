"""The first of several attempts that succeeds: the addresses of a name are tried one after another, and overlapping.

As in RFC 8305 ("happy eyeballs"), an address that says nothing does not keep the next one from being tried. asyncio has
that for the connecting alone, and uvloop has not; here an attempt is over when the server behind the address has
answered, as a host that hangs accepts connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable

from chuk_sessions.redis_client.connection import Connection

__all__ = ["Attempt", "Begin", "first_of", "give_up"]

CONNECTED = 0.25  # seconds for an address to accept, before the next one is tried too: RFC 8305, section 5
ANSWERED = 1.0  # seconds for the server there to answer


class Attempt:
    """To connect to one address: how far it is, for messages and for whoever waits for it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.is_connected = False
        self.reason = "no answer"  # why it has not succeeded


Begin = Callable[[], Coroutine[None, None, Connection]]


async def first_of(openings: Iterable[tuple[Attempt, Begin]]) -> Connection:
    """The connection of the first that succeeds; the others are given up. Raises what the last to fail has raised."""
    running: set[asyncio.Task[Connection]] = set()
    try:
        winner = await _race(openings, running)
    except BaseException:
        await give_up(running)
        raise
    try:
        await give_up(running)
    except BaseException:  # nobody will use it
        winner.abort("connecting was given up")
        raise
    return winner


async def _race(openings: Iterable[tuple[Attempt, Begin]], running: set[asyncio.Task[Connection]]) -> Connection:
    """The first to succeed, which is not among ``running`` any more."""
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
        del error  # which holds this frame


async def _give_time(running: set[asyncio.Task[Connection]], attempt: Attempt) -> None:
    """Wait until one has ended, or ``attempt`` took so long that the next one is to begin."""
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
    """End attempts; also one that has just succeeded, with a connection that nobody will use."""
    for attempt in attempts:
        attempt.add_done_callback(_close)  # also if this is cancelled too
        attempt.cancel()
    if attempts:
        await asyncio.wait(attempts)


def _close(attempt: asyncio.Task[Connection]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().abort("it is not used")
