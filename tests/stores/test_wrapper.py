"""Wrappers forward what they leave alone; a store may lack what it cannot do; a factory's stores can be wrapped."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest

from chuk_sessions import NotSupportedError, SessionManager
from chuk_sessions.providers import memory
from chuk_sessions.stores import (
    Existing,
    InProcess,
    Openable,
    Renewable,
    SessionRecord,
    SessionStore,
    StoreWrapper,
    UserIndexed,
    Walkable,
    can,
    complete,
    open_store,
    stack,
)
from tests.support import custom_provider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from chuk_sessions.codec import Metadata

RECORD = SessionRecord("alice", 1.0, 2.0, 1.0, {})
# Every operation, with arguments that must arrive and an answer that must come back.
CALLS: dict[str, tuple[tuple[Any, ...], dict[str, Any], object]] = {
    "create": (("id", "alice", 60.0, {"a": 1}), {"limit": 3, "idle": 1.5}, Existing("alice")),
    "read": (("id",), {}, RECORD),
    "touch": (("id", 0.5), {}, True),
    "open": (("id", 0.5, "alice"), {}, RECORD),
    "update": (("id", {"a": 2}, True), {"remove": ("b",)}, True),
    "increment": (("id", "n", -2), {}, 40),
    "extend": (("id", 60.0), {"from_now": True}, True),
    "delete": (("id",), {}, True),
    "aclose": ((), {}, None),
    "renew": (("id", "new", 30.0), {}, "new"),
    "list_user": (("alice",), {}, [("id", RECORD)]),
    "delete_user": (("alice", frozenset(["id"])), {}, 7),
    "count": ((), {}, 8),
    "sweep": ((), {}, 9),
}


class Recording:
    """A store with every capability that notes what it is asked, and answers as CALLS says."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    async def pages(self, batch: int) -> AsyncIterator[list[tuple[str, SessionRecord]]]:
        yield [(f"id-{batch}", RECORD)]

    def cached(self) -> int:
        return 10

    def capacity(self) -> int:
        return 11


def _recorded(name: str) -> Any:
    async def answer(self: Recording, *args: Any, **options: Any) -> object:
        self.asked.append((name, args, options))
        return CALLS[name][2]

    return answer


for _name in CALLS:
    setattr(Recording, _name, _recorded(_name))  # in the class: since Python 3.12 a protocol looks only there


class Minimal:
    """The operations that every store must have, and no option of `create`: the author knew of none."""

    def __init__(self, sandbox_id: str = "box") -> None:
        self._store = memory.factory(memory.MemoryStore()).session_store(sandbox_id)
        self.closed = 0

    async def create(
        self, session_id: str, user_id: str | None, lifetime: float, metadata: Metadata
    ) -> Existing | None:
        return await self._store.create(session_id, user_id, lifetime, metadata)

    async def read(self, session_id: str) -> SessionRecord | None:
        return await self._store.read(session_id)

    async def touch(self, session_id: str, interval: float) -> bool:
        return await self._store.touch(session_id, interval)

    async def update(self, session_id: str, metadata: Metadata, replace: bool) -> bool:
        return await self._store.update(session_id, metadata, replace)

    async def increment(self, session_id: str, field: str, amount: int) -> int | None:
        return await self._store.increment(session_id, field, amount)

    async def extend(self, session_id: str, lifetime: float) -> bool:
        return await self._store.extend(session_id, lifetime)

    async def delete(self, session_id: str) -> bool:
        return await self._store.delete(session_id)

    async def aclose(self) -> None:
        self.closed += 1


class MinimalFactory:
    """Opens stores, and nothing else: it cannot be called."""

    def __init__(self) -> None:
        self.opened: list[Minimal] = []

    def session_store(self, sandbox_id: str) -> SessionStore:
        self.opened.append(Minimal(sandbox_id))
        return self.opened[-1]  # type: ignore[return-value]  # it takes no options, which a manager without any allows


@pytest.mark.parametrize("name", CALLS)
async def test_a_wrapper_forwards_every_operation(name: str) -> None:
    """Arguments and answer unchanged."""
    store: Any = Recording()
    args, options, answer = CALLS[name]
    assert await getattr(StoreWrapper(store), name)(*args, **options) == answer
    assert store.asked == [(name, args, options)]


async def test_a_wrapper_forwards_pages_and_figures() -> None:
    store: Any = Recording()
    wrapper = StoreWrapper(StoreWrapper(store))
    assert [page async for page in wrapper.pages(5)] == [[("id-5", RECORD)]]
    assert (wrapper.cached(), wrapper.capacity()) == (10, 11)


async def test_options_that_a_store_does_not_know() -> None:
    """The calls that need one are refused before anything happens; all others work."""
    manager = SessionManager("box", MinimalFactory(), strict=True)
    session_id = await manager.allocate_session(custom_metadata={"a": 1})
    assert await manager.update_session_metadata(session_id, {"b": 2}, remove=()) is True
    assert await manager.update_session_metadata(session_id, {"b": 2}, merge=False, remove=["c"]) is True
    assert await manager.extend_session_ttl(session_id, 1) is True
    before = await manager.get_session_info(session_id)
    with pytest.raises(TypeError, match="remove"):
        await manager.update_session_metadata(session_id, {"c": 3}, remove=["b"])
    with pytest.raises(TypeError, match="from_now"):
        await manager.set_session_ttl(session_id, 1)
    assert await manager.get_session_info(session_id) == before


def test_every_method_of_the_contract_is_forwarded() -> None:
    """A new operation must not be forgotten here."""
    protocols = (SessionStore, Openable, UserIndexed, Renewable, Walkable, InProcess)
    names = {name for protocol in protocols for name in vars(protocol) if not name.startswith("_")}
    assert names == {*CALLS, "pages", "cached", "capacity"}
    assert names <= set(vars(StoreWrapper))


def test_a_complete_store_is_left_as_it_is() -> None:
    """No call more on any path of memory or Redis."""
    store = memory.factory(memory.MemoryStore()).session_store("box")
    assert complete(store) is store


async def test_a_store_that_cannot_do_everything() -> None:
    """Sessions work; what needs a capability says so; figures of this process are 0."""
    factory = MinimalFactory()
    manager = SessionManager("box", factory)
    session_id = await manager.allocate_session(user_id="alice", custom_metadata={"n": 1})
    assert await manager.validate_session(session_id)
    assert await manager.increment_session_metadata(session_id, "n") == 2
    assert await manager.cleanup_expired_sessions() == 0
    assert manager.get_cache_stats()["cached_sessions"] == manager.get_cache_stats()["max_cache_size"] == 0
    for call in (
        manager.renew_session(session_id),
        manager.list_user_sessions("alice"),
        manager.delete_user_sessions("alice"),
        manager.count_sessions(),
        anext(manager.iter_sessions()),
        SessionManager("box", factory, max_sessions_per_user=1).allocate_session(user_id="alice"),
    ):
        with pytest.raises(NotSupportedError, match="not supported by this provider"):
            await call
    assert await manager.delete_session(session_id)


async def test_a_limit_is_of_users_only() -> None:
    """A store that does not know the sessions of a user is not asked for one, and nobody's sessions are not counted."""
    manager = SessionManager("box", MinimalFactory(), max_sessions_per_user=1)
    for _ in range(2):
        assert await manager.validate_session(await manager.allocate_session())


async def test_a_factory_behind_a_proxy() -> None:
    """Its sessions are those of the factory within, and not others over its values."""

    class Proxy:
        def __init__(self, factory: Any) -> None:
            self._factory = factory

        def __call__(self) -> Any:
            return self._factory()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._factory, name)

    factory = memory.factory(memory.MemoryStore())
    session_id = await SessionManager("box", factory).allocate_session()
    assert await SessionManager("box", Proxy(factory)).count_sessions() == 1
    assert await SessionManager("box", Proxy(factory)).validate_session(session_id)


async def test_a_store_behind_a_proxy_keeps_its_capabilities() -> None:
    """On every Python; and a mock has none that it was not given."""

    class Proxy:
        def __init__(self, within: Any) -> None:
            self._within = within

        def __getattr__(self, name: str) -> Any:
            return getattr(self._within, name)

    class Factory:
        def session_store(self, sandbox_id: str) -> Any:
            return Proxy(memory.factory(memory.MemoryStore()).session_store(sandbox_id))

    manager = SessionManager("box", Factory(), max_sessions_per_user=2)
    ids = [await manager.allocate_session(user_id="alice") for _ in range(3)]
    assert [info["session_id"] for info in await manager.list_user_sessions("alice")] == ids[1:]
    assert await manager.renew_session(ids[1]) is not None
    assert manager.get_cache_stats()["cached_sessions"] == 2
    for capability in (Openable, UserIndexed, Renewable, Walkable, InProcess):
        assert not can(Mock(), capability)


async def test_closing_a_manager_closes_its_own_store() -> None:
    """Each manager that a factory gave a store closes that one, as often as it is closed itself."""
    factory = MinimalFactory()
    async with SessionManager("one", factory):
        other = SessionManager("two", factory)
    assert [store.closed for store in factory.opened] == [1, 0]
    await other.aclose()
    assert [store.closed for store in factory.opened] == [1, 1]


async def test_the_last_wrapper_sees_a_call_first() -> None:
    """And the store that a factory opens is wrapped anew for each manager."""
    seen: list[str] = []

    def named(name: str) -> Any:
        class Named(StoreWrapper):
            async def touch(self, session_id: str, interval: float) -> bool:
                seen.append(name)
                return await super().touch(session_id, interval)

        return Named

    factory = stack(memory.factory(memory.MemoryStore()), named("inner"), named("outer"))
    manager = SessionManager("box", factory)
    assert await manager.validate_session(await manager.allocate_session())
    assert seen == ["outer", "inner"]
    assert factory.session_store("box") is not factory.session_store("box")
    assert manager.get_cache_stats() | {"sandbox_id": "", "default_ttl_hours": 0} == {
        "cached_sessions": 1,
        "max_cache_size": sys.maxsize,
        "sandbox_id": "",
        "default_ttl_hours": 0,
    }


async def test_a_wrapper_over_a_custom_provider() -> None:
    """Wrappers need no store of their own kind below."""
    manager = SessionManager("box", stack(custom_provider.factory(), StoreWrapper))
    session_id = await manager.allocate_session()
    assert await manager.validate_session(session_id)
    with pytest.raises(NotSupportedError):
        await manager.count_sessions()


async def test_values_are_not_wrapped() -> None:
    """Calling the stacked factory opens the provider within, and its other attributes can be reached."""
    store = memory.MemoryStore()
    factory = stack(memory.factory(store), StoreWrapper)
    async with factory() as values:
        assert values is store.values
    assert factory._store is store
    with pytest.raises(AttributeError):
        _ = factory.nothing_of_that_name
    with pytest.raises(TypeError, match="MinimalFactory opens session stores only"):
        stack(MinimalFactory(), StoreWrapper)()


@pytest.mark.parametrize("factory", [None, 5, "redis", memory.MemoryStore()])
def test_what_is_no_factory(factory: Any) -> None:
    with pytest.raises(TypeError, match="must be a provider factory"):
        stack(factory, StoreWrapper)
    with pytest.raises(TypeError, match="must be a provider factory"):
        open_store(factory, "box")


def test_a_wrapper_tells_what_it_wraps() -> None:
    assert repr(StoreWrapper(StoreWrapper(5))) == "StoreWrapper(StoreWrapper(5))"  # type: ignore[arg-type]


class NewestFirst(StoreWrapper):
    """Lists in another order, and only so."""

    async def list_user(self, user_id: str) -> list[tuple[str, SessionRecord]]:
        return (await self.store.list_user(user_id))[::-1]  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("batch", [2, 100])
async def test_the_sessions_of_a_user_by_pages_are_those_that_the_wrapper_lists(batch: int) -> None:
    """Where it has a list of its own; else the store's pages."""
    for wrapper, reverse in ((StoreWrapper, False), (NewestFirst, True)):
        manager = SessionManager("box", stack(memory.factory(store=memory.MemoryStore()), wrapper))
        made = [await manager.allocate_session(user_id="alice") for _ in range(5)]
        found = [info["session_id"] async for info in manager.iter_user_sessions("alice", batch)]
        assert found == (made[::-1] if reverse else made)
