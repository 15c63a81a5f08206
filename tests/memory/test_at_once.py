"""The calls without a coroutine do what those of the store do, on the memory store itself only."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from chuk_sessions import MetadataError, SessionManager
from chuk_sessions.instrumentation import SessionMetrics
from chuk_sessions.providers import memory
from chuk_sessions.providers.memory.at_once import calls_at_once
from chuk_sessions.providers.memory.expiring_map import WIDE
from chuk_sessions.providers.memory.locked_store import LockedSessionStore
from chuk_sessions.providers.memory.session_map import SessionMap
from chuk_sessions.providers.memory.store import MemorySessionStore
from chuk_sessions.stores.wrapper import DONE, StoreWrapper, calls_of, stack
from tests.memory.test_expiring_map import check_filings
from tests.memory.test_threads import in_threads
from tests.support.helpers import Clock
from tests.support.interruptions import interruptions

LIFETIME = 100 * WIDE  # seconds
METADATA = {"role": "admin", "deep": [1, {"a": None}]}
NOW = 27_654_075 * WIDE + 0.25  # a lifetime later, a wide bucket begins
IDS = ("id", "other", "renewed", "old", "idle", "expired", "deleted", "new", "unknown")


def store_at(clock: Clock) -> MemorySessionStore:
    """Has sessions of all kinds, and a bucket that was used last."""
    store = MemorySessionStore(memory.MemoryStore(clock=clock, wall_clock=clock), "box")

    async def fill() -> None:
        await store.create("expired", "alice", 10, {})  # in a second that is not over yet
        await store.create("deleted", "alice", LIFETIME, {})
        await store.delete("deleted")
        await store.create("idle", "bob", LIFETIME, {"a": 1}, idle=60)
        await store.create("id", "alice", LIFETIME, {"a": 1})
        await store.create("other", None, LIFETIME, {"ratio": float("inf")})
        await store.create("old", "carol", LIFETIME, {})
        clock.now += 10

    asyncio.run(fill())
    return store


async def result(answer: Any, done: bool | None = True) -> Any:
    """What the manager makes of an answer, see ``Calls``: ``done`` is None for a session that is created."""
    return done if answer is DONE else await answer


Calls = list[tuple[str, tuple[Any, ...], dict[str, Any]]]
CREATE: Calls = [
    ("create", ("new", "dave", LIFETIME, METADATA), {}),
    ("create", ("new", "alice", LIFETIME, {}), {}),
    ("create", ("new", None, LIFETIME, {"ratio": float("nan")}), {}),
    ("create", ("new", "alice", 2 * LIFETIME, {}), {}),
    ("create", ("new", "alice", 1.5, {}), {}),
    ("create", ("id", "mallory", LIFETIME, {"b": 1}), {}),
    ("create", ("expired", "alice", LIFETIME, {}), {}),
    ("create", ("deleted", "alice", LIFETIME, {}), {}),
    ("create", ("new", "alice", LIFETIME, {}), {"limit": 1}),
    ("create", ("new", "alice", LIFETIME, {}), {"idle": 60}),
    ("create", ("new", "alice", LIFETIME, {"a": {1}}), {}),
    ("create", ("new", "alice", LIFETIME, []), {}),
]
TOUCH: Calls = [("touch", (name, interval), {}) for name in IDS for interval in (0, 5, 3000)]
UPDATE: Calls = [
    *[("update", (name, {"b": 2}, replace), {}) for name in IDS for replace in (False, True)],
    ("update", ("other", {"ratio": float("nan")}, False), {}),
    ("update", ("id", {"a": {1}}, False), {}),
    ("update", ("unknown", {"a": {1}}, False), {}),
]


@pytest.mark.parametrize("renewed", [False, True], ids=["no alias", "an alias"])
@pytest.mark.parametrize(("name", "args", "options"), CREATE + TOUCH + UPDATE, ids=str)
def test_they_do_what_the_store_does(name: str, args: tuple[Any, ...], options: dict[str, Any], renewed: bool) -> None:
    """The same result or error, and the same sessions afterwards."""
    outcomes = []
    for at_once in (False, True):
        clock = Clock(NOW)
        store = store_at(clock)

        async def call(target: Any, store: MemorySessionStore = store, clock: Clock = clock) -> list[Any]:
            if renewed:
                await store.renew("old", "renewed", 600)
            try:
                outcome: Any = await result(getattr(target, name)(*args, **options), None if name == "create" else True)
            except MetadataError as exc:
                outcome = str(exc)
            listed = {user: await store.list_user(user) for user in ("alice", "bob", "carol", "dave", "mallory")}
            return [outcome, [await store.read(each) for each in IDS], listed, sorted(store._entries), clock.now]

        outcomes.append(asyncio.run(call(calls_at_once(store, "box") if at_once else store)))
        check_filings(store._map, 1)
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("renewed", [False, True], ids=["no alias", "an alias"])
@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize(("interval", "owner"), [(0, None), (5, "alice"), (3000, None), (0, "bob")])
async def test_they_tell_what_the_records_tell(name: str, interval: float, owner: str | None, renewed: bool) -> None:
    """The same info dict, and after it was opened the same session."""
    stores = await asyncio.to_thread(lambda: [store_at(Clock(NOW)) for _ in range(2)])
    if renewed:
        for store in stores:
            await store.renew("old", "renewed", 600)
    store, other = stores
    calls = calls_at_once(other, "box")
    assert calls.info is not None
    assert calls.open is not None
    assert await told(calls.info(name), name) == await told(store.read(name), name)
    assert await told(calls.open(name, interval, owner), name) == await told(store.open(name, interval, owner), name)
    assert [await other.read(each) for each in IDS] == [await store.read(each) for each in IDS]


async def told(answer: Any, session_id: str) -> Any:
    """What the manager makes of an answer of ``info`` or ``open``."""
    record = answer if isinstance(answer, dict) else await answer
    return record if isinstance(record, dict) or record is None else record.info(session_id, "box")


def test_the_usual_cases_make_no_coroutine() -> None:
    """They are done when they return, so that nothing comes between."""
    store = store_at(Clock(NOW))
    create, touch, update, _, info, open_info = calls_at_once(store, "box")
    assert info is not None
    assert open_info is not None
    assert create("new", "dave", LIFETIME, {}) is DONE
    assert touch("new", 0) is touch("idle", 0) is DONE
    assert update("new", {"a": 1}, False) is DONE
    assert store._entries["new"].document == '{"a":1}'
    for answer in (info("new"), open_info("new", 0, "dave"), open_info("new", 0, None)):
        assert isinstance(answer, dict)
        assert (answer["session_id"], answer["sandbox_id"], answer["custom_metadata"]) == ("new", "box", {"a": 1})


def test_tasks_of_a_manager_on_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop", reason="needs uvloop")

    async def all_calls() -> list[bool]:
        manager = SessionManager("box", memory.factory(memory.MemoryStore()))
        return [each for several in await asyncio.gather(*[use(manager) for _ in range(10)]) for each in several]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(all_calls()) == [True] * 20


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("user", ["dave", "alice", None])
def test_interrupted_anywhere(user: str | None, at_once: bool) -> None:
    """Whichever call raises: the session is not there, or it is, and then it expires and its user can end it."""
    for interruption in interruptions():
        clock = Clock(NOW)
        store = store_at(clock)
        create: Any = calls_at_once(store, "box").create if at_once else store.create
        with interruption, suppress(StopIteration):
            creation = create("new", user, LIFETIME, METADATA)
            if creation is not DONE:
                creation.send(None)
        check_filings(store._map, 1)
        if "new" in store._entries:
            assert store._entries["new"].user_id == user
            assert user is None or store._entries["new"] in store._users.of(user)
        clock.now += LIFETIME + WIDE
        asyncio.run(store.sweep())
        assert not store._entries
        assert not store._users.all()


@pytest.mark.parametrize("meanwhile", ["its user gets another session", "it gets another id"])
def test_interrupted_while_another_thread_uses_it(monkeypatch: pytest.MonkeyPatch, meanwhile: str) -> None:
    """What is there is listed and filed, and nothing else is."""
    clock = Clock(NOW)
    store = store_at(clock)

    async def theirs() -> None:
        if meanwhile == "it gets another id":
            assert await store.renew("new", "renewed", 0) == "renewed"
        else:
            await store.create("theirs", "dave", LIFETIME, {})

    def file(*_: Any) -> None:
        monkeypatch.undo()
        asyncio.run(theirs())
        raise MemoryError

    def wall_clock() -> float:
        asyncio.run(store.create("in another bucket", None, 2 * LIFETIME, {}))
        monkeypatch.setattr(SessionMap, "_file", file)
        return clock.now

    monkeypatch.setattr(store, "_wall_clock", wall_clock)
    create = calls_at_once(store, "box").create
    monkeypatch.setattr(store, "_wall_clock", clock)
    with pytest.raises(MemoryError):
        _ = create("new", "dave", LIFETIME, {})
    assert set(store._users.all()) == {each for each in store._entries.values() if each.user_id is not None}
    check_filings(store._map, 1)


def test_interrupted_by_a_signal() -> None:
    """After a call was carried out."""

    class Signalled(dict[str, Any]):
        def setdefault(self, key: str, default: Any = None) -> Any:
            super().setdefault(key, default)
            raise KeyboardInterrupt

    store = store_at(Clock(NOW))
    store._users.one = Signalled(store._users.one)
    create = calls_at_once(store, "box").create
    with pytest.raises(KeyboardInterrupt):
        _ = create("new", "dave", LIFETIME, {})
    assert "dave" not in store._users.one


def test_another_bucket_is_used_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """By another thread, after the deadline was compared with the bucket that was used last."""
    clock = Clock(NOW)
    store = store_at(clock)

    def wall_clock() -> float:
        asyncio.run(store.create("theirs", None, 2 * LIFETIME, {}))
        return clock.now

    store._wall_clock = wall_clock
    create = calls_at_once(store, "box").create
    monkeypatch.setattr(store, "_wall_clock", clock)
    assert create("new", "dave", LIFETIME, {}) is DONE
    check_filings(store._map, 1)
    clock.now += LIFETIME + WIDE
    asyncio.run(store.sweep())
    assert "new" not in store._entries
    assert "theirs" in store._entries


@pytest.mark.usefixtures("frequent_switches")
def test_threads_log_one_user_in_and_out() -> None:
    """What is left is what is listed."""
    store = memory.factory(memory.MemoryStore()).session_store("box")
    assert isinstance(store, MemorySessionStore)
    create, touch, update, *_ = calls_of(store, "box")

    async def work(number: int) -> None:
        for round_ in range(2_000):
            name = f"{number}-{round_}"
            await result(create(name, "alice", LIFETIME, {}), None)
            assert await result(touch(name, 0))
            assert await result(update(name, {"a": 1}, False))
            await store.delete(f"{number}-{round_ - round_ % 3}")

    in_threads(work)
    assert {session_id for session_id, _ in asyncio.run(store.list_user("alice"))} == set(store._entries)
    check_filings(store._map, 64)


@pytest.mark.usefixtures("frequent_switches")
def test_threads_take_the_same_ids_for_new_users() -> None:
    """And end them at once: each session that is left is listed, under the user who has it, and no other one."""
    store = memory.factory(memory.MemoryStore()).session_store("box")
    assert isinstance(store, MemorySessionStore)
    create = calls_of(store, "box").create

    async def work(number: int) -> None:
        for round_ in range(3_000):
            existing = await result(create(str(round_), f"{round_}-{number % 3}", 3600, {}), None)
            assert existing is None or existing.user_id is not None
            if number == 3:
                await store.delete_user(f"{round_}-{round_ % 3}", frozenset())
            elif round_ % 2:
                await store.delete(str(round_))

    in_threads(work)
    assert set(store._users.all()) == set(store._entries.values())
    assert all(store._users.of(str(session.user_id)) == [session] for session in store._entries.values())
    check_filings(store._map, 64)


@pytest.mark.usefixtures("frequent_switches")
def test_threads_merge_and_lose_nothing() -> None:
    store = memory.factory(memory.MemoryStore()).session_store("box")
    asyncio.run(store.create("id", None, LIFETIME, {}))
    update = calls_of(store, "box").update

    async def work(number: int) -> None:
        for round_ in range(500):
            assert await result(update("id", {f"{number}-{round_ % 10}": round_}, False))

    in_threads(work)
    record = asyncio.run(store.read("id"))
    assert record is not None
    assert record.metadata == {f"{number}-{n}": 490 + n for number in range(4) for n in range(10)}


class Audited(StoreWrapper):
    """Counts what it sees, and has a name of its own that others use too."""

    seen: list[str]
    calls = 0

    def create(self, *args: Any, **options: Any) -> Any:
        self.calls += 1
        self.seen.append("create")
        return super().create(*args, **options)

    def touch(self, *args: Any) -> Any:
        self.seen.append("touch")
        return super().touch(*args)

    def update(self, *args: Any, **options: Any) -> Any:
        self.seen.append("update")
        return super().update(*args, **options)


class Quiet(MemorySessionStore):
    """Is asked itself, as any subclass."""

    async def touch(self, session_id: str, interval: float) -> bool:
        """Find nothing."""
        return False


async def use(manager: SessionManager) -> list[bool]:
    session_id = await manager.allocate_session(user_id="alice")
    return [await manager.validate_session(session_id), await manager.update_session_metadata(session_id, {"a": 1})]


async def test_who_does_it_in_another_way_is_asked() -> None:
    """A subclass, as for a Python without a GIL, a wrapper and the layers of a manager."""
    values = memory.MemoryStore()
    for other in (Quiet(values, "box"), LockedSessionStore(values, "box"), StoreWrapper(Quiet(values, "box"))):
        calls = calls_of(other, "box")
        assert calls[:3] == (other.create, other.touch, other.update)
        assert (calls.info, calls.open) == (None, None)
    Audited.seen = []
    assert await use(SessionManager("box", stack(memory.factory(values), Audited))) == [True, True]
    assert Audited.seen == ["create", "touch", "update"]
    metrics = SessionMetrics()
    assert await use(SessionManager("box", memory.factory(values), metrics=metrics)) == [True, True]
    assert [sum(metrics.stats()[name].values()) for name in ("create", "touch", "update")] == [1, 1, 1]


class Renaming:
    """Opens each sandbox under another name, as a factory for several deployments may."""

    def __init__(self) -> None:
        self._inner = memory.factory(memory.MemoryStore())

    def session_store(self, sandbox_id: str) -> MemorySessionStore:
        return self._inner.session_store(f"prod-{sandbox_id}")


async def test_an_info_dict_has_the_sandbox_of_the_manager() -> None:
    """Under each id of the session, by whichever call."""
    manager = SessionManager("box", Renaming())
    session_id = await manager.allocate_session(user_id="alice")
    new = await manager.renew_session(session_id, 60)
    assert new is not None
    for name in (session_id, new):
        metadata = await manager.get_session_metadata(name)
        assert metadata is not None
        infos = [await manager.get_session_info(name), await manager.open_session(name)]
        assert [metadata.sandbox_id, *[info and info["sandbox_id"] for info in infos]] == ["box"] * 3


class Forgetful(StoreWrapper):
    """Its methods do what they are asked, and return nothing, or no awaitable."""

    def create(self, *args: Any, **options: Any) -> Any:
        super().create(*args, **options).close()

    def touch(self, *args: Any) -> Any:
        super().touch(*args).close()
        return True


async def test_what_a_store_returns_by_mistake_is_no_success() -> None:
    """A wrapper without ``return`` has created nothing that anybody could tell."""
    manager = SessionManager("box", stack(memory.factory(memory.MemoryStore()), Forgetful))
    with pytest.raises(TypeError):
        await manager.allocate_session()
    with pytest.raises(TypeError):
        await manager.validate_session("id")


async def test_a_new_store_has_its_own_calls() -> None:
    """A manager whose sandbox or factory is set calls the store that it has then."""
    one, other = memory.factory(memory.MemoryStore()), memory.factory(memory.MemoryStore())
    manager = SessionManager("box", one)
    session_id = await manager.allocate_session()
    manager.session_factory = other
    assert not await manager.validate_session(session_id)
    assert not await manager.update_session_metadata(session_id, {})
    manager.session_factory = one
    assert await manager.validate_session(session_id)
    manager.sandbox_id = "another"
    assert not await manager.validate_session(session_id)
