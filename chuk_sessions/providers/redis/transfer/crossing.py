"""Moving a session whose two keys no single step can change: it is copied to the target, then the original is removed.

The caller handles the original, between these steps of a ``Crossing``:

1. ``put`` a copy at the target.
2. Remove the original, if it has not changed since it was read, and ``settle``.
3. If the original has changed, ``retreat``, read it again and begin anew. ``retreat`` removes the copy that this
   crossing made, unless the copy has been used, so that the target keeps no data that the source has lost. A used copy
   is merged with the next one, and so is a copy that another process has made (``stay``).
4. If the original is gone, ``abandon`` the copy that this crossing made, or ``end`` the session at the target.

A target may remember that a session has come, until its original is gone: for a run that is killed between 1 and 2.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

from chuk_sessions.providers.redis.index import UserIndex
from chuk_sessions.providers.redis.keys import arrival_key, index_key, quote_part, session_key, tag_in_key
from chuk_sessions.providers.redis.lua import load
from chuk_sessions.providers.redis.record import VERSION, Encode, encode_metadata, encode_record, in_microseconds
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
    """A place that takes sessions. All methods raise ProviderError if the storage fails."""

    async def adopt(
        self, sandbox_id: str, session_id: str, record: SessionRecord, left: float, origin: str | None = None
    ) -> Adoption:
        """Put a session here that lives ``left`` seconds. ``origin`` is the sandbox it comes from, if that is another.

        Return the outcome: EXPIRED if the session was ended here before, as it must not come back then. Raises
        SessionError for metadata that cannot be stored.
        """

    async def settle(self, sandbox_id: str, session_id: str) -> None:
        """Forget that the session has come: its original is gone."""

    async def lead(self, sandbox_id: str, session_id: str, current_id: str, left: float) -> bool:
        """Make ``session_id`` an alias of ``current_id`` for ``left`` seconds more, if ``session_id`` is free here.

        Return False, without doing anything, if this target has no aliases.
        """

    async def undo(self, sandbox_id: str, session_id: str, record: SessionRecord, unused: bool) -> bool:
        """Remove the session that ``adopt`` made, as if it had not come. Return whether it was removed.

        With ``unused`` remove it only if it has not changed since ``adopt``.
        """

    async def end(self, sandbox_id: str, session_id: str) -> None:
        """End the session, if it is here."""


class RedisTarget:
    """A database of a Redis server, or a cluster; each step is atomic.

    With ``arrival`` it keeps an arrival key beside a session until ``settle`` (see ``transfer.adopt``). ``call`` is a
    call that all methods become a part of; without it each method is a call of its own. ``encode`` makes the fields of
    the metadata, of one object always the same.
    """

    def __init__(
        self, client: Client, arrival: bool = True, call: Call | None = None, encode: Encode = encode_metadata
    ) -> None:
        self._client = client
        self._arrival = arrival
        self._call = call
        self._encode = encode

    def _begin(self) -> Call:
        return self._call or self._client.begin()

    async def adopt(
        self, sandbox_id: str, session_id: str, record: SessionRecord, left: float, origin: str | None = None
    ) -> Adoption:
        """See ``Target``; with ``left`` 0 the session lives as long as its record says."""
        to = (self._client, sandbox_id, session_id, record, left)
        return await adopt(*to, origin=origin, arrival=self._arrival, call=self._begin(), encode=self._encode)

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
        """See ``Target``; also removes its entry in the user's index and its arrival key."""
        quoted, call = quote_part(sandbox_id), self._begin()
        key = session_key(quoted, session_id)
        keys = (key, index_key(quoted, tag_in_key(key)), *((arrival_key(key),) if self._arrival else ()))
        args = (in_microseconds(record.created), VERSION, *(encode_record(record, self._encode, key) if unused else ()))
        reply: int | list[bytes] = await UNDO.step(call, keys, args)
        if isinstance(reply, list):
            users = UserIndex(self._client, sandbox_id)
            await users.forget(users.elsewhere(key, reply, "the script that takes a session back")[0], call)
        return bool(reply)

    async def end(self, sandbox_id: str, session_id: str) -> None:
        """See ``Target``."""
        await RedisSessionStore(self._client, sandbox_id).delete(session_id)
        await self.settle(sandbox_id, session_id)


class Crossing:
    """One session on its way to a target, over as many attempts as its original changes.

    The methods raise as those of the target.
    """

    def __init__(self, target: Target, session_id: str) -> None:
        self._target = target
        self._session_id = session_id
        self._made: tuple[str, SessionRecord] | None = None  # the copy that this crossing made, and its sandbox
        self.sandbox_id: str | None = None  # the sandbox in which the session is at the target now

    async def put(self, sandbox_id: str, record: SessionRecord, left: float, origin: str | None) -> Adoption:
        """Copy the session to the target, as ``Target.adopt`` does."""
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
        """Finish: the original has been removed."""
        self.stay()
        if self.sandbox_id is not None:
            await self._target.settle(self.sandbox_id, self._session_id)

    def stay(self) -> None:
        """Leave the session at the target: this crossing must not remove it any more."""
        self._made = None

    async def retreat(self) -> None:
        """Remove the copy if it is unused: the original has changed."""
        if self._made is not None:
            sandbox_id, record = self._made
            if await self._target.undo(sandbox_id, self._session_id, record, unused=True):
                self._made = None

    async def abandon(self) -> None:
        """Remove the copy: the original is gone, or its key now holds another session or an unreadable value."""
        if self._made is not None:
            (sandbox_id, record), self._made = self._made, None
            await self._target.undo(sandbox_id, self._session_id, record, unused=False)

    async def end(self) -> None:
        """End the session at the target: the original was ended."""
        if self.sandbox_id is not None:
            await self._target.end(self.sandbox_id, self._session_id)


def _is_same(made: tuple[str, SessionRecord], sandbox_id: str, record: SessionRecord) -> bool:
    """Tell whether the copy that was made is of this session, in this sandbox."""
    there, before = made
    return (there, before.created, before.user_id) == (sandbox_id, record.created, record.user_id)
