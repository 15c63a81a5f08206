"""Moving a session where no single step can have both of its keys: it is put at the target, then its original goes.

What goes on with the original is for the caller to do, between these steps of a ``Crossing``:

1. ``put`` it at the target.
2. Remove the original, if it still is what was read, and ``settle``.
3. If the original has changed, ``retreat``, read it again and begin anew: what this crossing made at the target is
   removed unless it has been used, so that nothing is left there of what is no more at the source. What was used is
   merged with what comes next, and so is what somebody else has put there (``stay``).
4. If the original is gone, ``abandon`` what this crossing made, or ``end`` the session at the target.

A target may remember that a session has come until its original is gone, for a run that is killed between 1 and 2.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

from chuk_sessions.providers.redis.index import UserIndex
from chuk_sessions.providers.redis.keys import arrival_key, index_key, quote_part, session_key, tag_in_key
from chuk_sessions.providers.redis.lua import load
from chuk_sessions.providers.redis.record import VERSION, encode_record, in_microseconds
from chuk_sessions.providers.redis.store import RedisSessionStore
from chuk_sessions.providers.redis.transfer.adopt import adopt
from chuk_sessions.redis_client.client import step
from chuk_sessions.redis_client.scripts import Script
from chuk_sessions.stores.adoption import Adoption

if TYPE_CHECKING:
    from chuk_sessions.models import SessionRecord
    from chuk_sessions.redis_client.client import Call, Client

__all__ = ["LEAD", "UNDO", "Crossing", "RedisTarget", "Target"]

UNDO = Script(load("transfer_undo"), bounded=False)
LEAD = Script(load("transfer_alias"))


class Target(Protocol):
    """Takes sessions; all methods raise ProviderError if the storage fails."""

    async def adopt(
        self, sandbox_id: str, session_id: str, record: SessionRecord, left: float, origin: str | None = None
    ) -> Adoption:
        """Put a session here that lives ``left`` seconds and comes from the sandbox ``origin``, if from another one.

        EXPIRED if it was ended here before: then it must not come back. Raises SessionError for metadata that cannot
        be stored.
        """

    async def settle(self, sandbox_id: str, session_id: str) -> None:
        """Its original is gone: what was remembered for the case of an interruption may be forgotten."""

    async def lead(self, sandbox_id: str, session_id: str, current_id: str, left: float) -> bool:
        """Let an old id lead to the session for ``left`` seconds more, if the old id is free here.

        False, and nothing was done, if sessions have one id here.
        """

    async def undo(self, sandbox_id: str, session_id: str, record: SessionRecord, unused: bool) -> bool:
        """Remove what was put here as if it had not come; ``unused``: only if it is as it was put. Whether it was."""

    async def end(self, sandbox_id: str, session_id: str) -> None:
        """Remove it, if it is here."""


class RedisTarget:
    """A database of a Redis server, or a cluster; each step is atomic.

    ``arrival``: it keeps an arrival key beside a session until ``settle`` (see ``transfer.adopt``). ``call``: the one
    that all methods are a part of; else each is a call of its own.
    """

    def __init__(self, client: Client, arrival: bool = True, call: Call | None = None) -> None:
        self._client = client
        self._arrival = arrival
        self._call = call

    def _begin(self) -> Call:
        return self._call or self._client.begin()

    async def adopt(
        self, sandbox_id: str, session_id: str, record: SessionRecord, left: float, origin: str | None = None
    ) -> Adoption:
        """See ``Target``; 0 seconds: as long as the record says."""
        to = (self._client, sandbox_id, session_id, record, left)
        return await adopt(*to, origin=origin, arrival=self._arrival, call=self._begin())

    async def settle(self, sandbox_id: str, session_id: str) -> None:
        """See ``Target``."""
        if self._arrival:
            await step(self._begin(), b"UNLINK", arrival_key(session_key(quote_part(sandbox_id), session_id)))

    async def lead(self, sandbox_id: str, session_id: str, current_id: str, left: float) -> bool:
        """See ``Target``."""
        key = session_key(quote_part(sandbox_id), session_id)
        await LEAD.run(self._client, (key,), (quote_part(current_id), math.ceil(left * 1000)))
        return True

    async def undo(self, sandbox_id: str, session_id: str, record: SessionRecord, unused: bool) -> bool:
        """See ``Target``; from its user's index too, and with the arrival key."""
        quoted, call = quote_part(sandbox_id), self._begin()
        key = session_key(quoted, session_id)
        keys = (key, index_key(quoted, tag_in_key(key)), *((arrival_key(key),) if self._arrival else ()))
        args = (in_microseconds(record.created), VERSION, *(encode_record(record) if unused else ()))
        reply: int | list[bytes] = await UNDO.step(call, keys, args)
        if isinstance(reply, list):
            await UserIndex(self._client, sandbox_id).forget(reply[0], call)
        return bool(reply)

    async def end(self, sandbox_id: str, session_id: str) -> None:
        """See ``Target``."""
        await RedisSessionStore(self._client, sandbox_id).delete(session_id)
        await self.settle(sandbox_id, session_id)


class Crossing:
    """One session on its way to a target; as many attempts as its original changes. Methods raise as the target's."""

    def __init__(self, target: Target, session_id: str) -> None:
        self._target = target
        self._session_id = session_id
        self._made: tuple[str, SessionRecord] | None = None  # in which sandbox what, by this crossing
        self.sandbox_id: str | None = None  # in which it is at the target now

    async def put(self, sandbox_id: str, record: SessionRecord, left: float, origin: str | None) -> Adoption:
        """As ``Target.adopt``."""
        if self._made is not None and not _is_same(self._made, sandbox_id, record):
            await self.abandon()
        self.sandbox_id = None
        outcome = await self._target.adopt(sandbox_id, self._session_id, record, left, origin)
        if outcome is Adoption.CREATED:
            self._made = sandbox_id, record
        if outcome > 0:
            self.sandbox_id = sandbox_id
        return outcome

    async def settle(self) -> None:
        """The original has been removed."""
        self.stay()
        if self.sandbox_id is not None:
            await self._target.settle(self.sandbox_id, self._session_id)

    def stay(self) -> None:
        """What is at the target is no longer for this crossing to remove."""
        self._made = None

    async def retreat(self) -> None:
        """The original has changed."""
        if self._made is not None:
            sandbox_id, record = self._made
            if await self._target.undo(sandbox_id, self._session_id, record, unused=True):
                self._made = None

    async def abandon(self) -> None:
        """The original is gone, another session's by now, or none that can be read: what was made must not live on."""
        if self._made is not None:
            (sandbox_id, record), self._made = self._made, None
            await self._target.undo(sandbox_id, self._session_id, record, unused=False)

    async def end(self) -> None:
        """The original was ended."""
        if self.sandbox_id is not None:
            await self._target.end(self.sandbox_id, self._session_id)


def _is_same(made: tuple[str, SessionRecord], sandbox_id: str, record: SessionRecord) -> bool:
    """Whether what was made, and where, is the session that is to come now."""
    there, before = made
    return (there, before.created, before.user_id) == (sandbox_id, record.created, record.user_id)
