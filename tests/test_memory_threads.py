"""Threads with event loops of their own share the sessions in memory: what each operation promises holds for all."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from chuk_sessions.providers import memory

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

THREADS = 4
ROUNDS = 3_000


@pytest.fixture(autouse=True)
def _frequent_switches() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture
def store() -> memory.MemorySessionStore:
    return memory.factory(memory.MemoryStore()).session_store("box")


def in_threads(work: Callable[[int], Awaitable[None]]) -> None:
    """Run `work(number)` in so many threads at once, each with a loop; raise what any raises."""
    start, errors = threading.Barrier(THREADS), list[BaseException]()

    async def run(number: int) -> None:
        start.wait()
        await work(number)

    def thread(number: int) -> None:
        try:
            asyncio.run(run(number))
        except BaseException as exc:  # raised below, in the main thread
            errors.append(exc)

    threads = [threading.Thread(target=thread, args=(number,)) for number in range(THREADS)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    if errors:
        raise errors[0]


def test_merges_lose_nothing(store: memory.MemorySessionStore) -> None:
    asyncio.run(store.create("id", None, 3600, {}))

    async def work(number: int) -> None:
        for round_ in range(ROUNDS):
            assert await store.update("id", {f"{number}-{round_ % 10}": round_}, False)

    in_threads(work)
    record = asyncio.run(store.read("id"))
    assert record is not None
    last = {f"{number}-{n}": ROUNDS - 10 + n for number in range(THREADS) for n in range(10)}
    assert record.metadata == last


def test_extensions_keep_the_session_alive(store: memory.MemorySessionStore) -> None:
    """Each extension moves the deadline that rules."""
    asyncio.run(store.create("id", None, 3600, {}))
    before = store._map.items["id"][1]

    async def work(number: int) -> None:
        for _ in range(10 * ROUNDS):
            assert await store.extend("id", 1)

    in_threads(work)
    assert store._map.items["id"][1] == pytest.approx(before + 10 * THREADS * ROUNDS)


def test_one_creator_wins(store: memory.MemorySessionStore) -> None:
    """All others are told of the winner, whose session stays."""
    told: dict[str, list[str | None]] = {f"id-{round_}": [] for round_ in range(ROUNDS)}

    async def work(number: int) -> None:
        for session_id, answers in told.items():
            existing = await store.create(session_id, f"user-{number}", 3600, {})
            answers.append(existing.user_id if existing else None)

    in_threads(work)
    for session_id, answers in told.items():
        record = asyncio.run(store.read(session_id))
        assert record is not None
        assert sorted(answers, key=str) == [None] + [record.user_id] * (THREADS - 1)


def test_one_deleter_wins(store: memory.MemorySessionStore) -> None:
    async def fill() -> None:
        for round_ in range(ROUNDS):
            await store.create(f"id-{round_}", None, 3600, {})

    asyncio.run(fill())
    deleted: list[str] = []

    async def work(number: int) -> None:
        deleted.extend([f"id-{round_}" for round_ in range(ROUNDS) if await store.delete(f"id-{round_}")])

    in_threads(work)
    assert sorted(deleted) == sorted(f"id-{round_}" for round_ in range(ROUNDS))
    assert store.cached() == 0
