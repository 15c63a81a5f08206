"""Sessions and values in the memory of this process: the default provider."""

from __future__ import annotations

import asyncio
import math
import os
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from itertools import islice

from chuk_sessions.codec import Metadata, decode_document, encode_document, merge_document
from chuk_sessions.exceptions import ProviderError
from chuk_sessions.expiring_map import SWEEP_SLICE, Entry, ExpiringMap
from chuk_sessions.models import SessionRecord
from chuk_sessions.provider import DEFAULT_TTL, ProviderSession, default_ttl_from_env
from chuk_sessions.providers.memory_user_index import UserIndex
from chuk_sessions.stores.contract import Existing, counted

__all__ = ["MemoryFactory", "MemoryStore", "factory"]

LONGEST_NAP = 3600.0  # seconds: a sweep is looked for at least this often, whatever the deadlines say
SHORTEST_NAP = 0.001  # seconds between two slices of a long sweep, for everybody else on the loop


class MemoryStore:
    """What one process keeps: a map of values, and one map of sessions per sandbox.

    ``clock`` (seconds from zero up, monotonic) rules expiry, ``wall_clock`` (seconds since the epoch) the
    timestamps of sessions. ``max_items`` bounds the values and each sandbox's sessions, each for itself: one more
    evicts what would expire first. Expired items are removed while an event loop runs that wrote or opened the store,
    idle or not.
    """

    def __init__(
        self,
        *,
        max_items: int | None = None,
        default_ttl: float = DEFAULT_TTL,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.max_items = max_items
        self._clock = clock
        self.wall_clock = wall_clock
        self.values = self._new_map(default_ttl)
        self._sessions: dict[str, tuple[ExpiringMap, UserIndex[_Session], ExpiringMap]] = {}

    def sessions(self, sandbox_id: str) -> tuple[ExpiringMap, UserIndex[_Session], ExpiringMap]:
        """The map of the sessions of one sandbox, which user has which, and the ids that are aliases for a while."""
        if sandbox_id not in self._sessions:
            items, users = self._new_map(DEFAULT_TTL), UserIndex[_Session]()
            items.on_end = users.discard
            self._sessions.setdefault(sandbox_id, (items, users, self._new_map(DEFAULT_TTL)))
        return self._sessions[sandbox_id]

    def _new_map(self, default_ttl: float) -> ExpiringMap:
        items = ExpiringMap(self._clock, self.max_items, default_ttl)
        items.on_new_second = _Sweeper(items).arm
        return items


class _Sweeper:
    """Removes expired items from a map when nobody writes to it, a slice per turn of the event loop.

    Each loop that wrote to the map or opened it has a timer while the map holds anything: one loop may end or stop
    at any time, and its timer with it.
    """

    def __init__(self, items: ExpiringMap) -> None:
        self._items = weakref.ref(items)
        self._dues: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, float] = weakref.WeakKeyDictionary()

    def arm(self) -> None:
        """See to it that the running loop sweeps when the map's first second is due."""
        items = self._items()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # used without a loop: writers reclaim
        if items is None or items.due >= self._dues.get(loop, math.inf):
            return
        self._schedule(loop, items)

    def _schedule(self, loop: asyncio.AbstractEventLoop, items: ExpiringMap) -> None:
        due = self._dues[loop] = items.due
        if due < math.inf:
            nap = min(max(due - items.clock(), SHORTEST_NAP), LONGEST_NAP)
            loop.call_later(nap, self._sweep, weakref.ref(loop), due)

    def _sweep(self, running: weakref.ref[asyncio.AbstractEventLoop], due: float) -> None:
        items, loop = self._items(), running()
        if items is None or loop is None or self._dues.get(loop) != due:
            return  # an earlier timer took over
        items.reclaim(SWEEP_SLICE, items.clock())
        self._schedule(loop, items)


@dataclass(slots=True, eq=False)
class _Session:
    """What the map of sessions holds: changed in place, never handed out, and equal to itself alone."""

    session_id: str
    user_id: str | None
    created: float
    expires: float
    accessed: float
    document: str
    idle: float = 0.0
    end: float = 0.0  # of a session with ``idle``: when it ends however often it is touched
    last: float = 0.0  # the same by the clock that rules expiry

    def touch(self, now: float) -> None:
        if now > self.accessed:
            self.accessed = now

    def increment(self, field: str, amount: int) -> int:
        while True:
            before = self.document
            value = counted(decode_document(before), field, amount)
            after = merge_document(before, {field: value})
            if self.document is before:  # adjacent to the next line: no other thread comes between
                self.document = after
                return value


def _record(session: _Session) -> SessionRecord:
    metadata = decode_document(session.document)
    record = SessionRecord(session.user_id, session.created, session.expires, session.accessed, metadata)
    if session.idle:
        record.idle, record.idle_expires, record.expires = session.idle, session.expires, session.end
    return record


class MemorySessionStore:
    """The sessions of one sandbox in memory; see ``SessionStore``."""

    def __init__(self, store: MemoryStore, sandbox_id: str) -> None:
        self._map, self._users, self._aliases = store.sessions(sandbox_id)
        self._entries = self._map.items
        self._clock = store.values.clock
        self._wall_clock = store.wall_clock
        self._capacity = store.max_items or sys.maxsize

    async def create(
        self, session_id: str, user_id: str | None, lifetime: float, metadata: Metadata, limit: int = 0, idle: float = 0
    ) -> Existing | None:
        document = encode_document(metadata)
        now = self._wall_clock()
        if self._aliases.items and (existing := self._touched_as_alias(session_id)) is not None:
            return existing
        session = _Session(session_id, user_id, now, now + lifetime, now, document)
        if idle:
            session.idle, session.end, session.last = idle, session.expires, self._clock() + lifetime
            lifetime = min(lifetime, idle)
            session.expires = now + lifetime
        entry = self._map.add(session_id, lifetime, session)
        if entry is None:
            if user_id is not None:
                self._users.add(user_id, session)
                if session_id not in self._entries or self._entries[session_id][0] is not session:
                    self._list(user_id, session)  # another thread ended it or gave it another id before it was listed
                if limit:
                    self._keep_newest(user_id, limit)
            return None
        self._touch(entry, now)
        return Existing(entry[0].user_id)

    async def read(self, session_id: str) -> SessionRecord | None:
        entry = self._entries.get(session_id)
        if entry is None or entry[1] <= self._clock():
            entry = self._live_as_alias(session_id)
            if entry is None:
                return None
        return _record(entry[0])

    async def touch(self, session_id: str, interval: float) -> bool:
        entry = self._entries.get(session_id)
        if entry is None or entry[1] <= self._clock():
            entry = self._live_as_alias(session_id)
            if entry is None:
                return False
        session = entry[0]
        now = self._wall_clock()
        if now - session.accessed >= interval:
            session.accessed = now
            if session.idle:
                self._stay(entry, now)
        elif session.idle:
            self._stay(entry, now, interval)
        return True

    async def update(self, session_id: str, metadata: Metadata, replace: bool) -> bool:
        entry = self._entries.get(session_id)
        if entry is None or entry[1] <= self._clock():
            entry = self._live_as_alias(session_id)
            if entry is None:
                encode_document(metadata)
                return False
        session: _Session = entry[0]
        if replace:
            session.document = encode_document(metadata)
        else:
            while True:
                before = session.document
                after = merge_document(before, metadata)
                if session.document is before:  # as in ``increment``
                    session.document = after
                    break
        now = self._wall_clock()
        if now > session.accessed:  # written flat, as the map's own calls are
            session.accessed = now
        if session.idle:
            self._stay(entry, now)
        return True

    async def increment(self, session_id: str, field: str, amount: int) -> int | None:
        entry = self._live(session_id)
        if entry is None:
            return None
        value: int = entry[0].increment(field, amount)
        self._touch(entry, self._wall_clock())
        return value

    async def extend(self, session_id: str, lifetime: float) -> bool:
        while (entry := self._live(session_id)) is not None:
            if entry[0].idle:
                entry[0].end += lifetime
                entry[0].last += lifetime
                self._touch(entry, self._wall_clock())
                return True
            if self._map.postpone(entry[0].session_id, entry, lifetime):  # else another thread was first
                entry[0].expires += lifetime
                entry[0].touch(self._wall_clock())
                return True
        return False

    async def delete(self, session_id: str) -> bool:
        while (entry := self._live(session_id)) is not None:
            if self._end(entry[0]):
                return True
        return False

    async def renew(self, session_id: str, new_id: str, grace: float) -> str | None:
        while (entry := self._map.live(session_id)) is not None:
            if self._rename(session_id, entry, new_id, grace):
                self._touch(self._entries.get(new_id, entry), self._wall_clock())
                return new_id
        entry = self._live_as_alias(session_id)
        return None if entry is None else str(entry[0].session_id)

    def _rename(self, session_id: str, entry: Entry, new_id: str, grace: float) -> bool:
        """Give a session a new id, in one step for all threads; False if the old one has not that entry any more."""
        items, aliases = self._entries, self._aliases.items
        session, deadline = entry[0], entry[1]
        now = self._clock()
        until = min(now + grace, session.last or deadline)
        moved, alias = (session, deadline, deadline), (new_id, until, until)
        try:
            if items[session_id] is not entry:
                return False
            del items[session_id]  # no call from here to the end of this block, see ``expiring_map``
            items[new_id] = moved
            session.session_id = new_id
            if grace > 0:
                replaced = session_id in aliases
                aliases[session_id] = alias
        except KeyError:
            return False
        self._map.account(new_id, moved, True)
        if grace > 0:
            self._aliases.account(session_id, alias, replaced)
        return True

    def _end(self, session: _Session) -> bool:
        """Remove a session under the id that it has by now; False if it is not there any more."""
        name = session.session_id
        while not self._map.remove(name, session):
            if session.session_id is name:
                return False
            name = session.session_id
        self._users.discard(session)
        return True

    async def list_user(self, user_id: str) -> list[tuple[str, SessionRecord]]:
        return [(session.session_id, _record(session)) for session in self._live_of(user_id)]

    async def delete_user(self, user_id: str, keep: frozenset[str]) -> int:
        kept = {entry[0] for entry in map(self._live, keep) if entry is not None}
        return sum([self._end(session) for session in self._live_of(user_id) if session not in kept])

    def _keep_newest(self, user_id: str, limit: int) -> None:
        for session in self._live_of(user_id)[:-limit]:
            self._end(session)

    def _live(self, session_id: str) -> Entry | None:
        return self._map.live(session_id) or self._live_as_alias(session_id)

    def _live_as_alias(self, session_id: str) -> Entry | None:
        while (alias := self._aliases.live(session_id)) is not None:
            session_id = alias[0]
            if (entry := self._map.live(session_id)) is not None:
                return entry
        return None

    def _touched_as_alias(self, session_id: str) -> Existing | None:
        entry = self._live_as_alias(session_id)
        if entry is None:
            return None
        self._touch(entry, self._wall_clock())
        return Existing(entry[0].user_id)

    def _touch(self, entry: Entry, now: float) -> None:
        entry[0].touch(now)
        if entry[0].idle:
            self._stay(entry, now)

    def _stay(self, entry: Entry, now: float, interval: float = 0.0) -> None:
        """Move the deadline of a session that has an idle time, unless that was done within the last ``interval``.

        By the clock that rules expiry: the other one may be set while the session is in use. If another thread was
        first, that one moved it.
        """
        session: _Session = entry[0]
        clock = self._clock()
        since = clock + session.idle - entry[1]
        later = min(session.last - entry[1], since)
        if later > 0 and since >= interval and self._map.postpone(session.session_id, entry, later):
            session.expires = min(session.end, now + entry[1] + later - clock)

    def _list(self, user_id: str, session: _Session) -> None:
        """Leave a session in the index if it is live, whatever other threads do to it meanwhile."""
        while True:
            self._users.add(user_id, session)
            if self._is_live(session):
                return
            self._users.discard(session)
            if not self._is_live(session):
                return

    def _live_of(self, user_id: str) -> list[_Session]:
        live = [session for session in self._users.of(user_id) if self._is_live(session)]
        return sorted(live, key=lambda session: session.created)

    def _is_live(self, session: _Session) -> bool:
        name = session.session_id
        while (entry := self._map.live(name)) is None or entry[0] is not session:
            if session.session_id is name:  # else another thread gave it a new id in between
                return False
            name = session.session_id
        return True

    async def pages(self, batch: int) -> AsyncIterator[list[tuple[str, SessionRecord]]]:
        sessions: list[_Session] = [entry[0] for entry in list(self._entries.values())]
        for start in range(0, len(sessions), batch):
            live = filter(self._is_live, sessions[start : start + batch])
            yield [(session.session_id, _record(session)) for session in live]
            await asyncio.sleep(0)

    async def count(self) -> int:
        return sum(self._is_live(entry[0]) for entry in list(self._entries.values()))

    async def sweep(self) -> int:
        removed = 0
        for count in self._map.sweep():
            removed += count
            await asyncio.sleep(0)
        return removed

    def cached(self) -> int:
        """Live sessions; some that expired within the last second may still be among them."""
        for _ in islice(self._map.sweep(), 4):
            pass
        return len(self._map)

    def capacity(self) -> int:
        return self._capacity


class _OpenMap(ProviderSession[ExpiringMap]):
    __slots__ = ()

    async def __aenter__(self) -> ExpiringMap:
        if self._provider.on_new_second is not None:
            self._provider.on_new_second()  # what is left from a loop that has ended is swept by this one
        return self._provider


class MemoryFactory:
    """Gives the values of a store (call it) and the sessions of a sandbox (``session_store``)."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def __call__(self) -> ProviderSession[ExpiringMap]:
        """A context manager that gives the shared map of values, a ``Provider``."""
        return _OpenMap(self._store.values)

    def session_store(self, sandbox_id: str) -> MemorySessionStore:
        """The sessions of one sandbox."""
        return MemorySessionStore(self._store, sandbox_id)


_shared: MemoryStore | None = None
_making_shared = threading.Lock()


def factory(store: MemoryStore | None = None) -> MemoryFactory:
    """A factory on ``store``, or on the one that the whole process shares.

    The shared store is made by the first call and takes ``SESSION_MEMORY_MAX_ITEMS`` (default: no bound) and
    ``SESSION_DEFAULT_TTL`` (what ``set`` gives, default: 3600 seconds) from the environment. Raises ProviderError if
    the one is no whole number of at least 1, or the other no number over 0.
    """
    global _shared
    if store is None:
        with _making_shared:
            if _shared is None:
                _shared = MemoryStore(max_items=_max_items_from_env(), default_ttl=default_ttl_from_env())
            store = _shared
    return MemoryFactory(store)


def _max_items_from_env() -> int | None:
    text = os.environ.get("SESSION_MEMORY_MAX_ITEMS", "").strip()
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ProviderError(f"SESSION_MEMORY_MAX_ITEMS must be a whole number of at least 1, got {text!r}")
    return int(text)
