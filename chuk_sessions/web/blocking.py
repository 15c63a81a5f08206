"""Blocking calls for synchronous programs: scripts, Celery tasks, Flask, Django.

    sessions = SyncSessionManager(SessionManager("shop", strict=True))
    session_id = sessions.allocate_session(user_id="alice")

The calls run in one event loop per process, which has a thread of its own; see ``loop_thread``. Calls of several
threads share its connections. A lone call of one command on a Redis server is made in the thread of the caller.
"""

from __future__ import annotations

import sys
from asyncio.events import _get_running_loop
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from importlib import import_module
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from chuk_sessions.arguments import not_found
from chuk_sessions.exceptions import ProviderError
from chuk_sessions.models import SessionRecord
from chuk_sessions.providers.memory.store import MemorySessionStore
from chuk_sessions.redis_client.config import TIMEOUT
from chuk_sessions.session_manager import NO_KEYS, SessionManager, SessionMetadata, _storage_error
from chuk_sessions.web.loop_thread import check_threads, run
from chuk_sessions.web.threads import has_greenlets

if TYPE_CHECKING:
    from chuk_sessions.redis_client.direct import Direct

__all__ = [
    "SyncSessionManager",
    "call_timeout",
    "check_threads",
    "open_at_once",
    "run",
    "run_commands",
    "run_for",
    "update_at_once",
]

T = TypeVar("T")

MARGIN = 1.0  # seconds, beside twice the time of a call
REDIS_STORES = "chuk_sessions.providers.redis.store"  # the module, which is imported if a store is on Redis


def call_timeout(manager: SessionManager) -> float:
    """Return how many seconds a blocking call waits by default: twice ``socket_timeout`` and a margin.

    A call on Redis ends within ``socket_timeout`` by itself. So this time is up only if the loop is held up, or a store
    of somebody's own does not answer.
    """
    try:
        timeout = getattr(manager.session_factory, "timeout", TIMEOUT)
    except ProviderError:  # the URL cannot be used, as the call itself will say
        timeout = TIMEOUT
    return 2 * (timeout if isinstance(timeout, int | float) else TIMEOUT) + MARGIN


def run_for(manager: SessionManager, call: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
    """Run a coroutine that awaits calls of that manager, and of nothing else, and wait for its result.

    On memory it runs in the thread of the caller, because no call on memory ever waits, and threads may share the
    store. On any other store, and for a manager with metrics or events, this is ``run``, by default with the time of
    ``call_timeout``.
    """
    if isinstance(manager._store, MemorySessionStore):
        return _drive(call)
    return run(call, call_timeout(manager) if timeout is None else timeout)


def run_commands(manager: SessionManager, call: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
    """Run a coroutine that awaits only these calls of that manager, which send one command after another.

    They are ``validate_session``, ``open_session``, ``get_session_info``, ``get_session_metadata``,
    ``update_session_metadata`` and ``increment_session_metadata``.

    On a lone Redis server without TLS they are made in the thread of the caller, if no other thread does so at the
    moment; see ``chuk_sessions.redis_client.direct``. Else this is ``run_for``; so it is for a subclass of the manager,
    whose methods may await anything.
    """
    direct = _direct_of(manager, manager._store, timeout)
    if direct is None:
        return run_for(manager, call, timeout)
    return direct.run(call, partial(_run_in_loop, manager, timeout))


def open_at_once(manager: SessionManager, session_id: str) -> SessionRecord | None:
    """Do what ``open_session`` of that manager does, by the rules of ``run_commands``, and return the record.

    In the usual case this takes no coroutine; see ``chuk_sessions.providers.redis.at_once``. Raises StorageError.
    """
    store = manager._store  # another thread may give the manager another one meanwhile
    direct = _direct_of(manager, store, None)
    if direct is None:
        return run_commands(manager, manager._open_record(session_id))
    run_in_loop = partial(_run_in_loop, manager, None)
    try:
        interval = manager._touch_interval
        found: Any = _at_once().open_at_once(store, direct, run_in_loop, session_id, interval)
        record: SessionRecord | None = direct.run(found, run_in_loop) if type(found) is CoroutineType else found
        return record
    except ProviderError as exc:
        raise _storage_error("open", session_id, exc) from exc


def update_at_once(
    manager: SessionManager, session_id: str, changed: dict[str, Any], removed: Sequence[str] = ()
) -> bool:
    """Do what ``update_session_metadata`` of that manager does, with its defaults; see ``open_at_once``."""
    store = manager._store
    direct = None if removed else _direct_of(manager, store, None)
    if direct is None:
        options: dict[str, Any] = {"remove": removed} if removed else {}
        return run_commands(manager, manager.update_session_metadata(session_id, changed, **options))
    run_in_loop = partial(_run_in_loop, manager, None)
    try:
        found: Any = _at_once().update_at_once(store, direct, run_in_loop, session_id, changed)
        done: bool = direct.run(found, run_in_loop) if type(found) is CoroutineType else found
    except ProviderError as exc:
        return manager._failed(exc, "update", session_id, False)
    return done or not_found(session_id)


def _direct_of(manager: SessionManager, store: Any, timeout: float | None) -> Direct | None:
    """Return what makes calls of that manager in this thread, a ``Direct``; None if they must be made in the loop.

    ``store`` is the manager's.
    """
    stores: Any = sys.modules.get(REDIS_STORES)
    if stores is None or type(store) is not stores.RedisSessionStore or has_greenlets():
        return None
    if type(manager) is not SessionManager or _get_running_loop() is not None:
        return None
    if timeout is not None and timeout < call_timeout(manager):
        return None
    try:
        found: Direct | None = _finder()(store._client)
        return found
    except ProviderError:  # the URL cannot be used, as the call itself will say
        return None


def _run_in_loop(manager: SessionManager, timeout: float | None, call: Coroutine[Any, Any, T]) -> T:
    return run(call, call_timeout(manager) if timeout is None else timeout)


@cache
def _finder() -> Any:
    """Return ``direct_of``, which is imported once a call may be made in the thread of the caller."""
    from chuk_sessions.redis_client.direct import direct_of

    return direct_of


@cache
def _at_once() -> Any:
    """Return the module, which is imported once a call may be made in the thread of the caller."""
    return import_module("chuk_sessions.providers.redis.at_once")


def _drive(call: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, here. When it lets other tasks run, there are none."""
    try:
        while True:
            call.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


class SyncSessionManager:
    """A ``SessionManager`` whose calls block, for threads without an event loop.

    Each call has the arguments, the result and the errors of the manager's call of that name. Beside these it raises
    StorageError, with OutcomeUnknown as its cause, if it takes longer than ``timeout``. It raises RuntimeError where no
    thread can run, and in the event loop of blocking calls itself, for instance in a function for credentials.
    Iterators read ``batch`` sessions at a time. ``with`` closes it at the end.

    One object may be used by all threads, before and after a fork.

    Args:
        manager: The manager. Asynchronous code of the same process may go on using it.
        timeout: Seconds that a call may take; None: see ``call_timeout``. Calls for many sessions have no limit of
            their own, since each of their steps has one.

    Raises:
        TypeError: ``manager`` is no ``SessionManager``.
        ValueError: ``timeout`` is not over 0.
        RuntimeError: No thread can run here; see ``check_threads``.
    """

    def __init__(self, manager: SessionManager, *, timeout: float | None = None) -> None:
        if not isinstance(manager, SessionManager):
            raise TypeError(f"manager must be a SessionManager, got {type(manager).__name__}")
        if timeout is not None and not timeout > 0:
            raise ValueError(f"timeout must be seconds over 0, or None, got {timeout!r}")
        check_threads()
        self._manager, self._timeout = manager, timeout

    def __repr__(self) -> str:
        return f"SyncSessionManager({self._manager!r})"

    @property
    def manager(self) -> SessionManager:
        """The manager that answers the calls; its attributes may be set."""
        return self._manager

    @property
    def sandbox_id(self) -> str:
        """The sandbox."""
        return self._manager.sandbox_id

    @property
    def session_factory(self) -> Any:
        """The provider factory."""
        return self._manager.session_factory

    @property
    def default_ttl_hours(self) -> float:
        """How many hours a session lives by default."""
        return self._manager.default_ttl_hours

    @property
    def strict(self) -> bool:
        """Whether every call raises StorageError when the storage fails."""
        return self._manager.strict

    def allocate_session(
        self,
        session_id: str | None = None,
        user_id: str | None = None,
        ttl_hours: float | None = None,
        custom_metadata: dict[str, Any] | None = None,
    ) -> str:
        """See ``SessionManager``."""
        return self._login(self._manager.allocate_session(session_id, user_id, ttl_hours, custom_metadata))

    def validate_session(self, session_id: str) -> bool:
        """See ``SessionManager``."""
        return self._commands(self._manager.validate_session(session_id))

    def open_session(self, session_id: str, *, owner: str | None = None) -> dict[str, Any] | None:
        """See ``SessionManager``."""
        return self._commands(self._manager.open_session(session_id, owner=owner))

    def get_session_info(self, session_id: str) -> dict[str, Any] | None:
        """See ``SessionManager``."""
        return self._commands(self._manager.get_session_info(session_id))

    def get_session_metadata(self, session_id: str) -> SessionMetadata | None:
        """See ``SessionManager``."""
        return self._commands(self._manager.get_session_metadata(session_id))

    def update_session_metadata(
        self, session_id: str, custom_metadata: dict[str, Any], merge: bool = True, remove: Iterable[str] = NO_KEYS
    ) -> bool:
        """See ``SessionManager``."""
        return self._commands(self._manager.update_session_metadata(session_id, custom_metadata, merge, remove))

    def increment_session_metadata(self, session_id: str, field: str, amount: int = 1) -> int | None:
        """See ``SessionManager``."""
        return self._commands(self._manager.increment_session_metadata(session_id, field, amount))

    def extend_session_ttl(self, session_id: str, additional_hours: float) -> bool:
        """See ``SessionManager``."""
        return self._one(self._manager.extend_session_ttl(session_id, additional_hours))

    def set_session_ttl(self, session_id: str, ttl_hours: float) -> bool:
        """See ``SessionManager``."""
        return self._one(self._manager.set_session_ttl(session_id, ttl_hours))

    def delete_session(self, session_id: str) -> bool:
        """See ``SessionManager``."""
        return self._one(self._manager.delete_session(session_id))

    def renew_session(
        self,
        session_id: str,
        grace_seconds: float = 0,
        *,
        user_id: str | None = None,
        custom_metadata: dict[str, Any] | None = None,
    ) -> str | None:
        """See ``SessionManager``."""
        options: dict[str, Any] = {"user_id": user_id, "custom_metadata": custom_metadata}
        return self._login(self._manager.renew_session(session_id, grace_seconds, **options))

    def list_user_sessions(self, user_id: str) -> list[dict[str, Any]]:
        """See ``SessionManager``."""
        return run(self._manager.list_user_sessions(user_id))

    def iter_user_sessions(self, user_id: str, batch: int = 500) -> Iterator[dict[str, Any]]:
        """See ``SessionManager``."""
        return _each(self._manager.iter_user_sessions(user_id, batch), batch)

    def delete_user_sessions(
        self, user_id: str, keep: str | Iterable[str] | None = None, *, thorough: bool = False
    ) -> int:
        """See ``SessionManager``."""
        return run(self._manager.delete_user_sessions(user_id, keep, thorough=thorough))

    def iter_sessions(self, batch: int = 500) -> Iterator[dict[str, Any]]:
        """See ``SessionManager``."""
        return _each(self._manager.iter_sessions(batch), batch)

    def count_sessions(self) -> int:
        """See ``SessionManager``."""
        return run(self._manager.count_sessions())

    def allocate_sessions(self, requests: Iterable[Mapping[str, Any]]) -> list[str | Exception]:
        """See ``SessionManager``."""
        return run(self._manager.allocate_sessions(requests))

    def validate_sessions(self, session_ids: Iterable[str]) -> list[bool | Exception]:
        """See ``SessionManager``."""
        return run(self._manager.validate_sessions(session_ids))

    def delete_sessions(self, session_ids: Iterable[str]) -> list[bool | Exception]:
        """See ``SessionManager``."""
        return run(self._manager.delete_sessions(session_ids))

    def cleanup_expired_sessions(self) -> int:
        """See ``SessionManager``."""
        return run(self._manager.cleanup_expired_sessions())

    def get_cache_stats(self) -> dict[str, Any]:
        """See ``SessionManager``."""
        return self._manager.get_cache_stats()

    def get_canonical_prefix(self, session_id: str) -> str:
        """See ``SessionManager``."""
        return self._manager.get_canonical_prefix(session_id)

    def generate_artifact_key(self, session_id: str, artifact_id: str) -> str:
        """See ``SessionManager``."""
        return self._manager.generate_artifact_key(session_id, artifact_id)

    def parse_grid_key(self, grid_key: str) -> dict[str, str] | None:
        """See ``SessionManager``."""
        return self._manager.parse_grid_key(grid_key)

    def get_session_prefix_pattern(self) -> str:
        """See ``SessionManager``."""
        return self._manager.get_session_prefix_pattern()

    def close(self) -> None:
        """Give up the store of the manager, as its ``aclose`` does. The loop goes on for other managers."""
        self._one(self._manager.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _one(self, call: Coroutine[Any, Any, T]) -> T:
        """Run a call for one session."""
        return run_for(self._manager, call, self._timeout)

    def _commands(self, call: Coroutine[Any, Any, T]) -> T:
        """Run a call that is one command, or one more for each alias."""
        return run_commands(self._manager, call, self._timeout)

    def _login(self, call: Coroutine[Any, Any, T]) -> T:
        """Run a call that may end older sessions, page by page, if a user may have so many only."""
        if "limit" in self._manager._options and not isinstance(self._manager._store, MemorySessionStore):
            return run(call, self._timeout)
        return self._one(call)


def _each(items: AsyncIterator[T], batch: int) -> Iterator[T]:
    """Give the items, of which ``batch`` at a time are fetched."""
    while True:
        some, error = run(_some(items, batch))
        yield from some
        if error is not None:
            raise error
        if len(some) < batch:
            return


async def _some(items: AsyncIterator[T], number: int) -> tuple[list[T], Exception | None]:
    """Return the next items, at most so many, and the error that came after them."""
    some: list[T] = []
    try:
        async for item in items:
            some.append(item)
            if len(some) >= number:
                break
    except Exception as error:
        return some, error
    return some, None


def _say_what_they_do() -> None:
    """Give each method the docstring of the manager's."""
    for name, method in vars(SyncSessionManager).items():
        original: Callable[..., Any] | None = getattr(SessionManager, name, None)
        if original is not None and not name.startswith("_") and callable(method):
            method.__doc__ = original.__doc__


_say_what_they_do()
