"""Operations on one session take turns: of all managers, event loops and threads of a process."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import SessionManager
from chuk_sessions.stores import keyvalue
from chuk_sessions.stores.keyvalue import KeyValueStore, storage_of
from chuk_sessions.stores.turns import Turns
from tests.support import custom_provider
from tests.support.custom_provider import CustomSession

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from chuk_sessions.provider import Factory

TIMES = 100
PATIENCE = 30


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> custom_provider.Data:
    """A provider in a module that the environment names; each call of its factory() gives another object."""
    data: custom_provider.Data = {}
    made = ModuleType("shop_provider")
    made.factory = partial(custom_provider.factory, data)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shop_provider", made)
    monkeypatch.setenv("SESSION_PROVIDER", "shop_provider")
    return data


async def test_two_managers_from_the_environment(module: custom_provider.Data) -> None:
    """No increment of 100 is lost."""
    one, other = SessionManager("box"), SessionManager("box")
    assert one.session_factory is not other.session_factory
    session_id = await one.allocate_session()
    managers = [one, other] * (TIMES // 2)
    values = await asyncio.gather(*(manager.increment_session_metadata(session_id, "n") for manager in managers))
    assert sorted(values) == list(range(1, TIMES + 1))  # type: ignore[type-var]


async def test_a_deleted_session_stays_deleted(module: custom_provider.Data) -> None:
    """Whatever other managers do to it meanwhile, none writes it back."""
    managers = [SessionManager("box") for _ in range(3)]
    for _ in range(TIMES):
        session_id = await managers[0].allocate_session()
        await asyncio.gather(
            managers[0].validate_session(session_id),
            managers[1].update_session_metadata(session_id, {"a": 1}),
            managers[2].delete_session(session_id),
            managers[0].extend_session_ttl(session_id, 1),
            managers[1].validate_session(session_id),
        )
        assert await managers[0].validate_session(session_id) is False


def test_two_threads() -> None:
    """Each with an event loop of its own, and more than one task in it."""
    data: custom_provider.Data = {}
    session_id = asyncio.run(SessionManager("box", custom_provider.factory(data)).allocate_session())
    begin = threading.Barrier(4)

    async def count() -> list[int | None]:
        manager = SessionManager("box", custom_provider.factory(data))
        calls = [manager.increment_session_metadata(session_id, "n") for _ in range(TIMES)]
        begin.wait(PATIENCE)
        return await asyncio.gather(*calls)

    with ThreadPoolExecutor(4) as threads:
        counted = [value for each in threads.map(lambda _: asyncio.run(count()), range(4)) for value in each]
    assert sorted(counted) == list(range(1, 4 * TIMES + 1))  # type: ignore[type-var]
    assert len(keyvalue._turns) == 0


def test_a_loop_goes_on_while_one_of_its_tasks_waits() -> None:
    """For a turn that a task of another thread has."""
    turns, has_it, may_end = Turns(), threading.Event(), threading.Event()

    async def hold() -> None:
        turn = await turns.begin("id")
        has_it.set()
        await asyncio.to_thread(may_end.wait, PATIENCE)
        turns.end(turn)

    async def wait() -> None:
        await asyncio.to_thread(has_it.wait, PATIENCE)
        waiting = asyncio.ensure_future(turns.begin("id"))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not waiting.done()
        may_end.set()
        turns.end(await asyncio.wait_for(waiting, PATIENCE))

    with ThreadPoolExecutor(1) as thread:
        holding = thread.submit(asyncio.run, hold())
        asyncio.run(wait())
        holding.result(PATIENCE)
    assert len(turns) == 0


async def test_first_come_first_served() -> None:
    turns, order = Turns(), []

    async def take(number: int) -> None:
        turn = await turns.begin("id")
        order.append(number)
        await asyncio.sleep(0)
        turns.end(turn)

    await asyncio.gather(*map(take, range(20)))
    assert order == list(range(20))
    assert len(turns) == 0


@pytest.mark.parametrize("late", [False, True], ids=["while it waits", "when its turn has come"])
async def test_one_that_is_cancelled(late: bool) -> None:
    """The next gets the turn."""
    turns = Turns()
    turn = await turns.begin("id")
    cancelled, following = (asyncio.ensure_future(turns.begin("id")) for _ in range(2))
    await asyncio.sleep(0)
    if late:
        turns.end(turn)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    if not late:
        assert not following.done()
        turns.end(turn)
    turns.end(await asyncio.wait_for(following, PATIENCE))
    assert len(turns) == 0


async def test_cancelled_at_random() -> None:
    """However callers are cancelled, no turn is lost and no two have it."""
    turns, inside = Turns(), []

    async def take(number: int) -> None:
        turn = await turns.begin("id")
        try:
            inside.append(number)
            assert len(inside) == 1
            await asyncio.sleep(0)
            inside.remove(number)
        except BaseException:
            inside.clear()
            raise
        finally:
            turns.end(turn)

    tasks = [asyncio.ensure_future(take(number)) for number in range(300)]
    for number in range(0, 300, 2):
        for _ in range(number % 3):
            await asyncio.sleep(0)
        tasks[number].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert all(task.cancelled() or task.exception() is None for task in tasks)
    assert len(turns) == 0


@pytest.mark.filterwarnings("ignore:.*was never awaited", "ignore:.*was destroyed")
def test_a_loop_that_was_closed_on_its_tasks() -> None:
    """One had the turn and another waited for it: both are gone, and nobody waits for them."""
    turns = Turns()
    turn: list[Any] = []

    async def begin() -> None:
        turn.append(await turns.begin("id"))
        waiter = asyncio.ensure_future(turns.begin("id"))
        await asyncio.sleep(0)
        assert not waiter.done()
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        keep.append(waiter)

    keep: list[Any] = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin())
    loop.close()
    turns.end(turn[0])
    keep.clear()
    gc.collect()
    assert len(turns) == 0

    async def follow() -> None:
        turns.end(await asyncio.wait_for(turns.begin("id"), PATIENCE))

    asyncio.run(follow())


def factory_giving(make: Callable[[], CustomSession]) -> Factory:
    @asynccontextmanager
    async def _ctx() -> AsyncIterator[CustomSession]:
        yield make()

    return _ctx


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_waits_for_nobody() -> None:
    """The turn that a task of the parent has is not the child's business."""
    reached, release, data = asyncio.Event(), asyncio.Event(), dict[str, tuple[str, float]]()

    class Stuck(CustomSession):
        async def get(self, key: str) -> str | None:
            reached.set()
            await release.wait()
            return await super().get(key)

    with closing(asyncio.new_event_loop()) as loop:
        stuck = loop.create_task(KeyValueStore(factory_giving(lambda: Stuck(data)), "box").touch("id", 0))
        loop.run_until_complete(reached.wait())
        assert len(keyvalue._turns) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
            child = os.fork()
        if child == 0:
            store = KeyValueStore(factory_giving(lambda: CustomSession(data)), "box")
            try:
                asyncio.run(asyncio.wait_for(store.create("id", None, 60, {}), PATIENCE))
            except BaseException:
                os._exit(1)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        release.set()
        assert loop.run_until_complete(stuck) is False


async def test_what_counts_as_one_storage() -> None:
    """What comes from one function or class; a wrapper that only fixes arguments changes nothing."""

    class Made:
        def __call__(self) -> Any: ...

        def method(self) -> Any: ...

    class Other(Made):
        pass

    assert storage_of(custom_provider.factory()) == storage_of(custom_provider.factory())
    assert storage_of(Made()) == storage_of(Made()) == f"{__name__}.{Made.__qualname__}"
    assert storage_of(Made().method) == storage_of(partial(partial(Made().method)))
    different: list[Any] = [Made(), Other(), Made().method, custom_provider.factory()]
    assert len(set(map(storage_of, different))) == 4
