"""The tasks of one request use the store one after another, whatever becomes of those that wait."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from chuk_sessions.web.turn import Turn
from tests.support.wire import run_without_suspending


class Tasks:
    """Tasks that hold a turn until they are told to go on."""

    def __init__(self) -> None:
        self.turn = Turn()
        self.inside: list[int] = []
        self.done: list[int] = []
        self.go_on = asyncio.Event()

    async def run(self, number: int) -> None:
        async with self.turn:
            self.inside.append(number)
            assert len(self.inside) == 1
            try:
                await self.go_on.wait()
            finally:
                self.inside.remove(number)
        self.done.append(number)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_tasks_take_turns_in_their_order() -> None:
    tasks = Tasks()
    running = [asyncio.create_task(tasks.run(number)) for number in range(4)]
    await settle()
    assert (tasks.inside, tasks.turn.is_in_use) == ([0], True)
    tasks.go_on.set()
    await asyncio.gather(*running)
    assert (tasks.done, tasks.turn.is_in_use) == ([0, 1, 2, 3], False)


@pytest.mark.parametrize("cancelled", [0, 1, 2])
async def test_a_task_that_is_cancelled_leaves_the_turn_to_the_others(cancelled: int) -> None:
    """The one that holds it, the one that is next, and the last."""
    tasks = Tasks()
    running = [asyncio.create_task(tasks.run(number)) for number in range(3)]
    await settle()
    running[cancelled].cancel()
    tasks.go_on.set()
    await asyncio.gather(*running, return_exceptions=True)
    assert running[cancelled].cancelled()
    assert not tasks.turn.is_in_use
    assert len(tasks.done) == 2


async def test_a_task_that_is_cancelled_when_it_was_woken_wakes_the_next() -> None:
    """It has not run in between."""
    turn = Turn()
    await turn.__aenter__()
    first, second = (asyncio.create_task(_take(turn)) for _ in range(2))
    await settle()
    await turn.__aexit__()
    first.cancel()
    await second
    assert first.cancelled()
    assert not turn.is_in_use


async def _take(turn: Turn) -> None:
    async with turn:
        pass


def test_a_free_turn_never_suspends() -> None:
    """No other task runs in between."""
    turn = Turn()
    run_without_suspending(_take(turn))
    assert not turn.is_in_use


def test_tasks_of_two_threads() -> None:
    """A blocking call that was given up ends in another thread than the next call for the same session runs in."""
    turn, ended = Turn(), threading.Event()

    async def wait() -> None:
        await _take(turn)
        ended.set()

    _ = turn.__aenter__()
    threading.Thread(target=lambda: asyncio.run(wait()), daemon=True).start()
    while turn._waiting is None:
        time.sleep(0.01)
    time.sleep(0.05)  # by now the loop there waits for a wake-up
    _ = turn.__aexit__()
    assert ended.wait(5)


class Late(list["asyncio.Future[None]"]):
    """Those who wait, of a turn that goes from one thread to another while somebody comes to wait."""

    def __init__(self, turn: Turn) -> None:
        super().__init__()
        self._turn = turn

    def append(self, waiter: asyncio.Future[None]) -> None:
        _ = self._turn.__aexit__(), self._turn.__aenter__()
        super().append(waiter)


async def test_a_turn_that_changes_hands_while_a_task_comes_to_wait() -> None:
    """The task waits for the one who has the turn now."""
    turn = Turn()
    await turn.__aenter__()
    turn._waiting = Late(turn)
    waiting = asyncio.create_task(turn.wait())
    await settle()
    assert not waiting.done()
    await turn.__aexit__()
    await asyncio.wait_for(waiting, 10)
    assert turn.is_in_use
