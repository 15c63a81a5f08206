"""The usual cases of the calls on a session, without a coroutine between the manager and the map.

A coroutine that never suspends is made, started and freed for nothing: on one of very many sessions that takes as long
as the operation. So the functions here do the usual case at once and return DONE, or an info dict. Whatever is less
usual they leave to the coroutine of the store, which they return before they have changed anything. The store stays as
it is for all who wrap it.

The functions are closures, because a variable of a closure is loaded more quickly than an attribute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chuk_sessions.codec import Metadata, encode_document, merge_document
from chuk_sessions.ids import new_local_id
from chuk_sessions.providers.memory.infos import Infos
from chuk_sessions.providers.memory.session import StoredSession
from chuk_sessions.stores.contract import Existing
from chuk_sessions.stores.wrapper import DONE, Calls, Done

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from chuk_sessions.providers.memory.store import MemorySessionStore
    from chuk_sessions.stores.near import HasInfo

__all__ = ["calls_at_once"]


def calls_at_once(store: MemorySessionStore, sandbox_id: str) -> Calls:
    """Return the calls of the store, of which the usual cases make no coroutine. Info dicts have that sandbox."""
    info, open_session = _info_of(store, sandbox_id), _open_of(store, sandbox_id)
    return Calls(_create_of(store), _touch_of(store), _update_of(store), new_local_id, info, open_session)


def _create_of(store: MemorySessionStore) -> Callable[..., Awaitable[Existing | None] | Done]:
    sessions, users, aliases = store._map, store._users, store._aliases.items
    entries, one, many = sessions.items, users.one, users.many
    clock, wall_clock = store._clock, store._wall_clock
    enlist, create_in_store = store._list, store.create

    def create(
        session_id: str, user_id: str | None, lifetime: float, metadata: Metadata, limit: int = 0, idle: float = 0
    ) -> Awaitable[Existing | None] | Done:
        """See ``SessionStore``; the usual case is a new id, and a deadline in the bucket that was used last."""
        monotonic = clock()
        deadline = monotonic + lifetime
        second = sessions._second
        if limit or idle or aliases or not second < deadline < sessions._second_end or monotonic >= sessions._due:
            return create_in_store(session_id, user_id, lifetime, metadata, limit, idle)
        session = StoredSession()
        session.document = encode_document(metadata)
        session.session_id = session_id
        session.user_id = user_id
        session.created = session.accessed = now = wall_clock()
        session.expires = now + lifetime
        session.away = None
        session.bound = second
        session.filing = deadline
        try:
            # Listed before it can be found: who ends it then, in another thread, finds it listed.
            if user_id is not None and (user_id in many or one.setdefault(user_id, session) is not session):
                users.add(user_id, session)
            if entries.setdefault(session_id, session) is not session:
                users.discard(session)
                return create_in_store(session_id, user_id, lifetime, metadata)
            if sessions._second is second and deadline < sessions._second_end:  # see ``SessionMap.add``
                sessions._bucket += (session_id, deadline)
            else:
                if user_id is not None:
                    enlist(user_id, session)  # in a forked child ``relist`` may have found it before it was stored
                sessions._file(session_id, deadline)
        except BaseException:
            if session.filing is deadline:  # else another thread has filed it, and it stays
                if session_id in entries and entries[session_id] is session:
                    del entries[session_id]
                if user_id in many:
                    if session in many[user_id]:
                        del many[user_id][session]
                        if not many[user_id]:
                            del many[user_id]
                elif user_id in one and one[user_id] is session:
                    del one[user_id]
            raise
        return DONE

    return create


def _touch_of(store: MemorySessionStore) -> Callable[[str, float], Awaitable[bool] | Done]:
    entries, clock, wall_clock = store._map.items, store._clock, store._wall_clock
    stay, touch_in_store = store._stay, store.touch

    def touch(session_id: str, interval: float) -> Awaitable[bool] | Done:
        """See ``SessionStore``."""
        session = entries.get(session_id)
        if session is None or (session.bound <= (monotonic := clock()) and session.filing <= monotonic):
            return touch_in_store(session_id, interval)
        now = wall_clock()
        if now - session.accessed >= interval:
            session.accessed = now
        if session.away is not None:
            stay(session, now)
        return DONE

    return touch


def _update_of(store: MemorySessionStore) -> Callable[[str, Metadata, bool], Awaitable[bool] | Done]:
    entries, clock, wall_clock = store._map.items, store._clock, store._wall_clock
    stay, update_in_store = store._stay, store.update

    def update(session_id: str, metadata: Metadata, replace: bool) -> Awaitable[bool] | Done:
        """See ``SessionStore``; without the option ``remove``."""
        session = entries.get(session_id)
        if replace or session is None or (session.bound <= (monotonic := clock()) and session.filing <= monotonic):
            return update_in_store(session_id, metadata, replace)
        while True:
            before = session.document
            after = merge_document(before, metadata)
            if session.document is before:  # as in ``StoredSession.increment``
                session.document = after
                break
        now = wall_clock()
        if now > session.accessed:
            session.accessed = now
        if session.away is not None:
            stay(session, now)
        return DONE

    return update


def _info_of(store: MemorySessionStore, sandbox_id: str) -> Callable[[str], Awaitable[HasInfo | None] | dict[str, Any]]:
    entries, clock, read = store._map.items, store._clock, Infos(store).read

    def info(session_id: str) -> Awaitable[HasInfo | None] | dict[str, Any]:
        """See ``Calls``."""
        session: StoredSession | None = entries.get(session_id)
        if session is None or (session.bound <= (monotonic := clock()) and session.filing <= monotonic):
            return read(session_id)
        return session.info(session_id, sandbox_id)

    return info


def _open_of(store: MemorySessionStore, sandbox_id: str) -> Callable[..., Awaitable[HasInfo | None] | dict[str, Any]]:
    entries, clock, wall_clock = store._map.items, store._clock, store._wall_clock
    stay, open_in_store = store._stay, Infos(store).open

    def open_session(session_id: str, interval: float, owner: str | None) -> Awaitable[HasInfo | None] | dict[str, Any]:
        """See ``Calls``."""
        session: StoredSession | None = entries.get(session_id)
        if session is None or (session.bound <= (monotonic := clock()) and session.filing <= monotonic):
            return open_in_store(session_id, interval, owner)
        if owner is not None and session.user_id != owner:
            return open_in_store(session_id, interval, owner)
        now = wall_clock()
        if now - session.accessed >= interval:
            session.accessed = now
        if session.away is not None:
            stay(session, now)
        return session.info(session_id, sandbox_id)

    return open_session
