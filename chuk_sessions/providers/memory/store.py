"""The sessions of one sandbox in the memory of this process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Collection, Sequence
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING

from chuk_sessions.batches import slices
from chuk_sessions.codec import Metadata, drop_keys, encode_document, merge_document
from chuk_sessions.ids import new_local_id
from chuk_sessions.models import SessionRecord
from chuk_sessions.providers.memory.at_once import calls_at_once
from chuk_sessions.providers.memory.infos import Infos
from chuk_sessions.providers.memory.session import Away, StoredSession, record_of
from chuk_sessions.providers.memory.storage import MemoryStore
from chuk_sessions.providers.memory.walk import Walk
from chuk_sessions.stores.contract import Existing, Tell, postponed, taken
from chuk_sessions.stores.wrapper import Calls

if TYPE_CHECKING:
    from chuk_sessions.stores.near import Reads

__all__ = ["MemorySessionStore"]

STEP = 200  # sessions that are read or ended at a time: other tasks run in between


class MemorySessionStore:
    """The sessions of one sandbox in memory; see ``SessionStore``."""

    def __init__(self, store: MemoryStore, sandbox_id: str) -> None:
        (self._map, self._users, self._aliases), self._opened = store.open(sandbox_id)
        self._entries = self._map.items
        self._clock = store.values.clock
        self._wall_clock = store.wall_clock
        self._capacity = store.max_items or sys.maxsize

    def for_infos(self) -> Reads:
        """Return what reads and opens sessions of which only the info dict is needed. It knows no subclass's reads."""
        return Infos(self) if type(self) is MemorySessionStore else self

    def for_manager(self, sandbox_id: str) -> Calls:
        """Return what creates, touches, updates and tells sessions for the manager. It knows no subclass's calls."""
        if type(self) is MemorySessionStore:
            return calls_at_once(self, sandbox_id)
        return Calls(self.create, self.touch, self.update, new_local_id)

    async def create(
        self,
        session_id: str,
        user_id: str | None,
        lifetime: float,
        metadata: Metadata,
        limit: int = 0,  # not keyword-only here and in ``update``: keyword-only parameters make a call slower
        idle: float = 0,
    ) -> Existing | None:
        """See ``SessionStore``."""
        document = encode_document(metadata)
        wall_clock = self._wall_clock  # not called as it is loaded: Python would look for a method first
        now = wall_clock()
        if self._aliases.items and (existing := self._touched_as_alias(session_id)) is not None:
            return existing
        session = StoredSession.of(session_id, user_id, now, now + lifetime, document)
        if idle:
            session.away = Away(idle, session.expires, self._clock() + lifetime)
            lifetime = min(lifetime, idle)
            session.expires = now + lifetime
        live = self._map.add(session_id, lifetime, session)
        if live is None:
            if user_id is not None:
                try:
                    self._users.add(user_id, session)
                except BaseException:  # as in the maps: no call in here
                    if session_id in self._entries and self._entries[session_id] is session:
                        del self._entries[session_id]
                        self._map._credit -= 1
                    raise
                if self._entries.get(session_id) is not session:
                    self._list(user_id, session)  # another thread ended it or gave it another id before it was listed
                if limit:
                    self._make_room(user_id, session, limit)
            return None
        self._touch(live, now)
        return Existing(live.user_id)

    async def read(self, session_id: str) -> SessionRecord | None:
        """See ``SessionStore``."""
        session, clock = self._entries.get(session_id), self._clock  # see ``create``
        if session is None or (session.bound <= (monotonic := clock()) and session.filing <= monotonic):
            session = self._live_as_alias(session_id)
            if session is None:
                return None
            record = record_of(session)
            record.current_id = session.session_id
            return record
        return record_of(session)

    async def touch(self, session_id: str, interval: float) -> bool:
        """See ``SessionStore``."""
        session, clock, wall_clock = self._entries.get(session_id), self._clock, self._wall_clock  # see ``create``
        if session is None or (session.bound <= (monotonic := clock()) and session.filing <= monotonic):
            session = self._live_as_alias(session_id)
            if session is None:
                return False
        now = wall_clock()
        if now - session.accessed >= interval:
            session.accessed = now
        if session.away is not None:
            self._stay(session, now)
        return True

    async def open(self, session_id: str, interval: float, owner: str | None) -> SessionRecord | None:
        """See ``Openable``."""
        session, clock, wall_clock = self._entries.get(session_id), self._clock, self._wall_clock  # see ``create``
        if session is None or (session.bound <= (monotonic := clock()) and session.filing <= monotonic):
            session = self._live_as_alias(session_id)
            if session is None:
                return None
        if owner is not None and session.user_id != owner:
            return None
        now = wall_clock()
        if now - session.accessed >= interval:
            session.accessed = now
        if session.away is not None:
            self._stay(session, now)
        record = record_of(session)
        if session.session_id != session_id:
            record.current_id = session.session_id
        return record

    async def update(self, session_id: str, metadata: Metadata, replace: bool, remove: Collection[str] = ()) -> bool:
        """See ``SessionStore``."""
        session, clock, wall_clock = self._entries.get(session_id), self._clock, self._wall_clock  # see ``create``
        if session is None or (session.bound <= (monotonic := clock()) and session.filing <= monotonic):
            session = self._live_as_alias(session_id)
            if session is None:
                encode_document(metadata)
                return False
        if replace:
            session.document = encode_document(metadata)
        else:
            while True:
                before = session.document
                after = merge_document(before, metadata)
                if remove:
                    after = drop_keys(after, remove)
                if session.document is before:  # as in ``StoredSession.increment``
                    session.document = after
                    break
        now = wall_clock()
        if now > session.accessed:  # written flat, like the calls of the map
            session.accessed = now
        if session.away is not None:
            self._stay(session, now)
        return True

    async def increment(self, session_id: str, field: str, amount: int) -> int | None:
        """See ``SessionStore``."""
        session = self._live(session_id)
        if session is None:
            return None
        value = session.increment(field, amount)
        self._touch(session, self._wall_clock())
        return value

    async def extend(self, session_id: str, lifetime: float, *, from_now: bool = False) -> bool:
        """See ``SessionStore``."""
        if from_now:
            return self._retime(session_id, lifetime)
        while (session := self._live(session_id)) is not None:
            away, bound, filing = session.away, session.bound, session.filing
            if away is not None:
                later = away._replace(end=postponed(away.end, lifetime), last=away.last + lifetime)
                if session.away is away:  # adjacent to the next line: no other thread comes between
                    session.away = later
                    self._touch(session, self._wall_clock())
                    return True
            elif self._replace(
                session, bound, filing, max(bound, filing) + lifetime, postponed(session.expires, lifetime)
            ):
                session.touch(self._wall_clock())
                return True
        return False

    def _retime(self, session_id: str, lifetime: float) -> bool:
        """Extend from now, in one step for all threads."""
        while (session := self._live(session_id)) is not None:
            away, bound, filing = session.away, session.bound, session.filing
            now, clock = self._wall_clock(), self._clock()
            left, end = lifetime, postponed(now, lifetime)
            if away is not None:  # other threads use this field as soon as they see the new deadline
                session.away = away._replace(end=end, last=clock + lifetime)
                left = min(lifetime, max(max(bound, filing) - clock, away.idle))
            if self._replace(session, bound, filing, clock + left, min(end, now + left)):
                session.touch(now)
                return True
        return False

    def _replace(self, session: StoredSession, bound: float, filing: float, deadline: float, expires: float) -> bool:
        """Give a session another deadline, by both clocks. Return False if another thread was first."""
        items, name, earlier = self._entries, session.session_id, deadline < filing
        try:
            if items[name] is not session or session.bound is not bound or session.filing is not filing:
                return False
            session.bound = deadline  # no call from here to the end of this block, see ``session_map``
            if earlier:
                session.filing = deadline
            session.expires = expires
        except KeyError:
            return False
        if earlier:  # a key is filed at or before its deadline
            self._map.account(name, session, True)
        return True

    async def delete(self, session_id: str) -> bool:
        """See ``SessionStore``."""
        while (session := self._live(session_id)) is not None:
            if self._end(session):
                return True
        return False

    async def renew(
        self,
        session_id: str,
        new_id: str,
        grace: float,
        *,
        user_id: str | None = None,
        metadata: Metadata | None = None,
        limit: int = 0,
    ) -> str | None:
        """See ``Renewable``."""
        if metadata is not None:
            encode_document(metadata)  # raises its error before anything changes
        while (session := self._live(session_id)) is not None:
            name, owner, deadlines = session.session_id, session.user_id, (session.bound, session.filing)
            if name != session_id and self._live(session_id) is not session:
                continue  # another thread gave it that name since it was found
            if user_id is not None and owner not in (None, user_id):
                raise taken(session_id)
            given = user_id is not None and owner is None
            if grace > 0 and name != session_id and not given:
                new_id = str(name)
            elif not self._rename(name, session, deadlines, new_id, grace, owner, user_id):
                continue
            elif given and user_id is not None:
                self._list(user_id, session)
                self._make_room(user_id, session, limit)
            if metadata:
                session.merge(metadata)
            self._touch(session, self._wall_clock())
            return new_id
        return None

    def _make_room(self, user_id: str, kept: StoredSession, limit: int) -> None:
        """End the oldest of the user's sessions that came before ``kept``, until ``limit`` are left; 0 ends none.

        The times of creation do not tell which sessions came before: the clock may have been set back. A session that
        comes later, in another thread, makes room for itself. So one of two that come at the same time stays.
        """
        if not 0 < limit < self._users.count(user_id):
            return
        listed = self._users.of(user_id)
        before = listed[: listed.index(kept)] if kept in listed else []
        live = sorted(filter(self._is_live, before), key=lambda session: session.created)
        for each in live[: max(0, len(live) - limit + 1)]:
            self._end(each, "limit")

    def _rename(
        self,
        session_id: str,
        session: StoredSession,
        deadlines: tuple[float, float],
        new_id: str,
        grace: float,
        owner: str | None,
        user_id: str | None,
    ) -> bool:
        """Give a session of ``owner`` a new id, and a user, in one step for all threads.

        Returns False if the session has another id, deadline or owner by now.
        """
        items, aliases = self._entries, self._aliases.items
        bound, filing = deadlines
        deadline = max(deadlines) + 0.0  # a filing is an object of its own
        until = self._clock() + grace  # does not depend on the session's deadline, which may be extended
        alias = (new_id, until, until)
        try:
            if items[session_id] is not session or session.user_id is not owner:
                return False
            if session.bound is not bound or session.filing is not filing:
                return False
            del items[session_id]  # no call from here to the end of this block, see ``expiring_map``
            items[new_id] = session
            session.bound = session.filing = deadline
            session.session_id = new_id
            if user_id is not None:
                session.user_id = user_id
            if grace > 0:
                replaced = session_id in aliases
                aliases[session_id] = alias
        except KeyError:
            return False
        self._map.account(new_id, session, True)
        if grace > 0:
            self._aliases.account(session_id, alias, replaced)
        return True

    def _end(self, session: StoredSession, reason: str = "deleted") -> bool:
        """Remove a session under its current id. Return False if it does not exist any more.

        The reason is for ``tell_endings``.
        """
        name = session.session_id
        while not self._map.remove(name, session):
            if session.session_id is name:
                return False
            name = session.session_id
        self._users.discard(session)
        return True

    async def list_user(self, user_id: str) -> list[tuple[str, SessionRecord]]:
        """See ``UserIndexed``."""
        runs: list[list[tuple[str, SessionRecord]]] = []  # each oldest first: one sort of all would be a long step
        async for page in self._pages_of(self._users.of(user_id), STEP):
            page.sort(key=_created)
            if runs and page and _created(runs[-1][-1]) <= _created(page[0]):
                runs[-1] += page
            elif page:
                runs.append(page)
        if len(runs) < 2:
            return runs[0] if runs else []
        ordered, found = merge(*runs, key=_created), list[tuple[str, SessionRecord]]()
        while some := list(islice(ordered, STEP)):
            found += some
            await asyncio.sleep(0)
        return found

    async def user_pages(self, user_id: str, batch: int) -> AsyncIterator[list[tuple[str, SessionRecord]]]:
        """See ``UserPaged``."""
        async for page in self._pages_of(self._users.of(user_id), batch):
            if page:
                yield page

    async def delete_user(self, user_id: str, keep: frozenset[str]) -> int:
        """See ``UserIndexed``."""
        kept = {session for session in map(self._live, keep) if session is not None}
        sessions, ended = self._users.of(user_id), 0
        sessions.reverse()
        while sessions:
            part = sessions[: -STEP - 1 : -1]
            del sessions[-STEP:]  # frees the ended sessions a part at a time, and not all at once at the end
            ended += self._end_some([session for session in part if session not in kept])
            if sessions:
                await asyncio.sleep(0)
        return ended

    def _end_some(self, sessions: list[StoredSession]) -> int:
        return sum([self._end(session, "user") for session in sessions if self._is_live(session)])

    def _live(self, session_id: str) -> StoredSession | None:
        session: StoredSession | None = self._map.live(session_id)
        return self._live_as_alias(session_id) if session is None else session

    def _live_as_alias(self, session_id: str) -> StoredSession | None:
        while (alias := self._aliases.live(session_id)) is not None:
            session_id = alias[0]
            session: StoredSession | None = self._map.live(session_id)
            if session is not None:
                return session
        return None

    def _touched_as_alias(self, session_id: str) -> Existing | None:
        session = self._live_as_alias(session_id)
        if session is None:
            return None
        self._touch(session, self._wall_clock())
        return Existing(session.user_id)

    def _touch(self, session: StoredSession, now: float) -> None:
        session.touch(now)
        if session.away is not None:
            self._stay(session, now)

    def _stay(self, session: StoredSession, now: float) -> None:
        """Move the deadline of a session that has an idle time. Every touch does so, because it costs nothing here.

        The deadline is by the clock that rules expiry: the wall clock may be set while the session is in use. If
        another thread was first, that thread has moved the deadline.
        """
        away, bound, filing = session.away, session.bound, session.filing
        if away is None:
            return
        clock = self._clock()
        deadline = max(bound, filing)
        later = min(away.last, clock + away.idle) - deadline
        deadline += later
        if later > 0 and session.bound is bound and session.filing is filing:
            session.bound = deadline  # adjacent to the line before, see ``session_map``
            session.expires = min(away.end, now + deadline - clock)

    def _list(self, user_id: str, session: StoredSession) -> None:
        """List a session if it is live, whatever other threads do to it meanwhile."""
        while True:
            self._users.add(user_id, session)
            if self._is_live(session):
                return
            self._users.discard(session)
            if not self._is_live(session):
                return

    def _is_live(self, session: StoredSession) -> bool:
        name = session.session_id
        while self._map.live(name) is not session:
            if session.session_id is name:  # else another thread gave it a new id in between
                return False
            name = session.session_id
        return True

    async def pages(self, batch: int) -> AsyncIterator[list[tuple[str, SessionRecord]]]:
        """See ``Walkable``."""
        walk, found = Walk(self._map), list[StoredSession]()
        while (part := self._part(walk)) is not None:
            found += part
            await asyncio.sleep(0)
            while len(found) >= batch:
                async for page in self._pages_of(found[:batch], batch):
                    yield page
                del found[:batch]
                await asyncio.sleep(0)
        async for page in self._pages_of(found, batch):
            yield page

    async def _pages_of(
        self, sessions: list[StoredSession], batch: int
    ) -> AsyncIterator[list[tuple[str, SessionRecord]]]:
        """Yield the live ones of the sessions, ``batch`` at a time; other tasks run between two steps."""
        for some in slices(sessions, batch):
            page: list[tuple[str, SessionRecord]] = []
            for part in slices(some, STEP):
                page += self._page(part)
                if len(sessions) > STEP:
                    await asyncio.sleep(0)
            yield page

    def _part(self, walk: Walk) -> list[StoredSession] | None:
        return walk.part()

    def _page(self, sessions: Sequence[StoredSession]) -> list[tuple[str, SessionRecord]]:
        return [(session.session_id, record_of(session)) for session in sessions if self._is_live(session)]

    async def count(self) -> int:
        """See ``Walkable``."""
        await self.sweep()  # not by a walk: that comes upon a session twice if it is filed anew meanwhile
        return self.cached()

    def tell_endings(self, tell: Tell) -> None:
        """See ``TellsEndings``."""
        from chuk_sessions.providers.memory.endings import Endings

        end = self._end

        def end_and_tell(session: StoredSession, reason: str = "deleted") -> bool:
            ended = end(session, reason)
            if ended:
                tell(session.session_id, session.user_id, reason)
            return ended

        self._end = end_and_tell  # type: ignore[method-assign]  # of this object, so that no other one pays for it
        if not isinstance(self._map.on_end, Endings):
            self._map.on_end = Endings(self._users)
        self._map.on_end.tell(tell)

    async def aclose(self) -> None:
        """Do nothing: the sessions belong to the process."""

    async def sweep(self) -> int:
        """See ``InProcess``."""
        removed = 0
        for count in self._map.sweep():
            removed += count
            await asyncio.sleep(0)
        return removed

    def cached(self) -> int:
        """Count the live sessions; the number may include sessions that expired within the last second."""
        for _ in islice(self._map.sweep(), 4):
            pass
        return len(self._map)

    def capacity(self) -> int:
        """See ``InProcess``."""
        return self._capacity


def _created(pair: tuple[str, SessionRecord]) -> float:
    return pair[1].created
