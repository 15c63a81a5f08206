"""Ending the sessions of a user thoroughly: also those that the index has lost, and no others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from chuk_sessions import NotSupportedError, SessionManager
from chuk_sessions.providers import memory
from chuk_sessions.stores import CompleteStore, SessionRecord, StoreWrapper, stack
from tests.support import custom_provider
from tests.support.places import texts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from chuk_sessions.provider import Factory
    from tests.support.servers import Server

Pages = list[tuple[str, SessionRecord]]
Happens = Callable[[CompleteStore], Awaitable[object]]


def forget_all_users(request: pytest.FixtureRequest, factory: Any) -> None:
    """Drop the index, as a server does that evicts it."""
    kind = request.node.callspec.id
    servers: list[Server] = []
    if "cluster" in kind:
        servers += request.getfixturevalue("calm_cluster").nodes
    elif "sentinel" in kind:
        servers.append(request.getfixturevalue("calm_sentinels").servers[0])
    elif "redis" in kind:
        servers.append(request.getfixturevalue("redis_server"))
    else:
        store = factory.session_store("box")
        forget_in_memory(getattr(store, "store", store))
    for server in servers:
        for key in texts(server, "KEYS", "user:*"):
            server.command("DEL", key)


def forget_in_memory(store: Any) -> None:
    store._users.one.clear()
    store._users.many.clear()


@pytest.fixture
def indexed(request: pytest.FixtureRequest, store_factory: Factory) -> Factory:
    """Each implementation that knows which sessions a user has."""
    if "custom" in request.node.callspec.id:
        pytest.skip("a custom provider has no index of users")
    return store_factory


async def live(manager: SessionManager, *session_ids: str) -> list[bool | Exception]:
    return await manager.validate_sessions(session_ids)


@pytest.mark.parametrize("keep", [None, "kept", ["kept", "unknown"]], ids=str)
async def test_an_index_that_was_lost(
    indexed: Factory, request: pytest.FixtureRequest, keep: str | list[str] | None
) -> None:
    """Without it nothing is found; thoroughly all are, but what is kept and what is not theirs."""
    manager = SessionManager("box", indexed, strict=True)
    lost = [await manager.allocate_session(user_id="alice") for _ in range(3)]
    lost.append(await manager.allocate_session("chosen", "alice"))
    kept = await manager.allocate_session("kept", "alice")
    others = [await manager.allocate_session(user_id="bob"), await manager.allocate_session()]
    elsewhere = SessionManager("other", indexed)
    others_too = await elsewhere.allocate_session(user_id="alice")
    forget_all_users(request, indexed)
    assert await manager.delete_user_sessions("alice", keep) == 0
    assert await live(manager, *lost, kept) == [True] * 5
    assert await manager.delete_user_sessions("alice", keep, thorough=True) == (4 if keep else 5)
    assert await live(manager, *lost, kept, *others) == [False] * 4 + [keep is not None, True, True]
    assert await elsewhere.validate_session(others_too) is True
    assert await manager.delete_user_sessions("alice", keep, thorough=True) == 0


async def test_nothing_was_lost(indexed: Factory) -> None:
    """Then it does what it does without, and counts each once."""
    manager = SessionManager("box", indexed, strict=True)
    ids = [await manager.allocate_session(user_id="alice") for _ in range(3)]
    other = await manager.allocate_session(user_id="bob")
    assert await manager.delete_user_sessions("alice", ids[0], thorough=True) == 2
    assert await live(manager, *ids, other) == [True, False, False, True]
    assert await manager.delete_user_sessions("unknown", thorough=True) == 0


async def test_an_alias_is_kept(indexed: Factory, request: pytest.FixtureRequest) -> None:
    """The session that it stands for lives on, also if the index has lost that."""
    manager = SessionManager("box", indexed, strict=True)
    alias = await manager.allocate_session(user_id="alice")
    kept = await manager.renew_session(alias, 60)
    assert kept is not None
    lost = await manager.allocate_session(user_id="alice")
    forget_all_users(request, indexed)
    assert await manager.delete_user_sessions("alice", keep=alias, thorough=True) == 1
    assert await live(manager, kept, alias, lost) == [True, True, False]


class Meanwhile(StoreWrapper):
    """Something happens between the ends of the listed sessions and each page, or before a page is looked at."""

    def __init__(self, store: CompleteStore, before: Happens, after: Happens) -> None:
        super().__init__(store)
        self.all, self.before, self.after = store, before, after

    async def pages(self, batch: int) -> AsyncIterator[Pages]:
        await self.before(self.all)
        async for page in self.all.pages(batch):
            await self.after(self.all)
            yield page


async def nothing(store: CompleteStore) -> None:
    pass


def meanwhile(before: Happens = nothing, after: Happens = nothing) -> tuple[SessionManager, memory.MemoryStore]:
    store = memory.MemoryStore()
    factory = stack(memory.factory(store), lambda within: Meanwhile(within, before, after))
    return SessionManager("box", factory, strict=True), store


async def test_a_login_meanwhile() -> None:
    """Is newer than the call: it lives on."""

    async def log_in(store: CompleteStore) -> None:
        await store.create("new", "alice", 3600, {})

    manager, _ = meanwhile(before=log_in)
    old = await manager.allocate_session(user_id="alice")
    assert await manager.delete_user_sessions("alice", thorough=True) == 1
    assert await live(manager, old, "new") == [False, True]


@pytest.mark.parametrize("grace", [0, 60])
async def test_a_new_id_meanwhile(grace: float) -> None:
    """A login that has another id by the time it is looked at lives on all the same."""

    async def log_in(store: CompleteStore) -> None:
        await store.create("new", "alice", 3600, {})

    async def renew(store: CompleteStore) -> None:
        await store.renew("new", "newer", grace)

    manager, _ = meanwhile(before=log_in, after=renew)
    assert await manager.delete_user_sessions("alice", thorough=True) == 0
    assert await live(manager, "newer") == [True]


async def test_ended_meanwhile() -> None:
    """One that is gone when it is looked at is not counted."""
    lost: list[str] = []

    async def end(store: CompleteStore) -> None:
        await store.delete(lost[0])

    manager, store = meanwhile(after=end)
    lost += [await manager.allocate_session(user_id="alice") for _ in range(2)]
    forget_in_memory(memory.factory(store).session_store("box"))
    assert await manager.delete_user_sessions("alice", thorough=True) == 1
    assert await live(manager, *lost) == [False, False]


async def test_a_custom_provider_cannot() -> None:
    manager = SessionManager("box", custom_provider.factory())
    with pytest.raises(NotSupportedError, match="not supported by this provider"):
        await manager.delete_user_sessions("alice", thorough=True)
