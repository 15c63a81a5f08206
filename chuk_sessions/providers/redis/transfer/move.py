"""Moving a session from its legacy key into the new layout, within one database.

If one script may use both keys (on a lone server, or in one slot of a cluster), that script moves the session: see
``transfer.adopt``. If the keys are in different slots, the move is a ``Crossing`` between them:

1. The session is copied to the new key, unless it has a tombstone: a deletion writes the tombstone first.
2. The original is removed, if it has not changed since it was read. For a while a marker key beside it says which
   session was taken.
3. If the original is gone and there is no marker, another process has ended the session: the copy is removed again. If
   the legacy key holds another text, the copy is removed, unless it has been used, and the move begins anew with that
   text. A used copy is merged with it.

So a reader that looks under the legacy key before the new key finds the session at any moment. A session that a legacy
process ends at the same time may live on for a round trip; if this process dies in that moment, it lives on until it
expires.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chuk_sessions.providers.redis.keys import arrival_key, legacy_key, quote_part, session_key, takeover_key
from chuk_sessions.providers.redis.lua import load
from chuk_sessions.providers.redis.record import Encode, encode_metadata, in_microseconds
from chuk_sessions.providers.redis.transfer.adopt import adopt, was_ended
from chuk_sessions.providers.redis.transfer.crossing import Crossing, RedisTarget
from chuk_sessions.redis_client.client import step
from chuk_sessions.redis_client.commands import Replay
from chuk_sessions.redis_client.scripts import Script
from chuk_sessions.stores.adoption import Adoption

if TYPE_CHECKING:
    from chuk_sessions.models import SessionRecord
    from chuk_sessions.redis_client.client import Call, Client

__all__ = ["DROP", "TAKE", "Move"]

TAKEN_MS = 600_000  # longer than any process takes from the first step to the second
TAKEN, TAKEN_BEFORE, GONE, CHANGED, CHANGED_AFTER = 1, 2, 0, -1, -2

TAKE = Script(load("transfer_take"), bounded=False)
DROP = Script(load("transfer_drop"), bounded=False)


class Move(Crossing):
    """One session on its way, over as many attempts as its original changes. Call ``abandon`` if the original is gone.

    With ``arrival`` the first step leaves an arrival key, for a run that is killed before the second step. ``call`` is
    a call that all steps become a part of; without it each step is a call of its own. ``encode`` is as in
    ``RedisTarget``.
    """

    def __init__(
        self,
        client: Client,
        session_id: str,
        arrival: bool = False,
        call: Call | None = None,
        encode: Encode = encode_metadata,
    ) -> None:
        super().__init__(RedisTarget(client, arrival, call, encode), session_id)
        self._encode = encode
        self._client = client
        self._arrival = arrival
        self._call = call
        self._legacy = legacy_key(session_id)

    async def attempt(
        self, sandbox_id: str, record: SessionRecord, text: bytes, left: float, origin: str | None = None
    ) -> Adoption:
        """Move the session in ``text``, which its legacy key held when it was read. CHANGED if the text has changed.

        ``left`` are the seconds that the legacy key had to live then, 0 for a key without a TTL. ``origin`` and the
        errors are those of ``adopt``.
        """
        ours = session_key(quote_part(sandbox_id), self._session_id)
        if self._client.is_together(ours, self._legacy):
            to = (self._client, sandbox_id, self._session_id, record)
            return await adopt(*to, 0, (self._legacy, text), origin=origin, call=self._call, encode=self._encode)
        outcome = await self.put(sandbox_id, record, left, origin)
        if outcome is Adoption.EXPIRED:
            await self._drop_if_ended(ours, record, text, origin)
        return await self._take(record, text, outcome) if outcome > 0 else outcome

    def _begin(self) -> Call:
        return self._call or self._client.begin()

    async def _take(self, record: SessionRecord, text: bytes, outcome: Adoption) -> Adoption:
        """Remove the original. Return CHANGED if its text has changed; the copy may have been removed again then."""
        keys = (self._legacy, takeover_key(self._legacy))
        found = await TAKE.step(self._begin(), keys, (text, in_microseconds(record.created), TAKEN_MS))
        if found in (TAKEN, TAKEN_BEFORE):
            await self.settle()
            return outcome
        if found == GONE:
            await self.abandon()
        elif found == CHANGED:
            await self.retreat()
        else:
            self.stay()
        return Adoption.CHANGED

    async def _drop_if_ended(self, ours: str, record: SessionRecord, text: bytes, origin: str | None) -> None:
        """Remove a legacy session that was ended here: a cache has written it back, or its move was interrupted."""
        origin_key = ours if origin is None else session_key(quote_part(origin), self._session_id)
        ended = await was_ended(self._begin(), record, ours, origin_key)
        if self._arrival and not ended:
            came = await step(self._begin(), b"GET", arrival_key(ours), replay=Replay.READ)
            ended = came is not None and came.startswith(b"%d " % in_microseconds(record.created))
        if ended:
            await DROP.step(self._begin(), (self._legacy,), (text,))
