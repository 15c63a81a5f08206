"""The public interface as a type checker sees it. Never run: `mypy` checks this file as part of the project."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, assert_type

import pytest
import pytest_asyncio
from pydantic import RedisDsn

import chuk_sessions
from chuk_sessions import (
    NotSent,
    OutcomeUnknown,
    Provider,
    ProviderError,
    ProviderType,
    ServerError,
    SessionError,
    SessionManager,
    SessionMetadata,
    SessionStatus,
    UnknownProvider,
    factory_for_env,
    get_session,
)
from chuk_sessions.encryption import Keyring
from chuk_sessions.instrumentation import SessionEvent, SessionEvents, SessionMetrics
from chuk_sessions.providers import memory, redis
from chuk_sessions.stores import (
    CompleteStore,
    SessionStore,
    SessionStoreFactory,
    StoreWrapper,
    complete,
    open_store,
    stack,
)
from chuk_sessions.testing import Clock, StoreContract
from examples.sqlite_store import SQLiteFactory
from tests.support.custom_provider import CustomSession
from tests.support.custom_provider import factory as custom_factory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from chuk_sessions.providers.memory.expiring_map import ExpiringMap
    from chuk_sessions.providers.redis import RedisSession


def on_event(event: SessionEvent) -> None:
    assert_type(event.session_ref, str)


async def manager_types() -> None:
    manager = SessionManager()
    SessionManager(
        "box", custom_factory(), 1.5, strict=True, touch_interval=60, max_sessions_per_user=3, idle_ttl_minutes=30
    )
    SessionManager("box", opaque_ids=True)
    SessionManager("box", metrics=SessionMetrics(by_sandbox=True), on_event=SessionEvents(on_event))
    SessionManager("box", redis.factory(timings=True), on_event=on_event)
    assert_type(redis.factory().server_stats(), dict[str, redis.ServerStats])
    assert_type(memory.factory().stats(), dict[str, int])
    SessionManager(sandbox_id=None, session_factory=None, default_ttl_hours=24)
    SessionManager(session_factory=memory.factory())
    SessionManager(session_factory=redis.factory("redis://localhost"))
    SessionManager(session_factory=redis.factory(RedisDsn("redis://localhost")))
    SessionManager(session_factory=factory_for_env())
    assert_type(await manager.allocate_session(), str)
    assert_type(await manager.allocate_session("id", "alice", 0.5, {"a": [1, None]}), str)
    assert_type(await manager.allocate_session(user_id=None, ttl_hours=None, custom_metadata=None), str)
    assert_type(await manager.validate_session("id"), bool)
    assert_type(await manager.get_session_info("id"), dict[str, Any] | None)
    assert_type(await manager.open_session("id", owner="alice"), dict[str, Any] | None)
    assert_type(await manager.get_session_metadata("id"), SessionMetadata | None)
    assert_type(await manager.update_session_metadata("id", {"a": 1}, merge=False), bool)
    assert_type(await manager.update_session_metadata("id", {}, remove=["a", "b"]), bool)
    assert_type(await manager.increment_session_metadata("id", "field", amount=-1), int | None)
    assert_type(await manager.extend_session_ttl("id", additional_hours=0.5), bool)
    assert_type(await manager.set_session_ttl("id", ttl_hours=0.5), bool)
    assert_type(await manager.delete_session("id"), bool)
    assert_type(await manager.renew_session("id", grace_seconds=0.5), str | None)
    assert_type(await manager.renew_session("id", user_id="alice", custom_metadata={"a": 1}), str | None)
    async for info in manager.iter_sessions(batch=10):
        assert_type(info, dict[str, Any])
    assert_type(await manager.count_sessions(), int)
    assert_type(await manager.allocate_sessions([{"user_id": "alice"}]), list[str | Exception])
    assert_type(await manager.validate_sessions(["id"]), list[bool | Exception])
    assert_type(await manager.delete_sessions({"id"}), list[bool | Exception])
    async with SessionManager() as opened:
        assert_type(opened, SessionManager)
    assert_type(await manager.list_user_sessions("alice"), list[dict[str, Any]])
    assert_type(await manager.delete_user_sessions("alice", keep=["id"]), int)
    assert_type(await manager.cleanup_expired_sessions(), int)
    assert_type(manager.get_cache_stats(), dict[str, Any])
    assert_type(manager.sandbox_id, str)
    assert_type(manager.default_ttl_hours, float)
    assert_type(manager.strict, bool)


class StoreOnlyFactory:
    """Opens stores and no provider."""

    def session_store(self, sandbox_id: str) -> SessionStore:
        return memory.factory().session_store(sandbox_id)


class Incomplete:
    """Lacks all operations but one."""

    async def read(self, session_id: str) -> None:
        return None


class FactoryOfNothing:
    """Opens what is no store."""

    def session_store(self, sandbox_id: str) -> Incomplete:
        return Incomplete()


class Audited(StoreWrapper):
    """A wrapper overrides what it cares about, as a coroutine."""

    async def delete(self, session_id: str) -> bool:
        return await super().delete(session_id)


class TestTheContractOfAStore(StoreContract):
    """An author gives what needs no await by a fixture of pytest, and what does by one of pytest-asyncio."""

    clock_skew = 0.5

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest_asyncio.fixture
    async def storage(self, clock: Clock) -> AsyncIterator[memory.MemoryStore]:
        yield memory.MemoryStore(clock=clock, wall_clock=clock)

    @pytest.fixture
    def open_store(self, storage: memory.MemoryStore) -> Callable[[str], SessionStore]:
        return memory.factory(storage).session_store

    @pytest.fixture
    def make_unreadable(self) -> Callable[[str, str], Awaitable[None]]:
        async def spoil(sandbox_id: str, session_id: str) -> None:
            del sandbox_id, session_id

        return spoil


def store_types() -> None:
    SessionManager(session_factory=StoreOnlyFactory())
    SessionManager(session_factory=stack(redis.factory(), Audited, lambda store: Audited(store)))
    stores: list[CompleteStore] = [
        memory.factory().session_store("box"),
        redis.factory().session_store("box"),
        Audited(StoreOnlyFactory().session_store("box")),
        complete(SQLiteFactory("sessions.db").session_store("box")),
    ]
    assert_type(open_store(StoreOnlyFactory(), "box"), CompleteStore)
    factories: list[SessionStoreFactory] = [memory.factory(), redis.factory(), StoreOnlyFactory(), SQLiteFactory("a")]
    SessionManager(session_factory=SQLiteFactory("sessions.db", Clock()))
    del stores, factories


def grid_types(manager: SessionManager) -> None:
    assert_type(manager.get_canonical_prefix("id"), str)
    assert_type(manager.generate_artifact_key("id", "a/b"), str)
    assert_type(manager.parse_grid_key("grid/a/b/c"), dict[str, str] | None)
    assert_type(manager.get_session_prefix_pattern(), str)


async def provider_types() -> None:
    assert_type(factory_for_env()(), AbstractAsyncContextManager[Any])
    assert_type(get_session(), AbstractAsyncContextManager[Any])
    assert_type(chuk_sessions.session(), AbstractAsyncContextManager[Any])
    async with memory.factory(memory.MemoryStore(max_items=5, default_ttl=1.5))() as values:
        assert_type(values, "ExpiringMap")
        assert_type(await values.delete("key"), bool)
    async with redis.factory()() as session:
        assert_type(session, "RedisSession")
        assert_type(await session.get("key"), str | None)
        assert_type(await session.delete(b"key"), bool)
        await session.setex("key", 0.5, b"value")
        await session.set("key", "value")
        await session.setex("key", 60, 5)  # type: ignore[arg-type]


def any_of_these_is_a_provider(session: RedisSession, values: ExpiringMap, custom: CustomSession) -> list[Provider]:
    return [session, values, custom]


def encryption_types() -> None:
    keys = Keyring({"k1": Keyring.generate()}, write="k1", plain_fields=["visits"])
    assert_type(redis.factory("redis://host", encryption=keys), redis.RedisFactory)
    assert_type(keys.write, str | None)


def lazy_modules() -> None:
    assert_type(chuk_sessions.memory.factory(), memory.MemoryFactory)
    assert_type(chuk_sessions.redis.factory(), redis.RedisFactory)


async def credentials_of_every_kind() -> None:
    async def token() -> redis.Login:
        return redis.Login("app", "token", renew_in=3000)

    for credentials in (
        lambda: "password",
        lambda: ("app", "password"),
        lambda: (None, "password"),
        lambda: redis.Login(None, "token"),
        token,
    ):
        redis.factory("redis://localhost", credentials)
    redis.factory("redis://localhost", lambda: 5)  # type: ignore[arg-type, return-value]


def session_metadata_types(session: SessionMetadata) -> None:
    assert_type(session.user_id, str | None)
    assert_type(session.is_expired(), bool)
    assert_type(session.to_dict(), dict[str, Any])
    assert_type(session.model_dump(exclude_none=True), dict[str, Any])
    assert_type(session.model_dump_json(indent=2, include={"user_id"}), str)
    assert_type(session.model_copy(update={"user_id": None}, deep=True), SessionMetadata)
    assert_type(dict(session), dict[str, Any])
    assert_type(SessionMetadata.model_validate({}), SessionMetadata)
    assert_type(SessionMetadata.model_validate_json("{}"), SessionMetadata)
    SessionMetadata("id", "box", status=SessionStatus.ACTIVE, custom_metadata={"kept in": ProviderType.REDIS})
    assert_type(SessionMetadata.from_dict({}), SessionMetadata)


def error_types() -> list[type[ProviderError]]:
    try:
        return [NotSent, OutcomeUnknown, ServerError, UnknownProvider]
    except SessionError:
        raise ImportError from UnknownProvider("also an ImportError")


def what_the_server_said(error: ServerError) -> bool:
    assert_type(error.code, str)
    return ServerError("a text").code == "" or ServerError("a text", code="ERR").code == error.code


async def mistakes_are_found(manager: SessionManager) -> None:
    await manager.allocate_session(custom_metadata=["a"])  # type: ignore[arg-type]
    await manager.extend_session_ttl("id", "1")  # type: ignore[arg-type]
    await manager.validate_session(None)  # type: ignore[arg-type]
    SessionManager("box", None, 24, True)  # type: ignore[call-arg]
    SessionManager("box", FactoryOfNothing())  # type: ignore[arg-type]
