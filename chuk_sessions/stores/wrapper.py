"""Stores around stores: the base class of every wrapper between the manager and a store.

A wrapper sees each operation before the store does. It overrides the methods that it changes; all others are forwarded.
``stack`` puts wrappers around the stores that a factory opens, so that a manager needs nothing but its
``session_factory``:

    SessionManager(session_factory=stack(redis.factory(url), Audited))
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from chuk_sessions.batches import batch, slices
from chuk_sessions.codec import Metadata
from chuk_sessions.ids import new_session_id
from chuk_sessions.models import SessionRecord
from chuk_sessions.provider import Factory
from chuk_sessions.stores.contract import (
    CompleteStore,
    DeletingMany,
    Existing,
    InProcess,
    Openable,
    Renewable,
    SessionStore,
    SessionStoreFactory,
    UserIndexed,
    UserPaged,
    Walkable,
    can,
    not_supported,
    opens_stores,
)
from chuk_sessions.stores.keyvalue import KeyValueStore

if TYPE_CHECKING:
    from chuk_sessions.stores.near import HasInfo, Reads

__all__ = [
    "DONE",
    "Calls",
    "Done",
    "StackedFactory",
    "StoreWrapper",
    "calls_of",
    "complete",
    "innermost",
    "open_store",
    "reads_of",
    "stack",
]


class StoreWrapper:
    """Forwards every operation to ``store``.

    An operation that the store lacks raises NotSupportedError. The figures of a store that is not in this process are
    0. A method that only forwards returns the store's own awaitable, so that it costs one call.
    """

    def __init__(self, store: SessionStore) -> None:
        self.store = store
        self._openable = store if can(store, Openable) else None
        self._users = store if can(store, UserIndexed) else None
        self._renewable = store if can(store, Renewable) else None
        self._walkable = store if can(store, Walkable) else None
        self._in_process = store if can(store, InProcess) else None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.store!r})"

    def create(
        self, session_id: str, user_id: str | None, lifetime: float, metadata: Metadata, **options: Any
    ) -> Coroutine[Any, Any, Existing | None]:
        """See ``SessionStore``; refuses a ``limit`` if the store does not know the sessions of a user."""
        if self._users is None and options.pop("limit", 0) and user_id is not None:
            raise not_supported("max_sessions_per_user")
        return self.store.create(session_id, user_id, lifetime, metadata, **options)

    def read(self, session_id: str) -> Coroutine[Any, Any, SessionRecord | None]:
        """See ``SessionStore``."""
        return self.store.read(session_id)

    def touch(self, session_id: str, interval: float) -> Coroutine[Any, Any, bool]:
        """See ``SessionStore``."""
        return self.store.touch(session_id, interval)

    def open(self, session_id: str, interval: float, owner: str | None) -> Coroutine[Any, Any, SessionRecord | None]:
        """See ``Openable``; calls ``read`` and ``touch`` of the wrapper if it overrides one of them."""
        as_it_is = type(self).read is StoreWrapper.read and type(self).touch is StoreWrapper.touch
        if as_it_is and self._openable is not None:
            return self._openable.open(session_id, interval, owner)
        return self._open_in_steps(session_id, interval, owner)

    async def _open_in_steps(self, session_id: str, interval: float, owner: str | None) -> SessionRecord | None:
        record = await self.read(session_id)
        if record is None or owner not in (None, record.user_id) or not await self.touch(session_id, interval):
            return None
        record = await self.read(session_id)
        return None if record is None or owner not in (None, record.user_id) else record

    def update(self, session_id: str, metadata: Metadata, replace: bool, **options: Any) -> Coroutine[Any, Any, bool]:
        """See ``SessionStore``."""
        return self.store.update(session_id, metadata, replace, **options)

    def increment(self, session_id: str, field: str, amount: int) -> Coroutine[Any, Any, int | None]:
        """See ``SessionStore``."""
        return self.store.increment(session_id, field, amount)

    def extend(self, session_id: str, lifetime: float, **options: Any) -> Coroutine[Any, Any, bool]:
        """See ``SessionStore``."""
        return self.store.extend(session_id, lifetime, **options)

    def delete(self, session_id: str) -> Coroutine[Any, Any, bool]:
        """See ``SessionStore``."""
        return self.store.delete(session_id)

    def delete_all(self, session_ids: Sequence[str]) -> Coroutine[Any, Any, list[bool | Exception]]:
        """See ``DeletingMany``; calls ``delete`` of the wrapper for each id if the wrapper overrides it."""
        if type(self).delete is StoreWrapper.delete and can(self.store, DeletingMany):
            return self.store.delete_all(session_ids)
        return batch([self.delete(session_id) for session_id in session_ids])

    def aclose(self) -> Coroutine[Any, Any, None]:
        """Close the store; see ``SessionStore``."""
        return self.store.aclose()

    def list_user(self, user_id: str) -> Coroutine[Any, Any, list[tuple[str, SessionRecord]]]:
        """See ``UserIndexed``."""
        if self._users is None:
            raise not_supported("listing the sessions of a user")
        return self._users.list_user(user_id)

    async def user_pages(self, user_id: str, batch: int) -> AsyncIterator[list[tuple[str, SessionRecord]]]:
        """See ``UserPaged``; calls ``list_user`` of the wrapper if it overrides that."""
        if type(self).list_user is StoreWrapper.list_user and can(self.store, UserPaged):
            async for page in self.store.user_pages(user_id, batch):
                yield page
        else:
            for some in slices(await self.list_user(user_id), batch):
                yield list(some)

    def delete_user(self, user_id: str, keep: frozenset[str]) -> Coroutine[Any, Any, int]:
        """See ``UserIndexed``."""
        if self._users is None:
            raise not_supported("ending the sessions of a user")
        return self._users.delete_user(user_id, keep)

    def renew(self, session_id: str, new_id: str, grace: float, **options: Any) -> Coroutine[Any, Any, str | None]:
        """See ``Renewable``; refuses a ``limit`` if the store does not know the sessions of a user."""
        if self._renewable is None:
            raise not_supported("renewing a session")
        if self._users is None and options.pop("limit", 0):
            raise not_supported("max_sessions_per_user")
        return self._renewable.renew(session_id, new_id, grace, **options)

    def pages(self, batch: int) -> AsyncIterator[list[tuple[str, SessionRecord]]]:
        """See ``Walkable``."""
        if self._walkable is None:
            raise not_supported("listing all sessions")
        return self._walkable.pages(batch)

    def count(self) -> Coroutine[Any, Any, int]:
        """See ``Walkable``."""
        if self._walkable is None:
            raise not_supported("counting sessions")
        return self._walkable.count()

    async def sweep(self) -> int:
        """See ``InProcess``; 0 if the store is elsewhere."""
        return 0 if self._in_process is None else await self._in_process.sweep()

    def cached(self) -> int:
        """See ``InProcess``; 0 if the store is elsewhere."""
        return 0 if self._in_process is None else self._in_process.cached()

    def capacity(self) -> int:
        """See ``InProcess``; 0 if the store is elsewhere."""
        return 0 if self._in_process is None else self._in_process.capacity()


def complete(store: SessionStore) -> CompleteStore:
    """Return the store if it has all capabilities, else a wrapper that refuses the operations which the store lacks."""
    if all(can(store, capability) for capability in (Openable, UserIndexed, Renewable, Walkable)):
        return cast(CompleteStore, store)
    return StoreWrapper(store)


def innermost(store: object) -> object:
    """Return the store within all wrappers."""
    while isinstance(store, StoreWrapper):
        store = store.store
    return store


def open_store(factory: Factory | SessionStoreFactory, sandbox_id: str) -> CompleteStore:
    """Open the sessions of a sandbox: the store that the factory opens, else a store over the factory's provider.

    Raises TypeError if ``factory`` is neither kind of factory. Errors of the factory pass through.
    """
    if opens_stores(factory):
        return complete(factory.session_store(sandbox_id))
    if not callable(factory):
        raise TypeError(f"session_factory must be a provider factory, got {type(factory).__name__}")
    return complete(KeyValueStore(factory, sandbox_id))


def reads_of(store: CompleteStore) -> Reads:
    """Return what reads for info dicts more quickly than the store itself does, else the store.

    A wrapper that passes unknown attributes on has none: it would be left out.
    """
    make: Any = getattr(type(store), "for_infos", None)
    return store if make is None else make(store)


class Done(Enum):
    """What a call may return instead of an awaitable; a value that no store returns by mistake."""

    DONE = auto()


DONE: Final = Done.DONE


class Calls(NamedTuple):
    """What the manager calls most, bound to their store. The arguments are those of ``SessionStore``.

    A call returns an awaitable of its result; or DONE: the new session is created, the live one touched or updated.
    ``info`` and ``open`` return the info dict itself, or an awaitable of what has it, as ``Reads`` does. They are None
    if the store has nothing quicker than its ``Reads``.
    """

    create: Callable[..., Awaitable[Existing | None] | Done]
    touch: Callable[[str, float], Awaitable[bool] | Done]
    update: Callable[[str, Metadata, bool], Awaitable[bool] | Done]  # without options
    new_id: Callable[[str, str | None, float], str] = new_session_id  # for a session of a sandbox, a user and a time
    info: Callable[[str], Awaitable[HasInfo | None] | dict[str, Any]] | None = None
    open: Callable[[str, float, str | None], Awaitable[HasInfo | None] | dict[str, Any]] | None = None


def calls_of(store: CompleteStore, sandbox_id: str) -> Calls:
    """Return what does the usual cases more quickly than the store itself does, else the methods of the store.

    Info dicts have the sandbox that the caller names: a factory may open it under another name.

    A wrapper that passes unknown attributes on has none: it would be left out.
    """
    make: Any = getattr(type(store), "for_manager", None)
    return Calls(store.create, store.touch, store.update) if make is None else make(store, sandbox_id)


class StackedFactory:
    """A factory whose stores are wrapped; all else, such as its provider API, comes from the inner factory."""

    def __init__(
        self,
        factory: Factory | SessionStoreFactory,
        wrappers: tuple[Callable[[CompleteStore], SessionStore], ...],
    ) -> None:
        self._factory = factory
        self._wrappers = wrappers

    def __call__(self) -> Any:
        """Open the provider API of the inner factory. Raises TypeError if that has none."""
        if not callable(self._factory):
            raise TypeError(f"{type(self._factory).__name__} opens session stores only, and no provider")
        return self._factory()

    def __getattr__(self, name: str) -> Any:
        """Return another attribute of the inner factory, such as ``stats``."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._factory, name)

    def session_store(self, sandbox_id: str) -> CompleteStore:
        """Open the sessions of one sandbox: the inner factory's store in all wrappers, the last one outermost."""
        return self._wrapped(open_store(self._factory, sandbox_id))

    def near_session_store(self, sandbox_id: str, bound: float) -> CompleteStore:
        """Open the sessions of one sandbox with a near cache, innermost: the wrappers see every call."""
        from chuk_sessions.stores.near import open_near_store

        return self._wrapped(open_near_store(self._factory, sandbox_id, bound))

    def _wrapped(self, store: CompleteStore) -> CompleteStore:
        for wrap in self._wrappers:
            store = complete(wrap(store))
        return store


def stack(factory: Factory | SessionStoreFactory, *wrappers: Callable[[CompleteStore], SessionStore]) -> StackedFactory:
    """Make a factory whose stores are wrapped, the last wrapper outermost: it sees each call first.

    Args:
        factory: A provider factory, or anything with ``session_store(sandbox_id)``.
        *wrappers: Subclasses of ``StoreWrapper``, or functions that return a store. Each is called with the store to
            wrap, once for each store that is opened.

    Returns:
        A factory for ``SessionManager(session_factory=...)``.

    Raises:
        TypeError: ``factory`` is neither kind of factory.
    """
    if not callable(factory) and not opens_stores(factory):
        raise TypeError(f"the factory to wrap must be a provider factory, got {type(factory).__name__}")
    return StackedFactory(factory, wrappers)
