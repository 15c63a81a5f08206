"""Moving a session from its legacy key into our layout, in one database.

Where one script may have both keys (a lone server, or one slot of a cluster) it is that script: see ``transfer.adopt``.
Else two servers have a part of it each, and it is a ``Crossing`` from one to the other:

1. The session is put under our key, unless its tombstone is there: who ends a session leaves that first.
2. The original is removed, if it still is what was read, and for a while a key beside it says whose it was.
3. If it is gone without such a key, somebody ended it: what we put is removed again. If it is another text, what we
   put is removed unless it has been used, and all begins anew with that text; what was used is merged with it.

So the session is in one place or the other at any moment, for whoever looks under the legacy key before ours. One that
a legacy process ends at the same time may live on for a round trip, and if this process dies in just that moment, until
it expires.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chuk_sessions.providers.redis.keys import arrival_key, legacy_key, quote_part, session_key, takeover_key
from chuk_sessions.providers.redis.lua import load
from chuk_sessions.providers.redis.record import in_microseconds
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
    """One session on its way; as many attempts as its original changes, and ``abandon`` if it is not there any more.

    ``arrival``: an arrival key is left in the first step, for a run that is killed before the second. ``call``: the one
    that this is a part of; else each step is a call of its own.
    """

    def __init__(self, client: Client, session_id: str, arrival: bool = False, call: Call | None = None) -> None:
        super().__init__(RedisTarget(client, arrival, call), session_id)
        self._client = client
        self._arrival = arrival
        self._call = call
        self._legacy = legacy_key(session_id)

    async def attempt(
        self, sandbox_id: str, record: SessionRecord, text: bytes, left: float, origin: str | None = None
    ) -> Adoption:
        """Move the session that ``text`` held when it was read; CHANGED if it does not hold that any more.

        ``left`` are the seconds that its key had to live then, 0 for one without an end; ``origin`` is as in
        ``adopt``. Raises as that.
        """
        ours = session_key(quote_part(sandbox_id), self._session_id)
        if self._client.is_together(ours, self._legacy):
            to = (self._client, sandbox_id, self._session_id, record)
            return await adopt(*to, 0, (self._legacy, text), origin=origin, call=self._call)
        outcome = await self.put(sandbox_id, record, left, origin)
        if outcome is Adoption.EXPIRED:
            await self._drop_if_ended(ours, record, text, origin)
        return await self._take(record, text, outcome) if outcome > 0 else outcome

    def _begin(self) -> Call:
        return self._call or self._client.begin()

    async def _take(self, record: SessionRecord, text: bytes, outcome: Adoption) -> Adoption:
        """Remove the original; CHANGED if it is none any more, and then what we put may be gone again."""
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
        """A session that was ended here may have been written back by a cache, or its move interrupted."""
        origin_key = ours if origin is None else session_key(quote_part(origin), self._session_id)
        ended = await was_ended(self._begin(), record, ours, origin_key)
        if self._arrival and not ended:
            came = await step(self._begin(), b"GET", arrival_key(ours), replay=Replay.READ)
            ended = came is not None and came.startswith(b"%d " % in_microseconds(record.created))
        if ended:
            await DROP.step(self._begin(), (self._legacy,), (text,))
