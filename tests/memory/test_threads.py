"""Threads with event loops of their own share the sessions in memory: what each operation promises holds for all."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions.providers import memory
from chuk_sessions.providers.memory import store as store_module
from chuk_sessions.providers.memory.store import MemorySessionStore
from tests.memory.test_expiring_map import end_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.usefixtures("frequent_switches")

THREADS = 4
ROUNDS = 3_000
MANY_ROUNDS = 30_000  # so many until threads meet within a few instructions


@pytest.fixture(params=["gil", "no gil"])
def store(request: pytest.FixtureRequest) -> MemorySessionStore:
    if request.param == "no gil":
        request.getfixturevalue("no_gil")
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


def test_merges_lose_nothing(store: MemorySessionStore) -> None:
    asyncio.run(store.create("id", None, 3600, {}))

    async def work(number: int) -> None:
        for round_ in range(ROUNDS):
            assert await store.update("id", {f"{number}-{round_ % 10}": round_}, False)

    in_threads(work)
    record = asyncio.run(store.read("id"))
    assert record is not None
    last = {f"{number}-{n}": ROUNDS - 10 + n for number in range(THREADS) for n in range(10)}
    assert record.metadata == last


def test_extensions_keep_the_session_alive(store: MemorySessionStore) -> None:
    """Each extension moves the deadline that rules."""
    asyncio.run(store.create("id", None, 3600, {}))
    before = end_of(store._map.items["id"])

    async def work(number: int) -> None:
        for _ in range(10 * ROUNDS):
            assert await store.extend("id", 1)

    in_threads(work)
    assert end_of(store._map.items["id"]) == pytest.approx(before + 10 * THREADS * ROUNDS)


@pytest.mark.parametrize("idle", [0, 1800])
def test_deadlines_from_now_and_extensions_agree(store: MemorySessionStore, idle: float) -> None:
    """What is told of a session is the deadline that rules, and the map reclaims it by that."""
    asyncio.run(store.create("id", None, 3600, {}, idle=idle))

    async def work(number: int) -> None:
        for round_ in range(2 * ROUNDS):
            assert await store.extend("id", (60, 7200)[round_ % 2], from_now=True)
            assert await store.extend("id", 1)

    in_threads(work)
    session = store._map.items["id"]
    filing, deadline = session.filing, end_of(session)
    told = session.expires - time.time()
    assert told == pytest.approx(deadline - store._map.clock(), abs=0.5)
    assert filing <= deadline
    asyncio.run(store.extend("id", 0.01, from_now=True))
    time.sleep(0.02)
    assert asyncio.run(store.touch("id", 0)) is False


@pytest.mark.parametrize("idle", [0, 1800])
@pytest.mark.parametrize("step", ["postponed", "_replace"])
@pytest.mark.parametrize("from_now", [False, True])
def test_another_deadline_between_two_steps_of_an_extension(
    monkeypatch: pytest.MonkeyPatch, from_now: bool, step: str, idle: float
) -> None:
    """By another thread: both take effect, and what is told of the session is still the deadline that rules."""
    sessions = memory.factory(memory.MemoryStore()).session_store("box")
    asyncio.run(sessions.create("id", None, 3600, {}, idle=idle))
    owner: Any = store_module if step == "postponed" else MemorySessionStore
    original, times = getattr(owner, step), 0

    def and_let_in(*args: Any) -> Any:
        nonlocal times
        times += 1
        result = original(*args)
        if times == 1:
            with pytest.raises(StopIteration):
                sessions.extend("id", 60, from_now=from_now).send(None)
        return result

    monkeypatch.setattr(owner, step, and_let_in)
    assert asyncio.run(sessions.extend("id", 1000)) is True
    assert times >= 2 or (idle and step == "_replace")
    session = sessions._map.items["id"]
    told, rules = session.away[1:] if idle else (session.expires, end_of(session))
    left = rules - sessions._map.clock()
    assert told - time.time() == pytest.approx(left, abs=0.5)
    if times:
        lifetimes = {60, 1060} if from_now else {4660}
        assert min(abs(left - each) for each in lifetimes) < 1


@pytest.mark.slow
def test_one_creator_wins(store: MemorySessionStore) -> None:
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


def test_one_deleter_wins(store: MemorySessionStore) -> None:
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


async def login(store: MemorySessionStore, session_id: str) -> None:
    await store.create(session_id, "alice", 3600, {})


def logged_in(store: MemorySessionStore) -> list[str]:
    return [session_id for session_id, _ in asyncio.run(store.list_user("alice"))]


@pytest.mark.slow
@pytest.mark.parametrize("grace", [0, 60])
def test_no_session_survives_that_gets_a_new_id_while_all_are_ended(store: MemorySessionStore, grace: float) -> None:
    """Three threads renew theirs again and again, one ends all."""
    rounds, renewals = MANY_ROUNDS // 20, 20
    together = threading.Barrier(THREADS, timeout=60)
    survivors: list[str] = []
    revoked: list[int] = []

    async def work(number: int) -> None:
        for round_ in range(rounds):
            session_id: str | None = f"{number}-{round_}"
            if number:
                await login(store, f"{number}-{round_}")
            together.wait()
            if number == 0:
                revoked.append(await store.delete_user("alice", frozenset()))
                survivors.extend([session_id for session_id, _ in await store.list_user("alice")])
            for step in range(renewals if number else 0):
                if session_id is not None:
                    session_id = await store.renew(session_id, f"{number}-{round_}-{step}", grace)
            together.wait()
            survivors.extend([session_id for page in [p async for p in store.pages(100)] for session_id, _ in page])
            together.wait()

    in_threads(work)
    assert survivors == []
    assert revoked == [THREADS - 1] * rounds
    assert (store._users.one, store._users.many) == ({}, {})


@pytest.mark.slow
@pytest.mark.parametrize(("grace", "names"), [(0, 2), (60, 1)])
def test_renewals_at_once(store: MemorySessionStore, grace: float, names: int) -> None:
    """With a grace all get one new id, without one all but the first get None."""
    told: dict[str, list[str | None]] = {f"id-{round_}": [] for round_ in range(MANY_ROUNDS)}

    async def fill() -> None:
        for session_id in told:
            await login(store, session_id)

    asyncio.run(fill())

    async def work(number: int) -> None:
        for session_id, answers in told.items():
            answers.append(await store.renew(session_id, f"{session_id}-{number}", grace))

    in_threads(work)
    assert {len(set(answers)) for answers in told.values()} == {names}
    assert {answers.count(None) for answers in told.values()} == {0 if grace else THREADS - 1}
    assert sorted(logged_in(store)) == sorted({name for answers in told.values() for name in answers if name})


def test_a_logout_under_the_old_id_holds_while_the_session_gets_a_new_one(store: MemorySessionStore) -> None:
    ended: list[bool] = []

    async def fill() -> None:
        for round_ in range(MANY_ROUNDS):
            await login(store, f"id-{round_}")

    asyncio.run(fill())

    async def work(number: int) -> None:
        for round_ in range(MANY_ROUNDS):
            if number == 0:
                await store.renew(f"id-{round_}", f"new-{round_}", 60)
            else:
                ended.append(await store.delete(f"id-{round_}"))

    in_threads(work)
    assert logged_in(store) == []
    assert sum(ended) == MANY_ROUNDS


def test_a_session_with_a_limit_is_found_under_its_new_id_too(store: MemorySessionStore) -> None:
    """Logins at the limit, and renewals of what there is: never over the limit once all have returned."""

    async def work(number: int) -> None:
        for round_ in range(MANY_ROUNDS // 10):
            session_id = f"{number}-{round_}"
            await store.create(session_id, "alice", 3600, {}, limit=3)
            await store.renew(session_id, f"{session_id}-new", 0)

    in_threads(work)
    assert len(logged_in(store)) == 3
    assert asyncio.run(store.count()) == 3


@pytest.mark.parametrize("login", ["allocated", "bound"])
def test_of_two_logins_at_once_one_stays(
    store: MemorySessionStore, monkeypatch: pytest.MonkeyPatch, login: str
) -> None:
    """Each finds the other listed before either has ended one."""
    make_room, end = MemorySessionStore._make_room, MemorySessionStore._end
    rooms: list[tuple[Any, ...]] = []

    async def log_in(name: str) -> None:
        if login == "allocated":
            await store.create(name, "alice", 3600, {}, limit=1)
        else:
            await store.create(name, None, 3600, {})
            assert await store.renew(name, f"new-{name}", 0, user_id="alice", limit=1)

    def the_second_comes(*args: Any) -> None:
        rooms.append(args)
        monkeypatch.setattr(MemorySessionStore, "_make_room", make_room)
        with suppress(StopIteration):  # it never suspends
            log_in("second").send(None)

    def the_first_goes_on(*args: Any) -> bool:
        monkeypatch.setattr(MemorySessionStore, "_end", end)
        make_room(*rooms.pop())
        return end(*args)

    monkeypatch.setattr(MemorySessionStore, "_make_room", the_second_comes)
    monkeypatch.setattr(MemorySessionStore, "_end", the_first_goes_on)
    asyncio.run(log_in("first"))
    assert not rooms
    assert [each.removeprefix("new-") for each in logged_in(store)] == ["second"]
