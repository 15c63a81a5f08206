"""Moving a session from its published key into our layout, in one database.

Where one script may have both keys (a lone server, or one slot of a cluster) it is that script: see ``redis_transfer``.
Else two servers have a part of it each, and nothing can be done on both at once. Then, in this order:

1. The session is put under our key, unless its tombstone is there: who ends a session leaves that first.
2. The original is removed, if it still is what was read, and for a while a note beside it says whose it was.
3. If it is gone without such a note, somebody ended it: what we put is removed again. If it is another text, what we
   put is removed unless it has been used, and all begins anew with that text; what was used is merged with it.

So the session is in one place or the other at any moment, for whoever looks under the published key before ours. One
that a published process ends at the same time may live on for a round trip, and if this process dies in just that
moment, until it expires.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING

from chuk_sessions import legacy
from chuk_sessions.adoption import Adoption
from chuk_sessions.models import MICROSECONDS
from chuk_sessions.providers.redis_scripts import ENDING, VERSION
from chuk_sessions.providers.redis_transfer import adopt, record_fields, tombstone_key
from chuk_sessions.providers.redis_user_index import UserIndex
from chuk_sessions.redis_client.connection import Replay
from chuk_sessions.redis_client.scripts import Script
from chuk_sessions.redis_client.slots import hashed_part, slot_of
from chuk_sessions.session_ids import index_key, session_key, slot_tag, unquote_part

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chuk_sessions.models import SessionRecord
    from chuk_sessions.redis_client.client import Client
    from chuk_sessions.redis_client.connection import Argument

__all__ = ["DROP", "TAKE", "UNDO", "Move", "note_key"]

NOTE_MILLISECONDS = 600_000  # longer than any process takes from the first step to the second
TAKEN, TAKEN_BEFORE, GONE, CHANGED, CHANGED_AFTER = 1, 2, 0, -1, -2

# KEYS: the published one, the note. ARGV: the text that was read, when that session was created, how long the note
# lives. The reply is TAKEN if it was removed, else what the key is now, and whether that session was taken before.
TAKE = Script("""
local text = redis.pcall('GET', KEYS[1])
if text == ARGV[1] then
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
  redis.call('UNLINK', KEYS[1])
  return 1
end
local taken = redis.call('GET', KEYS[2]) == ARGV[2]
if text then return taken and -2 or -1 end
return taken and 2 or 0
""")

# KEYS: the published one. ARGV: the text. 1 if it was removed, 0 if it is another one, -1 if it is gone.
DROP = Script("""
local text = redis.pcall('GET', KEYS[1])
if not text then return -1 end
return text == ARGV[1] and redis.call('UNLINK', KEYS[1]) or 0
""")

# KEYS: ours, the index in its slot. ARGV: when the session was created, the version of our records, and all fields and
# values but that, the deadline and the incarnation, if it is to be removed only as it was put. Whether it was removed,
# or what to take out of its user's index if that is elsewhere.
UNDO = Script(
    ENDING
    + """
local flat, fields = redis.pcall('HGETALL', KEYS[1]), {}
if flat.err then
  if string.find(flat.err, 'WRONGTYPE ', 1, true) then return 0 end
  return flat
end
for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
if fields['created'] ~= ARGV[1] then return 0 end
if fields['inc'] then fields['v'] = ARGV[2] end
if #ARGV > 2 then
  if #flat / 2 ~= 2 + (fields['inc'] and 1 or 0) + (#ARGV - 2) / 2 then return 0 end
  for i = 3, #ARGV, 2 do
    if fields[ARGV[i]] ~= ARGV[i + 1] then return 0 end
  end
end
local removed, member = ending(KEYS[1], KEYS[2], ARGV[2])
return member and {member} or removed
"""
)


class Move:
    """One session on its way; as many attempts as its original changes, and ``abandon`` if it is not there any more."""

    def __init__(self, client: Client, session_id: str) -> None:
        self._client = client
        self._session_id = session_id
        self._published = legacy.published_key(session_id)
        self._put: tuple[str, SessionRecord] | None = None  # in which sandbox what, until its original is taken

    async def attempt(self, quoted_sandbox: str, record: SessionRecord, text: bytes, left: float) -> Adoption:
        """Move the session that ``text`` held when it was read; CHANGED if it does not hold that any more.

        ``left`` are the seconds that its key had to live then, 0 for one without an end. Raises as ``adopt``.
        """
        ours = session_key(quoted_sandbox, self._session_id)
        if self._client.is_together(ours, self._published):
            return await adopt(self._client, quoted_sandbox, self._session_id, record, 0, (self._published, text))
        if self._put is not None and not _is_same(self._put, quoted_sandbox, record):
            await self.abandon()
        outcome = await adopt(self._client, quoted_sandbox, self._session_id, record, left)
        if outcome is Adoption.CREATED:
            self._put = quoted_sandbox, record
        if outcome is Adoption.EXPIRED:
            await self._drop_if_ended(ours, record, text)
        if outcome <= 0:
            return outcome
        made = self._put is not None
        if not await self._take(record, text):
            return Adoption.CHANGED
        return Adoption.CREATED if made else Adoption.MERGED

    async def abandon(self) -> None:
        """The original is gone, or another session's by now: what we put, if it is there, must not live on."""
        if self._put is not None:
            (quoted_sandbox, record), self._put = self._put, None
            await self._undo(quoted_sandbox, record, ())

    async def _take(self, record: SessionRecord, text: bytes) -> bool:
        """Remove the original; False if it is none any more, and then what we put may be gone again."""
        keys = (self._published, note_key(self._published))
        found = await TAKE.run(self._client, keys, (text, _created(record), NOTE_MILLISECONDS))
        if found == GONE:
            await self.abandon()
        elif found == CHANGED:
            await self._undo_if_unused()
        else:
            self._put = None
        return found in (TAKEN, TAKEN_BEFORE)

    async def _undo_if_unused(self) -> None:
        if self._put is not None:
            quoted_sandbox, record = self._put
            if await self._undo(quoted_sandbox, record, record_fields(record)):
                self._put = None

    async def _undo(self, quoted_sandbox: str, record: SessionRecord, fields: Iterable[Argument]) -> bool:
        """Whether what we put was removed, from its user's index too."""
        index = index_key(quoted_sandbox, slot_tag(self._session_id))
        keys = (session_key(quoted_sandbox, self._session_id), index)
        reply: int | list[bytes] = await UNDO.run(self._client, keys, (_created(record), VERSION, *fields))
        if isinstance(reply, list):
            await UserIndex(self._client, unquote_part(quoted_sandbox)).forget(reply[0])
        return bool(reply)

    async def _drop_if_ended(self, ours: str, record: SessionRecord, text: bytes) -> None:
        """A session that was ended here may have been written back by a cache."""
        ended = await self._client.call(b"GET", tombstone_key(ours), replay=Replay.READ)
        if ended is not None and _created(record) <= int(ended):
            await DROP.run(self._client, (self._published,), (text,))


def _created(record: SessionRecord) -> int:
    return round(record.created * MICROSECONDS)


def _is_same(put: tuple[str, SessionRecord], quoted_sandbox: str, record: SessionRecord) -> bool:
    sandbox, before = put
    return (sandbox, before.created, before.user_id) == (quoted_sandbox, record.created, record.user_id)


def note_key(published: bytes) -> bytes:
    """Where it is noted that the session with that published key was taken over: in the same slot."""
    tag = hashed_part(published)
    if b"}" in tag:  # it would end there
        tag = _tag_of(slot_of(published))
    return b"taken:{" + tag + b"}:" + published


@lru_cache(maxsize=1024)
def _tag_of(slot: int) -> bytes:
    """Some text of that slot: one in 16,384 is."""
    return next(text for text in (b"%d" % number for number in count()) if slot_of(text) == slot)
