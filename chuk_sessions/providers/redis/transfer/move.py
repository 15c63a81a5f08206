"""Moving a session from its published key into our layout, in one database.

Where one script may have both keys (a lone server, or one slot of a cluster) it is that script: see ``transfer.adopt``.
Else two servers have a part of it each, and nothing can be done on both at once. Then, in this order:

1. The session is put under our key, unless its tombstone is there: who ends a session leaves that first.
2. The original is removed, if it still is what was read, and for a while a note beside it says whose it was.
3. If it is gone without such a note, somebody ended it: what we put is removed again. If it is another text, what we
   put is removed unless it has been used, and all begins anew with that text; what was used is merged with it.

``migrate`` also leaves the note of ``transfer.adopt`` in the first step, for a run that is killed before the second.

So the session is in one place or the other at any moment, for whoever looks under the published key before ours. One
that a published process ends at the same time may live on for a round trip, and if this process dies in just that
moment, until it expires.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chuk_sessions.providers.redis.index import UserIndex
from chuk_sessions.providers.redis.keys import (
    arrival_key,
    index_key,
    legacy_key,
    session_key,
    tag_in_key,
    takeover_key,
    tombstone_key,
    unquote_part,
)
from chuk_sessions.providers.redis.lua import load
from chuk_sessions.providers.redis.record import VERSION, encode_record, in_microseconds
from chuk_sessions.providers.redis.transfer.adopt import adopt
from chuk_sessions.redis_client.commands import Replay
from chuk_sessions.redis_client.scripts import Script
from chuk_sessions.stores.adoption import Adoption

if TYPE_CHECKING:
    from chuk_sessions.models import SessionRecord
    from chuk_sessions.redis_client.client import Client

__all__ = ["DROP", "TAKE", "UNDO", "Move", "is_same", "undo"]

NOTE_MILLISECONDS = 600_000  # longer than any process takes from the first step to the second
TAKEN, TAKEN_BEFORE, GONE, CHANGED, CHANGED_AFTER = 1, 2, 0, -1, -2

TAKE = Script(load("transfer_take"))
DROP = Script(load("transfer_drop"))
UNDO = Script(load("transfer_undo"))


class Move:
    """One session on its way; as many attempts as its original changes, and ``abandon`` if it is not there any more."""

    def __init__(self, client: Client, session_id: str, noted: bool = False) -> None:
        self._client = client
        self._noted = noted
        self._session_id = session_id
        self._published = legacy_key(session_id)
        self._put: tuple[str, SessionRecord] | None = None  # in which sandbox what, until its original is taken

    async def attempt(
        self, quoted_sandbox: str, record: SessionRecord, text: bytes, left: float, origin: str | None = None
    ) -> Adoption:
        """Move the session that ``text`` held when it was read; CHANGED if it does not hold that any more.

        ``left`` are the seconds that its key had to live then, 0 for one without an end; ``origin`` is as in
        ``adopt``. Raises as that.
        """
        ours = session_key(quoted_sandbox, self._session_id)
        to = (self._client, quoted_sandbox, self._session_id, record)
        if self._client.is_together(ours, self._published):
            return await adopt(*to, 0, (self._published, text), origin=origin)
        if self._put is not None and not is_same(self._put, quoted_sandbox, record):
            await self.abandon()
        outcome = await adopt(*to, left, origin=origin, noted=self._noted)
        if outcome is Adoption.CREATED:
            self._put = quoted_sandbox, record
        if outcome is Adoption.EXPIRED:
            origin_key = ours if origin is None else session_key(origin, self._session_id)
            await self._drop_if_ended((ours, origin_key), record, text)
        if outcome <= 0:
            return outcome
        made = self._put is not None
        if not await self._take(record, text):
            return Adoption.CHANGED
        if self._noted:
            await self._client.call(b"UNLINK", arrival_key(ours))
        return Adoption.CREATED if made else Adoption.MERGED

    async def abandon(self) -> None:
        """The original is gone, or another session's by now: what we put, if it is there, must not live on."""
        if self._put is not None:
            (quoted_sandbox, record), self._put = self._put, None
            await self._undo(quoted_sandbox, record, unused=False)

    async def _take(self, record: SessionRecord, text: bytes) -> bool:
        """Remove the original; False if it is none any more, and then what we put may be gone again."""
        keys = (self._published, takeover_key(self._published))
        found = await TAKE.run(self._client, keys, (text, in_microseconds(record.created), NOTE_MILLISECONDS))
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
            if await self._undo(quoted_sandbox, record, unused=True):
                self._put = None

    async def _undo(self, quoted_sandbox: str, record: SessionRecord, unused: bool) -> bool:
        return await undo(self._client, quoted_sandbox, self._session_id, record, unused=unused, noted=self._noted)

    async def _drop_if_ended(self, keys: tuple[str, str], record: SessionRecord, text: bytes) -> None:
        """A session that was ended here may have been written back by a cache, or its move interrupted."""
        created, ended = in_microseconds(record.created), False
        for key in set(keys):
            moment = await self._client.call(b"GET", tombstone_key(key), replay=Replay.READ)
            ended = ended or (moment is not None and created <= int(moment))
        if self._noted and not ended:
            note = await self._client.call(b"GET", arrival_key(keys[0]), replay=Replay.READ)
            ended = note is not None and note.startswith(b"%d " % created)
        if ended:
            await DROP.run(self._client, (self._published,), (text,))


async def undo(
    client: Client, quoted_sandbox: str, session_id: str, record: SessionRecord, *, unused: bool, noted: bool
) -> bool:
    """Remove what was put as if it had not come, from its user's index too; whether it was there.

    ``unused``: only if it is as it was put. ``noted``: the note goes with it.
    """
    key = session_key(quoted_sandbox, session_id)
    keys = (key, index_key(quoted_sandbox, tag_in_key(key)), *((arrival_key(key),) if noted else ()))
    args = (in_microseconds(record.created), VERSION, *(encode_record(record) if unused else ()))
    reply: int | list[bytes] = await UNDO.run(client, keys, args)
    if isinstance(reply, list):
        await UserIndex(client, unquote_part(quoted_sandbox)).forget(reply[0])
    return bool(reply)


def is_same(put: tuple[str, SessionRecord], sandbox: str, record: SessionRecord) -> bool:
    """Whether what was put, and where, is the session that is to come now."""
    there, before = put
    return (there, before.created, before.user_id) == (sandbox, record.created, record.user_id)
