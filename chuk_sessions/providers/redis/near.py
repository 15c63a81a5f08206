"""Sessions on Redis of which this process keeps what it has read, for a bounded time: the near cache.

``redis_client.tracking`` says what makes an entry right.

Rules this file keeps:

* Only a session that lives is answered from the cache. That a session is absent, or another user's, the server says.
* An entry never outlives the deadline of its session, by the clock of the server, counted as later than it is.
* A validation is answered from the cache only while no touch is due. The server decides about every touch.
* Metadata is decoded anew for each answer, so that no caller can change what is kept.
* A store answers only from what was opened by its own keys, or without keys as it is: stores with other keys share the
  connection, and so the entries.
"""

from __future__ import annotations

from asyncio import get_running_loop
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from chuk_sessions.exceptions import NotSupportedError, WrongTypeError
from chuk_sessions.models import SessionRecord
from chuk_sessions.providers.redis.keys import session_key
from chuk_sessions.providers.redis.record import DEADLINE_DIGITS, VERSIONS, in_seconds
from chuk_sessions.providers.redis.snapshot import Snapshot
from chuk_sessions.providers.redis.store import AHEAD, RedisSessionStore
from chuk_sessions.redis_client.commands import Replay
from chuk_sessions.redis_client.entries import MAX_ENTRIES, Entry
from chuk_sessions.redis_client.replies import SHAPES, as_dict
from chuk_sessions.redis_client.tracking_node import TrackingNode, track

if TYPE_CHECKING:
    from chuk_sessions.redis_client.client import Call, Client
    from chuk_sessions.redis_client.tracking import Tracking
    from chuk_sessions.stores.near import Reads

__all__ = ["NearSessionStore"]

USUAL_ID = 128  # characters of an id whose key is remembered: to make a key takes a third of a hit


class NearSessionStore(RedisSessionStore):
    """The sessions of one sandbox, some of them kept in this process; see ``SessionStore`` and ``InProcess``.

    An answer from the cache is at most ``bound`` seconds old.
    """

    _for_infos = False  # whether a hit gives the snapshot itself, which has ``info``, and no record

    def __init__(self, client: Client, sandbox_id: str, bound: float) -> None:
        if client.is_cluster:
            raise NotSupportedError(
                "near_cache: not supported in a Redis Cluster, where a slot that changes its server does not tell"
            )
        super().__init__(client, sandbox_id)
        client.count_near()
        self._bound = bound
        self._opens_by: object = None  # the keys that open what is sealed
        self._known_key = partial(_known_key, self._sandbox)
        self._missed = "", self._known_key("")  # the id and the key of the last miss, whose read comes next

    def for_infos(self) -> Reads:
        """Return a store like this one, to read and open sessions of which only the info dict is needed."""
        reads = self._again()
        reads._for_infos = True
        reads._found, reads._unreadable = self._found, self._unreadable  # type: ignore[method-assign]  # one log line
        return reads

    def _again(self) -> NearSessionStore:
        return NearSessionStore(self._client, self._sandbox_id, self._bound)

    async def read(self, session_id: str, call: Call | None = None) -> SessionRecord | None:
        """See ``SessionStore``."""
        node: Any = self._client._opened.get(get_running_loop())  # as in ``deployment``, without the call
        if type(node) is not TrackingNode:
            node = self._node()
        found = self._find(node.tracking, session_id)
        if found is not None:
            if self._for_infos and found.document:
                return found  # type: ignore[return-value]  # see ``for_infos``
            try:
                return found.record()
            except ValueError:
                self._forget(node.tracking, session_id)
        return await self._read((node.reads, node.watchdog.tick if call is None else call[1]), session_id, True)

    async def touch(self, session_id: str, interval: float, call: Call | None = None) -> bool:
        """See ``SessionStore``."""
        node: Any = self._client._opened.get(get_running_loop())
        if type(node) is not TrackingNode:
            node = self._node()
        if interval > 0 and self._find(node.tracking, session_id, interval) is not None:
            return True
        return await super().touch(session_id, interval, call)

    async def open(
        self, session_id: str, interval: float, owner: str | None, call: Call | None = None, *, reply: Any = None
    ) -> SessionRecord | None:
        """See ``Openable``."""
        node: Any = self._client._opened.get(get_running_loop())
        if type(node) is not TrackingNode:
            node = self._node()
        if interval > 0:
            found = self._find(node.tracking, session_id, interval, owner)
            if found is not None:
                if self._for_infos and found.document:
                    return found  # type: ignore[return-value]  # see ``for_infos``
                try:
                    return found.record()
                except ValueError:
                    self._forget(node.tracking, session_id)
            call = node.reads, node.watchdog.tick if call is None else call[1]
        return await super().open(session_id, interval, owner, call, reply=reply)

    def _key(self, session_id: str) -> str:
        missed, key = self._missed
        if session_id is missed:
            return key
        return self._known_key(session_id) if len(session_id) <= USUAL_ID else super()._key(session_id)

    async def _is_fresh(self, call: Call, key: str, interval: float) -> bool | None:
        """Read the record if it would be kept, else some fields. The result is that of ``RedisSessionStore``."""
        node = self._node()
        if not node.tracking.keeps(key):
            return await super()._is_fresh(call, key, interval)
        now = node.clock.now()
        if now is None:
            return None
        try:
            reply = await node.reads.call((b"HGETALL", key), Replay.READ, call[1])
            if not reply:
                return False
            now = node.clock.now()
            return True if now is not None and _is_recent(as_dict(reply, "HGETALL"), interval, now) else None
        except (WrongTypeError, *SHAPES):  # an alias has no version
            return None

    # InProcess

    async def sweep(self) -> int:
        """See ``InProcess``; the server removes expired sessions."""
        return 0

    def cached(self) -> int:
        """Return how many sessions of the sandbox this process keeps, over all its event loops."""
        keys = (key for tracking in self._client.trackings() for key in tracking.entries.names())
        return sum(key.split(":", 3)[2] == self._sandbox for key in keys)

    def capacity(self) -> int:
        """Return how many sessions of all sandboxes this process may keep."""
        return MAX_ENTRIES * max(1, len(self._client.trackings()))

    def _node(self) -> TrackingNode:
        """Return the node of the running event loop, which tracks from now on."""
        deployment: Any = self._client.deployment()
        return deployment if type(deployment) is TrackingNode else track(deployment)

    def _find(
        self, tracking: Tracking, session_id: str, interval: float = 0.0, owner: str | None = None
    ) -> Snapshot | None:
        """Return what is known of a session if that answers the call, else None.

        With an ``interval`` no touch may be due. With an ``owner`` the session must be that user's. This is the way of
        a hit: it is one function, because each further one would take longer than what it does.
        """
        known_key = self._known_key  # not called as it is loaded: Python would look for a method first
        key = known_key(session_id) if len(session_id) <= USUAL_ID else super()._key(session_id)
        entry = tracking.lookup(key, self._bound)
        if entry is None:
            self._missed = session_id, key
            return None
        found: Snapshot | None = entry.record
        if found is None:
            found = self._first_look(tracking, entry, key)
        now = tracking.now
        if found is None or found.ends <= now:  # it cannot be read, or has expired: the server says so
            tracking.entries.drop(key)
        elif (
            found.opened_by is self._opens_by
            and (not interval or found.is_recent(interval, now))
            and (owner is None or owner == found.user_id)
        ):
            return found
        tracking.reject()
        return None

    def _forget(self, tracking: Tracking, session_id: str) -> None:
        """Forget a session that was found but whose metadata cannot be decoded."""
        tracking.evict((self._key(session_id),))
        tracking.reject()

    def _first_look(self, tracking: Tracking, entry: Entry, key: str) -> Snapshot | None:
        """Make the snapshot of an entry. It takes the place of the reply."""
        try:
            found = self._snapshot(entry.reply or {}, key)
        except SHAPES:
            return None
        tracking.entries.settle(entry, found, found.size)
        return found

    def _snapshot(self, reply: dict[bytes, bytes], key: str) -> Snapshot:
        """Make what is kept of the record under that key. Raises one of SHAPES if it cannot be read."""
        return Snapshot(reply)


_known_key = lru_cache(MAX_ENTRIES)(session_key)  # of all sandboxes: there may be many


def _is_recent(reply: dict[bytes, bytes], interval: float, now: float) -> bool:
    """Tell whether a record needs no touch, by the rule of ``RedisSessionStore``. Raises one of SHAPES if it is none.

    Only the fields that decide are decoded.
    """
    if reply[b"v"] not in VERSIONS:
        return False
    ends, idle = in_seconds(reply[b"expires"], DEADLINE_DIGITS), 0.0
    if b"idle" in reply:
        idle = min(in_seconds(reply[b"idle"]), in_seconds(reply[b"end"], DEADLINE_DIGITS) - now)
    return -AHEAD <= now - in_seconds(reply[b"accessed"]) < interval and ends > now and ends - now >= idle
