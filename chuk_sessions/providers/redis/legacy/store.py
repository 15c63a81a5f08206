"""``SESSION_LEGACY_READ=1``: takes over legacy sessions of the same server when a call asks for them.

Rules this file keeps:

* The new layout is read first. Only an id that is not there is looked up under the legacy key. A legacy session of this
  store's sandbox is moved (see ``transfer.move``) and then served like any other session.
* A decision about a legacy key holds for the text that was read: if the text has changed, it is read again.
* A deletion ends both copies in one step. It leaves a tombstone that lives as long as a legacy process could write its
  copy back. Where the two copies are in different slots of a cluster, the step that ends the copy in the new layout
  writes the tombstone; from then on no process takes the legacy copy over, and the next step removes it.
* A legacy text that cannot be decoded, or that belongs to another sandbox, is left alone.
* All steps of one method are one call, with one deadline.
* A full server ends no sessions: a call that only reads or validates is served from a legacy session that cannot be
  taken over.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from chuk_sessions.batches import batch, in_order, slices
from chuk_sessions.exceptions import MetadataError, OutOfMemoryError, ProviderError
from chuk_sessions.providers.redis.entries import integer_in, target_of
from chuk_sessions.providers.redis.index import UserIndex
from chuk_sessions.providers.redis.keys import (
    index_key,
    legacy_key,
    quote_part,
    session_key,
    tag_in_key,
    tombstone_key,
)
from chuk_sessions.providers.redis.legacy import document as legacy
from chuk_sessions.providers.redis.lua import load
from chuk_sessions.providers.redis.pages import PAGE
from chuk_sessions.providers.redis.record import VERSION, in_microseconds
from chuk_sessions.providers.redis.store import RedisSessionStore
from chuk_sessions.providers.redis.transfer.adopt import was_ended
from chuk_sessions.providers.redis.transfer.move import DROP, Move
from chuk_sessions.redis_client.commands import Replay, Reply
from chuk_sessions.redis_client.replies import unknown_shape
from chuk_sessions.redis_client.scripts import Script
from chuk_sessions.stores.adoption import Adoption
from chuk_sessions.stores.wrapper import StoreWrapper

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from chuk_sessions.codec import Metadata
    from chuk_sessions.models import SessionRecord
    from chuk_sessions.redis_client.client import Call, Client
    from chuk_sessions.stores.contract import Existing, Tell

__all__ = ["LegacyReadingStore"]

logger = logging.getLogger(__name__)

ATTEMPTS = 20  # how often a legacy key is read that changes each time
GRACE = 86_400_000  # milliseconds that a tombstone outlives the session: a legacy process may have extended its copy

PEEK = Script(load("legacy_peek"))
DELETE = Script(load("legacy_delete"), bounded=False)
KEEP_OUT = Script(load("legacy_keep_out"))
# If the new key and the legacy key are in different slots, these two scripts replace PEEK and DELETE.
TEXT = Script(load("legacy_text"))
END = Script(load("legacy_end"))

_told = False


class LegacyReadingStore(StoreWrapper):
    """A Redis store that also finds legacy sessions; see ``SessionStore``."""

    store: RedisSessionStore

    def __init__(self, store: RedisSessionStore, client: Client, sandbox_id: str) -> None:
        super().__init__(store)
        self._client = client
        self._sandbox_id = sandbox_id
        self._quoted = quote_part(sandbox_id)
        self._reported = False

    async def create(
        self, session_id: str, user_id: str | None, lifetime: float, metadata: Metadata, **options: Any
    ) -> Existing | None:
        """See ``SessionStore``."""
        call = self._client.begin()
        await self._import(call, session_id)
        if options.get("limit") and user_id is not None:
            call = await self._keep_out_oldest(call, session_id, user_id, options["limit"])
        return await self.store.create(session_id, user_id, lifetime, metadata, call=call, **options)

    async def read(self, session_id: str) -> SessionRecord | None:
        """See ``SessionStore``."""
        call = self._client.begin()
        record = await self.store.read(session_id, call)
        if record is not None:
            return record
        try:
            return await self.store.read(session_id, call) if await self._import(call, session_id) else None
        except OutOfMemoryError:
            return await self._read_published(call, session_id)

    async def touch(self, session_id: str, interval: float) -> bool:
        """See ``SessionStore``."""
        call = self._client.begin()
        if await self.store.touch(session_id, interval, call):
            return True
        try:
            return await self._import(call, session_id) and await self.store.touch(session_id, interval, call)
        except OutOfMemoryError:
            return await self._read_published(call, session_id) is not None

    async def open(self, session_id: str, interval: float, owner: str | None) -> SessionRecord | None:
        """See ``Openable``."""
        call = self._client.begin()
        record = await self.store.open(session_id, interval, owner, call)
        if record is not None:
            return record
        try:
            if await self._import(call, session_id):
                return await self.store.open(session_id, interval, owner, call)
            return None
        except OutOfMemoryError:
            record = await self._read_published(call, session_id)
            return None if record is None or owner not in (None, record.user_id) else record

    async def update(self, session_id: str, metadata: Metadata, replace: bool, **options: Any) -> bool:
        """See ``SessionStore``."""
        call = self._client.begin()
        args = (session_id, metadata, replace, call)
        if await self.store.update(*args, **options):
            return True
        return await self._import(call, session_id) and await self.store.update(*args, **options)

    async def increment(self, session_id: str, field: str, amount: int) -> int | None:
        """See ``SessionStore``."""
        call = self._client.begin()
        value = await self.store.increment(session_id, field, amount, call)
        if value is None and await self._import(call, session_id):
            return await self.store.increment(session_id, field, amount, call)
        return value

    async def extend(self, session_id: str, lifetime: float, **options: Any) -> bool:
        """See ``SessionStore``."""
        call = self._client.begin()
        for is_ours in (True, False):
            if not is_ours and not await self._import(call, session_id):
                break
            if options:  # otherwise a legacy process that knows a later deadline may bring the session back
                await self._keep_out(call, session_id)
            if await self.store.extend(session_id, lifetime, call, **options):
                return True
        return False

    async def delete(self, session_id: str) -> bool:
        """See ``SessionStore``."""
        return (await self._delete_as(session_id))[0]

    async def delete_all(self, session_ids: Sequence[str]) -> list[bool | Exception]:
        """See ``DeletingMany``."""
        return in_order(await batch([self._delete_as(session_id) for session_id in session_ids]))

    def tell_endings(self, tell: Tell) -> None:
        """See ``TellsEndings``."""
        self.store.tell_endings(tell)
        delete = self._delete_as

        async def delete_and_tell(session_id: str) -> tuple[bool, str]:
            ended, name = await delete(session_id)
            if ended:
                tell(name, None, "deleted")
            return ended, name

        self._delete_as = delete_and_tell  # type: ignore[method-assign]

    async def _delete_as(self, session_id: str) -> tuple[bool, str]:
        """End a session. Return whether there was one, and its id, which is another if ``session_id`` is an alias."""
        call = self._client.begin()
        while isinstance(found := await self._delete(call, session_id), str):
            session_id = found
        return found, session_id

    async def _delete(self, call: Call, session_id: str) -> bool | str:
        """End both copies. Return whether there was a session; if ``session_id`` is an alias, the id to end instead."""
        ours, published = session_key(self._quoted, session_id), legacy_key(session_id)
        if not self._client.is_together(ours, published):
            return await self._delete_apart(call, session_id, published)
        for _ in range(ATTEMPTS):
            text, _ = _pair(await PEEK.step(call, (ours, published), (), Replay.READ))
            record = None if text is None else self._decode(text)
            args = (text or b"", b"" if record is None else in_microseconds(record.created), GRACE, VERSION)
            reply: int | list[bytes] = await DELETE.step(call, (*self._keys(session_id), published), args)
            if (target := target_of(reply)) is not None:
                return target
            if isinstance(reply, list):
                await self._forget(ours, reply, call)
                return True
            if (found := integer_in(reply, "the script that deletes a session")) >= 0:
                return found > 0
        raise _restless()

    async def renew(self, session_id: str, new_id: str, grace: float, **options: Any) -> str | None:
        """See ``Renewable``."""
        call = self._client.begin()
        await self._import(call, session_id)
        user_id = options.get("user_id")
        # The method of the plain store: a near cache must not decide about a change.
        record = None if user_id is None else await RedisSessionStore.read(self.store, session_id, call)
        if user_id is None or (record is not None and record.user_id in (None, user_id)):
            await self._keep_out(call, session_id)
            if options.get("limit") and record is not None and record.user_id is None:
                call = await self._keep_out_oldest(call, new_id, options["user_id"], options["limit"])
        return await self.store.renew(session_id, new_id, grace, **options, call=call)

    async def delete_user(self, user_id: str, keep: frozenset[str]) -> int:
        """End their legacy copies too. A legacy session that was never taken over stays: its user is not indexed."""
        call = self._client.begin()
        listed = await self.store.list_user(user_id, call)
        is_large = len(listed) > PAGE  # its list and its end take as long as a call each
        call = self._client.begin() if is_large else call
        ending = [session_id for session_id, _ in listed if session_id not in keep]
        call = await self._for_each(self._keep_out, call, ending)
        ended = await self.store.delete_user(user_id, keep, call)
        call = self._client.begin() if is_large else call
        await self._for_each(self._import, call, ending)  # this removes the legacy copies that tombstones keep out
        return ended

    async def _for_each(
        self, step: Callable[[Call, str], Awaitable[object]], call: Call, session_ids: Sequence[str]
    ) -> Call:
        """Take a step for each session. Return the call for the steps that follow.

        If there is more than one page of sessions, each page is a call of its own, with its own deadline.
        """
        for page in slices(session_ids, PAGE):
            call = call if len(session_ids) <= PAGE else self._client.begin()
            await asyncio.gather(*(step(call, session_id) for session_id in page))
        return call if len(session_ids) <= PAGE else self._client.begin()

    async def _keep_out(self, call: Call, session_id: str) -> None:
        await KEEP_OUT.step(call, self._keys(session_id), (GRACE,))

    async def _keep_out_oldest(self, call: Call, session_id: str, user_id: str, limit: int) -> Call:
        """Keep out the sessions that the limit is about to end. Return the call for the steps that follow."""
        call, members = await UserIndex(self._client, self._sandbox_id).members(user_id, call)
        names = list(dict.fromkeys(member.session_id for member in members))
        oldest = () if session_id in names else names[: max(0, len(names) - limit + 1)]
        return await self._for_each(self._keep_out, call, oldest)

    async def _import(self, call: Call, session_id: str) -> bool:
        """Take the session over if it exists. Return whether the new layout may have it now."""
        move = Move(self._client, session_id, call=call, encode=self.store.encoder_of_one())
        for _ in range(ATTEMPTS):
            text, left, exists = await self._look(call, session_id)
            record = None if text is None else self._decode(text)
            if text is None or record is None:
                await move.abandon()
                return exists
            try:
                outcome = await move.attempt(self._sandbox_id, record, text, left)
            except MetadataError:  # the new layout cannot store this metadata
                self._report()
                await move.abandon()
                return exists
            if outcome is not Adoption.CHANGED:
                _tell(outcome)
                return outcome > 0
        raise _restless()

    async def _look(self, call: Call, session_id: str) -> tuple[bytes | None, float, bool]:
        """Return the legacy text, the seconds that its key lives (0: no end), and whether the new key may exist.

        A move writes the new key before it removes the legacy key. So the legacy key is read first.
        """
        ours, published = session_key(self._quoted, session_id), legacy_key(session_id)
        if self._client.is_together(ours, published):
            text, exists = _pair(await PEEK.step(call, (ours, published), (), Replay.READ))
            return text, 0.0, bool(exists)
        text, left = _pair(await TEXT.step(call, (published,), (), Replay.READ))
        return text, 0.0 if left < 0 else max(left, 1) / 1000, True

    def _keys(self, session_id: str) -> tuple[str, str, str]:
        """Return the keys of the session, of the index in its slot, and of its tombstone."""
        ours = session_key(self._quoted, session_id)
        return ours, index_key(self._quoted, tag_in_key(ours)), tombstone_key(ours)

    async def _read_published(self, call: Call, session_id: str) -> SessionRecord | None:
        """Read a legacy session that a full server could not take over: it is still alive under its legacy key."""
        published = legacy_key(session_id)
        text, left = _pair(await TEXT.step(call, (published,), (), Replay.READ))
        record = None if text is None else self._decode(text)
        if record is None:  # another process has ended it, or has taken it over since
            return await self.store.read(session_id, call)
        if await was_ended(call, record, session_key(self._quoted, session_id)):
            return None
        if left >= 0:
            record.expires = min(record.expires, await self._client.time_at(published, call) + left / 1000)
        return record

    async def _delete_apart(self, call: Call, session_id: str, published: bytes) -> bool | str:
        ended = False
        for _ in range(ATTEMPTS):
            text, left = _pair(await TEXT.step(call, (published,), (), Replay.READ))
            record = None if text is None else self._decode(text)
            created = b"" if record is None else in_microseconds(record.created)
            args = (VERSION, created, left, GRACE)
            reply: int | list[bytes] = await END.step(call, self._keys(session_id), args)
            if (target := target_of(reply)) is not None:
                return target
            if isinstance(reply, list):
                await self._forget(self._keys(session_id)[0], reply, call)
                ended = True
            else:
                ended = integer_in(reply, "the script that deletes a session") > 0 or ended
            if record is None or await DROP.step(call, (published,), (text or b"",)) != 0:
                return ended
        raise _restless()

    async def _forget(self, key: str, reply: Reply, call: Call) -> None:
        """Remove the entry of a session that was ended, from an index in another slot."""
        users = UserIndex(self._client, self._sandbox_id)
        await users.forget(users.elsewhere(key, reply, "the script that deletes a session")[0], call)

    def _decode(self, text: bytes) -> SessionRecord | None:
        """Decode a legacy document of this sandbox; return None for any other text."""
        found = legacy.decode(text)
        if found is None:
            self._report()
        return found.record if found is not None and found.sandbox_id == self._sandbox_id else None

    def _report(self) -> None:
        if not self._reported:
            self._reported = True
            logger.warning("A session that chuk-sessions 0.2 to 0.6 stored cannot be decoded; it is left alone.")


def _pair(reply: Reply) -> tuple[bytes | None, int]:
    """Check the reply of a script about a legacy key. Raises ProviderError for a reply of another shape."""
    match reply:
        case [bytes() | None as text, int(number)]:
            return text, number
    raise unknown_shape("the script that reads a legacy session")


def _restless() -> ProviderError:
    return ProviderError(f"gave up a session of 0.2 to 0.6: it changed {ATTEMPTS} times while it was read; try again")


def _tell(outcome: Adoption) -> None:
    """Log, once in a process, that there are legacy sessions and how to move all of them."""
    global _told
    if outcome > 0 and not _told:
        _told = True
        logger.warning(
            "Sessions of chuk-sessions 0.2 to 0.6 are being taken over as they are used. To move all others, run"
            " `python -m chuk_sessions migrate --from URL --to URL` with the URL of this server for both. When no"
            " process of an earlier version runs any more, unset SESSION_LEGACY_READ."
        )
