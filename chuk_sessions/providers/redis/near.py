"""Sessions on Redis of which this process keeps what it has read, for a bounded time: the near cache.

``redis_client.tracking`` says what makes an entry right.

Rules this file keeps:

* Only a session that lives is answered from the cache. That a session is absent, or another user's, the server says.
* An entry never outlives the deadline of its session, by the clock of the server, counted as later than it is.
* A validation is answered from the cache only while no touch is due. The server decides about every touch.
* Metadata is decoded anew for each answer, so that no caller can change what is kept.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from chuk_sessions.codec import ANY_DEPTH, decode_document, encode_document
from chuk_sessions.exceptions import NotSupportedError, SessionError, WrongTypeError
from chuk_sessions.models import SessionRecord
from chuk_sessions.providers.redis.keys import quote_part, session_key
from chuk_sessions.providers.redis.record import decode_record
from chuk_sessions.providers.redis.store import RedisSessionStore
from chuk_sessions.redis_client.commands import Replay
from chuk_sessions.redis_client.entries import MAX_ENTRIES, Entry
from chuk_sessions.redis_client.replies import SHAPES
from chuk_sessions.redis_client.tracking_node import TrackingNode, track

if TYPE_CHECKING:
    from chuk_sessions.redis_client.client import Call, Client

__all__ = ["NearSessionStore", "Snapshot"]

TEXT = 150  # bytes of a snapshot's numbers and of the objects of its texts: measured some 400 with OBJECTS
OBJECTS = 300


class Snapshot:
    """A session as the server sent it; ``record`` makes a copy of it."""

    __slots__ = ("_fixed", "_metadata", "accessed", "ends", "idle", "last", "user_id")

    def __init__(self, record: SessionRecord) -> None:
        self.user_id = record.user_id
        self.accessed = record.accessed
        self.last = record.expires  # in any case
        self.idle = record.idle
        self.ends = record.expires if record.idle_expires is None else record.idle_expires  # unless it is touched
        self._fixed = record.created, record.status, record.idle_expires
        self._metadata = encode_document(record.metadata, ANY_DEPTH)

    @property
    def size(self) -> int:
        """The bytes that it takes, rather too many."""
        user = 0 if self.user_id is None else len(self.user_id)
        return TEXT + OBJECTS + 4 * (len(self._metadata) + user)  # a text takes up to four bytes a character

    def record(self) -> SessionRecord:
        """Return a copy of the session."""
        created, status, idle_expires = self._fixed
        metadata = decode_document(self._metadata)
        return SessionRecord(self.user_id, created, self.last, self.accessed, metadata, status, self.idle, idle_expires)

    def is_recent(self, interval: float, now: float) -> bool:
        """Tell whether no touch is due: by the rule of ``RedisSessionStore``, but never for a time in the future."""
        return 0 <= now - self.accessed < interval and self.ends - now >= min(self.idle, self.last - now)


class NearSessionStore(RedisSessionStore):
    """The sessions of one sandbox, some of them kept in this process; see ``SessionStore`` and ``InProcess``.

    An answer from the cache is at most ``bound`` seconds old.
    """

    def __init__(self, client: Client, sandbox_id: str, bound: float) -> None:
        if client.is_cluster:
            raise NotSupportedError(
                "near_cache: not supported in a Redis Cluster, where a slot that changes its server does not tell"
            )
        super().__init__(client, sandbox_id)
        client.count_near()
        self._bound = bound
        self._known_key = lru_cache(MAX_ENTRIES)(partial(session_key, quote_part(sandbox_id)))

    async def read(self, session_id: str, call: Call | None = None) -> SessionRecord | None:
        """See ``SessionStore``."""
        node = self._node()
        key = self._known_key(session_id)
        found = self._look_up(node, key)
        if found is not None:
            node.tracking.hits += 1
            return found.record()
        return await super().read(session_id, (node.reads, node.tick if call is None else call[1]))

    async def touch(self, session_id: str, interval: float, call: Call | None = None) -> bool:
        """See ``SessionStore``."""
        if interval > 0:
            node = self._node()
            found = self._look_up(node, self._known_key(session_id))
            if found is not None:
                if found.is_recent(interval, node.tracking.now):
                    node.tracking.hits += 1
                    return True
                node.tracking.misses += 1
        return await super().touch(session_id, interval, call)

    async def open(
        self, session_id: str, interval: float, owner: str | None, call: Call | None = None
    ) -> SessionRecord | None:
        """See ``Openable``."""
        if interval <= 0:
            return await super().open(session_id, interval, owner, call)
        node = self._node()
        found = self._look_up(node, self._known_key(session_id))
        if found is not None:
            if found.is_recent(interval, node.tracking.now) and owner in (None, found.user_id):
                node.tracking.hits += 1
                return found.record()
            node.tracking.misses += 1
        return await super().open(session_id, interval, owner, (node.reads, node.tick if call is None else call[1]))

    async def _is_fresh(self, call: Call, key: str, interval: float) -> bool | None:
        """Read the record, so that it is kept. The result is that of ``RedisSessionStore``."""
        node = self._node()
        clock = node.clock
        if clock.now() is None:
            return None
        try:
            reply = await node.reads.call((b"HGETALL", key), Replay.READ, call[1])
            if not reply:
                return False
            return self._is_recent(decode_record(reply), interval, clock.now()) or None
        except (WrongTypeError, *SHAPES):  # an alias, too
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

    def _look_up(self, node: TrackingNode, key: str) -> Snapshot | None:
        """Return what is known of the session with that key. If that is nothing, a miss is counted."""
        tracking = node.tracking
        entry = tracking.lookup(key, self._bound)
        if entry is None:
            return None
        found: Snapshot | None = entry.record or self._first_look(node, entry)
        if found is not None and found.ends > tracking.now:
            return found
        tracking.entries.drop(key)  # it has expired or cannot be read: the server says so
        tracking.misses += 1
        return None

    def _first_look(self, node: TrackingNode, entry: Entry) -> Snapshot | None:
        """Make the snapshot of an entry. It takes the place of the reply."""
        try:
            found = Snapshot(decode_record(entry.reply or {}))
        except (SessionError, *SHAPES):
            return None
        node.tracking.entries.settle(entry, found, found.size)
        return found
