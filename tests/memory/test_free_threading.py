"""Without a GIL threads meet between any two instructions, so the store that is made there takes locks.

Any Python can show it: the threads here trace the memory package and let others in at every instruction that the dice
say. A free-threaded build does no worse, as its dicts and lists too are whole after each instruction. Without the lock,
each test that starts threads here loses something or raises.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from inspect import isfunction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions.providers import memory
from chuk_sessions.providers.memory import storage
from chuk_sessions.providers.memory.expiring_map import SPARE_SECONDS, ExpiringMap
from chuk_sessions.providers.memory.locked import LockedMap, LockedSessionMap
from chuk_sessions.providers.memory.locked_store import LockedSessionStore
from chuk_sessions.providers.memory.session_map import SessionMap
from chuk_sessions.providers.memory.store import MemorySessionStore
from tests.memory.test_expiring_map import check_filings, run
from tests.memory.test_threads import THREADS, in_threads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

FOLDER = str(Path(memory.__file__).parent)
LET_IN = 0.1  # of the instructions
ROUNDS = 30
MANY_ROUNDS = 200  # of what meets seldom
# What needs no lock: a single look, or steps that take it each for itself.
UNLOCKED_OF_THE_MAP = {"get", "set", "live", "close", "bucket_of", "filing_of"}
UNLOCKED_OF_THE_STORE = {
    "delete_user",
    "list_user",
    "user_pages",
    "aclose",
    "pages",
    "count",
    "sweep",
    "cached",
    "capacity",
    "for_infos",
    "for_manager",
}


@contextmanager
def meeting_anywhere() -> Iterator[None]:
    """Threads that are started in here may switch at any instruction of the memory package."""
    dice = random.Random(7)

    def step(frame: FrameType, event: str, arg: object) -> Any:
        if event == "opcode" and dice.random() < LET_IN:
            time.sleep(0)
        return step

    def enter(frame: FrameType, event: str, arg: object) -> Any:
        if not frame.f_code.co_filename.startswith(FOLDER):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return step

    before = threading.gettrace()
    threading.settrace(enter)
    try:
        yield
    finally:
        threading.settrace(before)


@pytest.fixture
def store(no_gil: None) -> MemorySessionStore:
    return memory.factory(memory.MemoryStore()).session_store("box")


@pytest.mark.slow
def test_no_key_is_lost_that_comes_back_while_it_is_reclaimed(no_gil: None) -> None:
    """Each thread has keys of its own, which expire under the hands of the others' writes."""
    now = [0.0]
    values = memory.MemoryStore(clock=lambda: now[0]).values
    lost: list[str] = []

    async def work(number: int) -> None:
        for round_ in range(ROUNDS):
            keys = [f"{number}-{key}" for key in range(5)]
            for key in keys:
                await values.setex(key, 1, "short")
            now[0] += 5
            for key in keys:
                await values.setex(key, 1e6, "long")
            lost.extend([f"{key} in {round_}" for key in keys if await values.get(key) != "long"])
            for key in keys:
                await values.delete(key)

    with meeting_anywhere():
        in_threads(work)
    assert lost == []
    check_filings(values, SPARE_SECONDS)


def test_merges_and_counts_lose_nothing(store: MemorySessionStore) -> None:
    run(store.create("id", None, 3600, {}))

    async def work(number: int) -> None:
        for round_ in range(ROUNDS):
            assert await store.update("id", {f"{number}-{round_}": round_}, False)
            assert await store.increment("id", "count", 1)

    with meeting_anywhere():
        in_threads(work)
    record = run(store.read("id"))
    every = {f"{number}-{round_}": round_ for number in range(THREADS) for round_ in range(ROUNDS)}
    assert record.metadata == every | {"count": THREADS * ROUNDS}


@pytest.mark.slow
def test_one_of_many_renewals_wins(store: MemorySessionStore) -> None:
    """With a grace all are told the winner's id."""
    told: dict[str, set[str | None]] = {f"id-{round_}": set() for round_ in range(MANY_ROUNDS)}
    for session_id in told:
        run(store.create(session_id, "alice", 3600, {}))

    async def work(number: int) -> None:
        for session_id, answers in told.items():
            answers.add(await store.renew(session_id, f"{session_id}-{number}", 60))

    with meeting_anywhere():
        in_threads(work)
    assert {len(answers) for answers in told.values()} == {1}
    assert {session_id for session_id, _ in asyncio.run(store.list_user("alice"))} == set.union(*told.values())


@pytest.mark.slow
def test_the_index_of_users_follows_logins_and_logouts(store: MemorySessionStore) -> None:
    """All threads log one user in and out; what is left at the end is what is listed."""

    async def work(number: int) -> None:
        for round_ in range(MANY_ROUNDS):
            await store.create(f"{number}-{round_}", "alice", 3600, {})
            await store.delete(f"{number}-{round_ - round_ % 3}")

    with meeting_anywhere():
        in_threads(work)
    assert {session_id for session_id, _ in asyncio.run(store.list_user("alice"))} == set(store._map.items)


@pytest.mark.parametrize(
    ("plain", "locked", "unlocked"),
    [
        (ExpiringMap, LockedMap, UNLOCKED_OF_THE_MAP),
        (SessionMap, LockedSessionMap, {"live", "filing_of"}),
        (MemorySessionStore, LockedSessionStore, UNLOCKED_OF_THE_STORE),
    ],
)
def test_no_operation_is_forgotten(plain: type, locked: type, unlocked: set[str]) -> None:
    """A new one takes the lock, or is listed above."""
    operations = {name for name, what in vars(plain).items() if isfunction(what) and not name.startswith("_")}
    taken = {name for name in operations if getattr(locked, name) is not getattr(plain, name)}
    assert operations - unlocked == taken


def test_the_sessions_of_a_sandbox_have_one_lock(no_gil: None) -> None:
    """Whoever opens them; another sandbox has another."""
    factory = memory.factory(memory.MemoryStore())
    one, same, other = (factory.session_store(sandbox) for sandbox in ("box", "box", "other"))
    assert isinstance(one, LockedSessionStore)
    assert isinstance(same, LockedSessionStore)
    assert isinstance(other, LockedSessionStore)
    assert one.lock is same.lock is one._map.lock is one._aliases.lock
    assert one.lock is not other.lock


@pytest.mark.parametrize(("build", "locked"), [(None, False), (True, False), (False, True)])
def test_the_interpreter_decides(monkeypatch: pytest.MonkeyPatch, build: bool | None, locked: bool) -> None:
    """Before 3.13 it is not even asked; a free-threaded build may have its GIL switched on."""
    monkeypatch.delattr(sys, "_is_gil_enabled", raising=False)
    if build is not None:
        monkeypatch.setattr(sys, "_is_gil_enabled", lambda: build, raising=False)
    store = memory.MemoryStore()
    assert type(store.values) is (LockedMap if locked else ExpiringMap)
    expected = LockedSessionStore if locked else MemorySessionStore
    assert type(memory.factory(store).session_store("box")) is expected


@pytest.mark.skipif(not storage.has_gil(), reason="this Python has no GIL, so it needs the locks")
def test_a_gil_pays_for_no_lock() -> None:
    """What locks is not even imported."""
    program = (
        "import sys; from chuk_sessions.providers import memory; memory.factory()().__class__;"
        "memory.factory().session_store('box'); sys.exit(any('memory.locked' in name for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
