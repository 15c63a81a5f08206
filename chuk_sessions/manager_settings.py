"""The arguments of a ``SessionManager`` as attributes that may be set; later calls use the new values.

Programs for earlier versions set them, most often to give a manager another factory in a test.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from chuk_sessions import grid
from chuk_sessions.arguments import seconds_of
from chuk_sessions.codec import Metadata
from chuk_sessions.ids import new_opaque_id
from chuk_sessions.many_at_once import Together, as_it_is
from chuk_sessions.stores.contract import CompleteStore, Existing, InProcess, can
from chuk_sessions.stores.wrapper import Done, calls_of, open_store, reads_of

if TYPE_CHECKING:
    from chuk_sessions.stores.near import HasInfo, Reads

__all__ = ["ManagerSettings"]

Layer = Callable[[CompleteStore, str], CompleteStore]  # gets a store and its sandbox


class ManagerSettings:
    """Opens the store of a factory and a sandbox, and opens it anew when one of them is set.

    A value that every call reads is a plain attribute. A value that is refused changes nothing. The old store is not
    closed, as calls may still run in it.
    """

    _options: dict[str, Any]  # of sessions that are created
    _opaque_ids: bool
    _near: float  # seconds, 0 without a near cache
    _store: CompleteStore
    _create: Callable[..., Awaitable[Existing | None] | Done]  # this and the next four are the store's, or quicker ones
    _touch: Callable[[str, float], Awaitable[bool] | Done]  # see ``Calls``
    _update: Callable[[str, Metadata, bool], Awaitable[bool] | Done]
    _info: Callable[[str], Awaitable[HasInfo | None] | dict[str, Any]]
    _open_info: Callable[[str, float, str | None], Awaitable[HasInfo | None] | dict[str, Any]]
    _in_process: InProcess | None
    _together: Together
    _layers: Sequence[Layer] = ()  # around each store that is opened, the last one outermost

    @property
    def sandbox_id(self) -> str:
        """The sandbox. A new value must be valid for the argument; it is not written to the environment."""
        return self._sandbox_id

    @sandbox_id.setter
    def sandbox_id(self, sandbox_id: str) -> None:
        self._open(self._session_factory, grid.check_segment("sandbox_id", sandbox_id))

    @property
    def session_factory(self) -> Any:
        """The provider factory. A new value must be valid for the argument, and not None."""
        return self._session_factory

    @session_factory.setter
    def session_factory(self, session_factory: Any) -> None:
        self._open(session_factory, self._sandbox_id)

    @property
    def default_ttl_hours(self) -> float:
        """How many hours a session lives by default. A new value must be valid for the argument."""
        return self._default_ttl_hours

    @default_ttl_hours.setter
    def default_ttl_hours(self, hours: float) -> None:
        self._default_lifetime = seconds_of("default_ttl_hours", hours)
        self._default_ttl_hours = hours

    def _open(self, session_factory: Any, sandbox_id: str) -> None:
        if self._near:
            from chuk_sessions.stores.near import open_near_store

            store = open_near_store(session_factory, sandbox_id, self._near)
        else:
            store = open_store(session_factory, sandbox_id)
        reads: Reads = reads_of(store)  # the store, or what reads more quickly and makes info dicts only
        calls = calls_of(store, sandbox_id)
        here = store if can(store, InProcess) else None
        for wrap in self._layers:
            store = reads = wrap(store, sandbox_id)
            calls = calls_of(store, sandbox_id)
        self._create = partial(calls.create, **self._options) if self._options else calls.create
        self._touch, self._update = calls.touch, calls.update
        self._info, self._open_info = calls.info or reads.read, calls.open or reads.open
        self._new_id = new_opaque_id if self._opaque_ids else calls.new_id
        self._in_process = here
        self._together = getattr(store, "together", as_it_is) if self._layers else as_it_is
        self._store = store
        self._session_factory, self._sandbox_id = session_factory, sandbox_id
        self._prefixes: dict[str, str] = {}
