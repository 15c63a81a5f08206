"""Gives a session of nobody to a user, at a login: a new id with the slot tag of the user's index, and an index entry.

On a lone server, and if both ids are in one slot, one script does this. In a cluster the session moves to the slot of
the user's index, in three steps. The process may stop after each of them:

1. Put a copy under the new id. No client knows that id, no index has it, and the copy expires within ``COPY_LIVES``.
2. End the session under its old id, which may become an alias. If the session was changed since it was copied, begin
   again at 1.
3. Give the copy the deadlines of the session, and an entry in the index. To repeat this changes nothing.

Between 2 and 3 the old id may already lead to the copy. If a call gives the copy a deadline then, the copy keeps it. A
renewal waits until the copy is settled.

After a crash before 2 the session is unchanged. After a crash between 2 and 3 the user has to log in again: the copy
counts against no limit and expires.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from chuk_sessions.batches import in_background
from chuk_sessions.exceptions import NotSent, OutcomeUnknown, ProviderError, WrongTypeError
from chuk_sessions.ids import renewed_id, user_tag
from chuk_sessions.providers.redis.entries import fields_in, head_of, texts_in
from chuk_sessions.providers.redis.index import UserIndex
from chuk_sessions.providers.redis.keys import index_key, name_in_key, quote_part, session_key
from chuk_sessions.providers.redis.lua import load
from chuk_sessions.providers.redis.patience import Patience
from chuk_sessions.providers.redis.record import UNSETTLED_IDLE, VERSION, VERSIONS, in_microseconds, to_bytes
from chuk_sessions.providers.redis.scripts import MAX_LOOK, MAX_VICTIMS, UNREADABLE
from chuk_sessions.redis_client.client import Call, Client, step
from chuk_sessions.redis_client.commands import Argument, Replay, Reply
from chuk_sessions.redis_client.replies import as_dict, unknown_shape
from chuk_sessions.redis_client.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CHANGED", "OWN", "TAKEN", "Binding"]

TAKEN, OWN, CHANGED = -6, -7, -8  # replies
COPY_LIVES = 60_000_000  # microseconds
BIND = Script(load("bind", MAX_VICTIMS=MAX_VICTIMS, MAX_LOOK=MAX_LOOK))
PUT = Script(load("bind_put"), bounded=False)
LEAVE = Script(load("bind_leave"), bounded=False)
SETTLE = Script(load("bind_settle", MAX_VICTIMS=MAX_VICTIMS, MAX_LOOK=MAX_LOOK, UNSETTLED=UNSETTLED_IDLE))
NOT_COPIED = (b"accessed", b"expires")  # PUT writes these


@dataclass(frozen=True, slots=True)
class Binding:
    """The user who gets sessions of a sandbox, the metadata to merge into them, and how many the user may have."""

    client: Client
    users: UserIndex
    sandbox_id: str
    user_id: str
    fields: Sequence[bytes]
    grace: float
    limit: int

    async def bind(self, call: Call, key: str, new_id: str) -> tuple[Reply, str]:
        """Give the session with that key to the user. Return the reply of ``lua/bind.lua``, and the new id."""
        new_key = self._key(new_id)
        if not self.client.is_together(key, new_key):
            return await self._move(call, key, new_id)
        return await self._rename(call, key, new_key), new_id

    async def _rename(self, call: Call, key: str, new_key: str) -> Reply:
        """Give the session to the user in one step. Return the reply of BIND."""
        args = (*self._whose(new_key), *self.fields)
        return await self.users.with_room(call, BIND, (key, new_key, self._index()), args, self.user_id)

    def _whose(self, new_key: str) -> tuple[Argument, ...]:
        """Make the first arguments of BIND."""
        user = to_bytes(self.user_id)
        return VERSION, user, head_of(user, new_key), self.limit, in_microseconds(self.grace)

    async def _move(self, call: Call, key: str, new_id: str) -> tuple[Reply, str]:
        patience = Patience(self.client, call)
        while True:
            try:
                reply = await step(call, b"HGETALL", key, replay=Replay.READ)
            except WrongTypeError:
                return UNREADABLE, new_id
            record = as_dict(reply, "HGETALL")
            if not all(isinstance(each, bytes) for each in (*record, *record.values())):
                raise unknown_shape("HGETALL")
            if record.get(b"v") in VERSIONS:
                user = record.get(b"user")
                if user is not None:
                    return (OWN if user == to_bytes(self.user_id) else TAKEN), new_id
                new_key = self._key(new_id)
                await PUT.step(call, (new_key,), (COPY_LIVES, *self._copied(record, key, new_key)))
            reply = await self._leave(call, key, new_id, record)
            if reply != CHANGED:
                break
            call, new_id = await patience.pause(), renewed_id(new_id, time.time())
        if isinstance(reply, list) and len(reply) == 1:
            (left,) = texts_in(reply, "the script that ends a session under its old id", 1)
            return await self._settle(call, new_id, record, left), new_id
        return reply, new_id

    def _copied(self, record: dict[bytes, bytes], key: str, new_key: str) -> list[Argument]:
        """Make the fields of the copy under ``new_key``, each followed by its value."""
        return self._merged(record, new_key, self.fields)

    def _merged(self, record: dict[bytes, bytes], new_key: str, fields: Sequence[bytes]) -> list[Argument]:
        """Make the fields of a copy of the record with these fields of metadata."""
        user = to_bytes(self.user_id)
        copied: dict[bytes, Argument] = {name: value for name, value in record.items() if name not in NOT_COPIED}
        copied |= zip(fields[::2], fields[1::2], strict=True)
        copied |= {b"v": VERSION + b"+", b"user": user, b"head": head_of(user, new_key)}
        copied |= {b"idle": UNSETTLED_IDLE, b"end": _end(record)}
        return [part for pair in copied.items() for part in pair]

    async def _leave(self, call: Call, key: str, new_id: str, record: dict[bytes, bytes]) -> Reply:
        """End the session under its old id. Return the reply of LEAVE."""
        name, seen = name_in_key(self._key(new_id)), [part for pair in record.items() for part in pair]
        try:
            return await LEAVE.step(call, (key,), (VERSION, in_microseconds(self.grace), name, *seen))
        except NotSent:
            raise
        except (ProviderError, asyncio.CancelledError):
            if self.grace > 0:  # else no alias leads to the copy
                in_background(partial(self._settle_later, key, new_id, record))
            raise

    async def _settle(self, call: Call, new_id: str, record: dict[bytes, bytes], left: bytes) -> Reply:
        """Let the copy live as long as the session. If the call is given up, go on: an alias may lead to the copy."""
        try:
            return await self._settle_once(call, new_id, record, left)
        except (ProviderError, asyncio.CancelledError) as exc:
            in_background(lambda: self._settle_once(self.client.begin(), new_id, record))
            if isinstance(exc, asyncio.CancelledError):
                raise
            text = f"the session has ended under its old id, and its new one may not last: {exc}"
            raise OutcomeUnknown(text) from exc

    async def _settle_later(self, key: str, new_id: str, record: dict[bytes, bytes]) -> None:
        """Settle the copy if the session has left its old id; the outcome of LEAVE is not known."""
        call = self.client.begin()
        (name,) = fields_in(await step(call, b"HMGET", key, b"alias", replay=Replay.READ), "HMGET", 1)
        if name == name_in_key(self._key(new_id)).encode():
            await self._settle_once(call, new_id, record)

    async def _settle_once(self, call: Call, new_id: str, record: dict[bytes, bytes], left: bytes = b"") -> Reply:
        """Return the reply of SETTLE, which does not change a copy that is settled already."""
        keys = (self._key(new_id), self._index())
        head = head_of(to_bytes(self.user_id), keys[0])
        args = (VERSION, left, head, self.limit, record.get(b"idle", b"0"), _end(record))
        return await self.users.with_room(call, SETTLE, keys, args, self.user_id)

    def _index(self) -> str:
        return index_key(quote_part(self.sandbox_id), user_tag(self.sandbox_id, self.user_id))

    def _key(self, session_id: str) -> str:
        return session_key(quote_part(self.sandbox_id), session_id)


def _end(record: dict[bytes, bytes]) -> bytes:
    """Return the time when the session ends, however often it is touched; 0 for a record that cannot be read."""
    return record.get(b"end", record.get(b"expires", b"0"))
