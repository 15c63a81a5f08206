"""The index of a user's sessions on Redis: reads it, changes it, and keeps it equal to the sessions that exist.

If the tag of the session is the tag of its user, session and index are in one slot, and one script changes both. With
any other id (chosen by a caller, or of a session that was brought here) the session is in another slot. Then a change
takes several steps, and the process may stop after each of them:

* A session gets its index entry before it is created. The entry is removed after the session is gone. So the index may
  have an entry without a session, but there is never a session without an entry.
* The entry has an incarnation: the time by the clock of the index's server, and random digits. The record has it too.
  Only the session of that incarnation is ended, and only its entry removed: a session that is allocated anew under the
  same id is another one.
* If a session is in the index but its key does not exist, another process may still be creating it. Whoever ends it
  writes a marker key; the pending create sees the marker and stops. See ``lua/kill.lua``.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from os import urandom
from typing import Any, NamedTuple, cast

from chuk_sessions.batches import in_background, slices
from chuk_sessions.exceptions import NotSent, OutcomeUnknown, ProviderError
from chuk_sessions.ids import user_tag
from chuk_sessions.providers.redis.entries import (
    ELSEWHERE,
    MARK_BYTES,
    Member,
    fields_in,
    form_of,
    integer_in,
    mark_of,
    member_of,
    moment_in,
    number_in,
    parse_member,
    target_of,
    texts_in,
)
from chuk_sessions.providers.redis.keys import (
    id_in_key,
    index_key,
    marker_key,
    name_in_key,
    quote_part,
    session_key,
)
from chuk_sessions.providers.redis.pages import (
    BEGINNING,
    PAGE,
    Page,
    Place,
    read_page,
)
from chuk_sessions.providers.redis.patience import Patience
from chuk_sessions.providers.redis.record import VERSION, in_microseconds, to_bytes, to_text
from chuk_sessions.providers.redis.scripts import (
    ABSENT,
    CONDEMNED,
    CREATE,
    DOOMED,
    END,
    EXTEND,
    FILE,
    KILL,
    LOWER,
    MAX_VICTIMS,
    MOVE,
    RENEW,
    RETIME,
    VISIT,
)
from chuk_sessions.providers.redis.telling import telling, told
from chuk_sessions.redis_client.client import Call, Client, step
from chuk_sessions.redis_client.commands import Argument, Replay, Reply
from chuk_sessions.redis_client.replies import unknown_shape
from chuk_sessions.redis_client.scripts import Script
from chuk_sessions.stores.contract import Tell

__all__ = ["CLOCK_SLACK", "UserIndex"]

ENDED = 100  # sessions that are ended in one step
SLICE = 100  # commands of one call that are in flight at once: other calls are served in between
MARKER_MS = 3_600_000  # how long a marker lives: far longer than a create takes
UNDER_WAY = 60_000_000  # microseconds: every create takes less, from its first step to its last
CLOCK_SLACK = 2_000_000  # microseconds by which the clocks of two masters may differ
OTHER = -4
MIN_FILED, MAX_FILED = 86_400_000_000, 9_000_000_000_000_000  # microseconds that the entry of a brought session lives


class Why(NamedTuple):
    """Why sessions end, for whoever is told of it: the reason of ``TellsEndings``, and the user if that is known."""

    reason: str
    user_id: str | None


class UserIndex:
    """The users of one sandbox and their sessions. Errors are those of ``Client.call``.

    ``call`` is the call that a method is a part of. For a user with up to a page of sessions all commands have the age
    of that call. For a user with more sessions the commands for each page have the time of a call of their own: so the
    work for a large user ends, and a server that stalls in between is given up as soon as in any call.
    """

    def __init__(self, client: Client, sandbox_id: str) -> None:
        self._client = client
        self._sandbox_id = sandbox_id
        self._sandbox = quote_part(sandbox_id)
        self.tell: Tell | None = None  # see ``TellsEndings``

    async def page(self, call: Call, user_id: str, place: Place = BEGINNING, size: int = PAGE) -> Page:
        """Read some live sessions of a user; see ``read_page``."""
        return await read_page(call, *self._whose(user_id), place, size=size)

    async def members(self, user_id: str, call: Call | None = None) -> tuple[Call, list[Member]]:
        """Return a call for the next step, and the live sessions of a user, oldest first."""
        call, _, _, members = await self._all(call or self._client.begin(), *self._whose(user_id))
        return call, members

    async def _all(self, call: Call, index: str, mark: bytes) -> tuple[Call, int, int, list[Member]]:
        """Return four things: a call for the next step, the time, how many sessions others have, the user's sessions.

        The number counts the live sessions of other users in the index. The sessions of the user come oldest first.
        """
        page = await read_page(call, index, mark)
        now, others, found = page.now, page.seen - len(page.members), {each.raw: each for each in page.members}
        while page.next is not None:
            call = self._client.begin()
            page = await read_page(call, index, mark, page.next)
            others += page.seen - len(page.members)
            found.update((each.raw, each) for each in page.members)
        return call, now, others, sorted(found.values(), key=lambda member: member.born)

    async def with_room(
        self, call: Call, script: Script, keys: tuple[str, ...], args: tuple[Argument, ...], user_id: str | None
    ) -> Reply:
        """Run a script that adds to the index. Run it again with the keys of the sessions that must end to make room.

        The index is the last of ``keys``. The third argument begins with the mark of the user, and the fourth is the
        limit. Another client may have added sessions in the meantime, whose keys the script did not get. The script
        condemns these sessions, and they are ended here.
        """
        reply = await script.step(call, keys, args)
        if not isinstance(reply, list) or not reply or reply[0] != 0:
            return reply
        if self.tell is not None:
            script = telling(script)
        patience, limit, why = Patience(self._client, call), int(args[3]), Why("limit", user_id)
        mark = cast(bytes, args[2])[:MARK_BYTES]
        while isinstance(reply, list) and reply and reply[0] == 0:
            before = await patience.pause()
            call, victims, most = await self._make_room(before, keys[-1], mark, limit, reply, why)
            if call is not before:
                patience = Patience(self._client, call)
            reply = await script.step(call, keys + victims, (*args[:3], -most, *args[4:]))
        if self.tell is not None:
            ended, reply = told(reply)
            for key in ended:
                self._tell(id_in_key(self._sandbox, key), why)
        if isinstance(reply, list) and len(reply) > 1 and reply[0] == DOOMED:
            await self._end_doomed(call, keys[-1], reply[2:], why)
            return reply[1]
        return reply

    async def _make_room(
        self, call: Call, index: str, mark: bytes, limit: int, reply: list[Any], why: Why, apart: bool = False
    ) -> tuple[Call, tuple[str, ...], int]:
        """Return three things: a call for the next step, the keys that the script may end, the most entries to leave.

        The call is another one if the user has more than a page of sessions. Entries of sessions that have ended, which
        the script cannot see, are removed now. The oldest sessions end now if they are many, or if the script cannot
        end them: a script that is ``apart`` ends no session, and no script can end sessions in other slots.
        """
        if len(reply) < 2 or not all(isinstance(each, int) for each in reply[:3]):
            raise unknown_shape("the script that makes room")
        excess, condemned, *raw = reply[1:] if len(reply) > 2 else (-1, 0)
        if excess < 0 or excess >= MAX_VICTIMS:
            call, others = await self._reduce(call, index, mark, why, limit - 1)
            return call, (), limit + others
        members = [parse_member(index, member) for member in raw]
        left, live = members[:condemned], members[condemned:]
        must = apart or any(member.elsewhere for member in live[:excess])
        if must or len(live) >= MAX_VICTIMS or any(member.elsewhere for member in live):
            call, _ = await self._reduce(call, index, mark, why, limit - 1 if must else None)
        if any(member.elsewhere for member in left):
            in_background(partial(self._end_later, index, [member for member in left if member.elsewhere], why))
        return call, tuple(self._key(member) for member in members if not member.elsewhere), limit

    async def _reduce(self, call: Call, index: str, mark: bytes, why: Why, most: int | None = None) -> tuple[Call, int]:
        """Remove the entries of sessions that ended unseen, without a touch. End the oldest until ``most`` are left.

        Returns the call for the next step, and how many live sessions other users have in the index.
        """
        call, now, others, members = await self._all(call, index, mark)
        large = len(members) > PAGE
        stands: list[bool] = []
        for each_call, page in self._by_pages(call, members):
            for part in slices(page, SLICE):
                stands += await asyncio.gather(*(self._stands(each_call, member) for member in part))
        pairs = list(zip(members, stands, strict=True))
        births = {each.born for each, there in pairs if there}  # a session that is being renewed has two entries

        def is_over(each: Member) -> bool:
            return not each.elsewhere or now - each.filed > UNDER_WAY or each.born in births

        gone = {each.raw for each, there in pairs if not there and is_over(each)}
        call = self._client.begin() if large else call
        await self._end(call, index, [each for each in members if each.raw in gone], why, unseen=True)
        left = [each for each in members if each.raw not in gone]
        if most is not None and len(left) > most:
            call = self._client.begin() if large else call
            await self._end(call, index, left[: len(left) - most], why)
        return self._client.begin() if large else call, others

    def _by_pages(self, call: Call, members: Sequence[Member]) -> Iterator[tuple[Call, Sequence[Member]]]:
        """Yield a page of the members at a time, with the call for the commands of that page."""
        for page in slices(members, PAGE):
            yield call, page
            call = self._client.begin()

    async def _end_doomed(self, call: Call, index: str, raw: list[bytes], why: Why) -> None:
        """End sessions that a script condemned. If this fails, end them later."""
        members = [parse_member(index, member) for member in raw]
        try:
            await self._end(call, index, members, why)
        except (ProviderError, asyncio.CancelledError) as exc:
            in_background(partial(self._end_later, index, members, why))
            if isinstance(exc, asyncio.CancelledError):
                raise

    async def _end_later(self, index: str, members: list[Member], why: Why) -> None:
        await self._end(self._client.begin(), index, members, why)

    async def _stands(self, call: Call, member: Member) -> bool:
        """Tell whether the session exists. If it does not, another process may still be creating it."""
        reply = await step(call, b"HMGET", self._key(member), b"created", b"inc", replay=Replay.READ)
        created, incarnation = fields_in(reply, "HMGET", 2)
        if member.elsewhere:
            return member.incarnation == incarnation
        return created is not None and created.isdigit() and member.born == moment_in(created)

    async def create_elsewhere(
        self, call: Call, key: str, user_id: str, lifetime: int, idle: int, fields: list[bytes], limit: int
    ) -> Reply:
        """Create a session in another slot than its user's index. Return the reply of CREATE."""
        reply = await VISIT.step(call, (key,), (VERSION,))
        if reply != ABSENT:
            return reply
        incarnation, call = await self._file(key, user_id, lifetime, limit, call)
        member = self.member(key, to_bytes(user_id), incarnation)
        args: tuple[Argument, ...] = (VERSION, lifetime, b"", 0, idle, incarnation, *fields)
        try:
            reply = await CREATE.step(call, (key, self._marker(member)), args)
        except (ProviderError, ValueError, asyncio.CancelledError):
            in_background(partial(self._kill_later, member))
            raise
        if reply not in (ABSENT, CONDEMNED):
            await self.forget(member, call)
        return reply

    async def bring(
        self,
        key: str,
        user_id: str,
        left: float,
        adopt: Callable[[bytes], Awaitable[int]],
        call: Call | None = None,
    ) -> int:
        """Bring a session from other storage into another slot than its user's index. Return the result of ``adopt``.

        ``adopt`` is called with the incarnation to write. If the session exists already, this is its incarnation.
        ``adopt`` gives 1 if it created the session, 2 if it merged two, and ``OTHER`` if the existing session is
        another incarnation.
        """
        lifetime = min(max(in_microseconds(left), MIN_FILED), MAX_FILED) if math.isfinite(left) else MIN_FILED
        call = call or self._client.begin()
        patience = Patience(self._client, call)
        while True:
            (there,) = fields_in(await step(call, b"HMGET", key, b"inc", replay=Replay.READ), "HMGET", 1)
            incarnation = there or (await self._file(key, user_id, lifetime, 0, call))[0]
            member = self.member(key, to_bytes(user_id), incarnation)
            try:
                outcome = await adopt(member.incarnation)
            except BaseException:
                if not there:
                    in_background(partial(self._take_out_later, member))
                raise
            if outcome in (1, 2):
                await self._follow(call, key, member)
                return outcome
            if not there:
                await self.forget(member, call)
            if outcome != OTHER:
                return outcome
            call = await patience.pause()

    async def _follow(self, call: Call, key: str, member: Member) -> None:
        """Move the deadline in the index to the deadline of the record."""
        reply = await step(call, b"HMGET", key, b"expires", b"end", replay=Replay.READ)
        expires, end = fields_in(reply, "HMGET", 2)
        if expires is not None:
            args = (member.raw, number_in(end or expires) + CLOCK_SLACK)
            await MOVE.step(call, (member.index_key,), args)

    def member(self, key: str, user: bytes, incarnation: bytes) -> Member:
        """Make the entry of a session of that incarnation. Raises ProviderError for a text that is no incarnation."""
        return member_of(self.key_of(to_text(user)), key, user, incarnation)

    def elsewhere(self, key: str, reply: Reply, name: str, size: int = 2) -> tuple[Member, list[bytes]]:
        """Return the entry of which the reply of a script tells the incarnation and the user; and what else it tells.

        Raises ProviderError for another reply than one of ``size`` texts.
        """
        incarnation, user, *rest = texts_in(reply, name, size)
        return self.member(key, user, incarnation), rest

    async def _file(self, key: str, user_id: str, lifetime: int, limit: int, call: Call) -> tuple[bytes, Call]:
        """Put an entry into the index. Return its incarnation, and the call for the next step."""
        (index, mark), digits, why = self._whose(user_id), urandom(8).hex(), Why("limit", user_id)
        args = (mark + ELSEWHERE, digits, name_in_key(key), lifetime + CLOCK_SLACK, limit)
        reply = await self._try_to_file(call, key, user_id, digits, args)
        patience = Patience(self._client, call) if reply[0] == 0 else None
        while patience is not None and reply[0] == 0:
            before = await patience.pause()
            call, _, most = await self._make_room(before, index, mark, limit, reply, why, apart=True)
            if call is not before:
                patience = Patience(self._client, call)
            reply = await self._try_to_file(call, key, user_id, digits, (*args[:4], -most))
        await self._end_doomed(call, index, reply[1:], why)
        return reply[0], call

    async def _try_to_file(
        self, call: Call, key: str, user_id: str, digits: str, args: tuple[Argument, ...]
    ) -> list[Any]:
        """Return the reply of FILE."""
        try:
            reply = await FILE.step(call, (self.key_of(user_id),), args)
        except NotSent:
            raise
        except (ProviderError, asyncio.CancelledError):  # the entry may exist, with a time that is not known
            in_background(partial(self._take_out_filed, key, user_id, digits))
            raise
        if not isinstance(reply, list) or not reply or not (reply[0] == 0 or isinstance(reply[0], bytes)):
            raise unknown_shape("the script that files a session")
        return reply

    async def _take_out_filed(self, key: str, user_id: str, digits: str) -> None:
        end = f".{digits}".encode()
        call, members = await self.members(user_id)
        for member in members:
            if member.incarnation.endswith(end) and self._key(member) == key:
                await self._take_out(call, member)

    async def renew(
        self, call: Call, keys: tuple[str, str, str], grace: int, fields: Sequence[bytes] = (), owner: bytes = b""
    ) -> Reply:
        """Rename a session and merge metadata. Return the reply of RENEW.

        The index gets the new id no later than the session's own slot. ``owner`` is ``=`` and the user whose session it
        must be, or empty.
        """
        last = (owner, form_of(keys[1]), *fields)
        unseen: tuple[Argument, ...] = (VERSION, grace, b"", b"", b"", *last)
        reply: int | list[bytes] = await RENEW.step(call, (*keys, keys[1]), unseen)
        if isinstance(reply, int) or target_of(reply) is not None:
            return reply
        patience = Patience(self._client, call)
        while True:
            old, (seen, now) = self.elsewhere(keys[0], reply, "the script that renews a session", 4)
            deadline = number_in(seen)
            incarnation = b"%d.%b.%b" % (old.born, urandom(8).hex().encode(), now)
            new = member_of(old.index_key, keys[1], reply[1], incarnation)
            args: tuple[Argument, ...] = (VERSION, grace, old.incarnation, seen, incarnation, *last)
            try:
                await MOVE.step(call, (new.index_key,), (new.raw, deadline + CLOCK_SLACK, old.raw))
                call = await patience.pause()
                reply = await RENEW.step(call, (*keys, self._marker(new)), args)
            except (ProviderError, asyncio.CancelledError):
                in_background(partial(self._settle_renewal, old, new))
                raise
            await self.forget(old if reply == 1 else new, call)
            if reply == CONDEMNED:  # a login took the entry for that of a failed create; the session lives
                reply = await RENEW.step(call, (*keys, keys[1]), unseen)
            if isinstance(reply, int) or target_of(reply) is not None:
                return reply

    async def _settle_renewal(self, old: Member, new: Member) -> None:
        """Remove the entry under the id that the session does not have and will not get."""
        call = self._client.begin()
        renewed = await self._doom(call, new, unseen=True) < 0
        await self._take_out(call, old if renewed else new)

    async def extend(self, call: Call, keys: tuple[str, str], lifetime: int) -> Reply:
        """Move the deadline later, in the index no later than in the record. Return the reply of EXTEND."""
        reply: int | list[bytes] = await EXTEND.step(call, keys, (VERSION, lifetime, b""))
        if isinstance(reply, int) or target_of(reply) is not None:
            return reply
        patience = Patience(self._client, call)
        while True:
            member, (seen,) = self.elsewhere(keys[0], reply, "the script that extends a session", 3)
            args = (member.raw, number_in(seen) + lifetime + CLOCK_SLACK)
            await MOVE.step(call, (member.index_key,), args)
            call = await patience.pause()
            reply = await EXTEND.step(call, keys, (VERSION, lifetime, seen))
            if isinstance(reply, int) or target_of(reply) is not None:
                await self._forget_ended(call, member, reply)
                return reply

    async def retime(self, call: Call, keys: tuple[str, str], span: int) -> Reply:
        """Move the deadline to ``span`` from now, later or earlier. Return the reply of RETIME.

        An entry in another slot is moved before the record if the new deadline is later, and after it if it is earlier.
        If another call moves the deadline in between, that call has moved the entry too, and the entry stays as it is.
        """
        reply: int | list[bytes] = await RETIME.step(call, keys, (VERSION, span, b"", b""))
        if isinstance(reply, int) or target_of(reply) is not None:
            return reply
        patience = Patience(self._client, call)
        while True:
            member, (seen, ends) = self.elsewhere(keys[0], reply, "the script that sets a deadline", 4)
            deadline = number_in(ends) + CLOCK_SLACK
            moved = await MOVE.step(call, (member.index_key,), (member.raw, deadline))
            filed = integer_in(moved, "the script that moves an index entry")
            call = await patience.pause()
            reply = await RETIME.step(call, keys, (VERSION, span, seen, ends))
            if isinstance(reply, int) or target_of(reply) is not None:
                await self._forget_ended(call, member, reply)
                if reply == 1 and filed > math.ceil(deadline / 1000):
                    await self._lower(call, member, filed, deadline)
                return reply

    async def _forget_ended(self, call: Call, member: Member, reply: Reply) -> None:
        """Remove the moved entry of a session that no longer exists under its id: the move has put the entry back."""
        if reply == ABSENT or target_of(reply) is not None:
            await self.forget(member, call)

    async def _lower(self, call: Call, member: Member, filed: int, deadline: int) -> None:
        """Move an entry's deadline nearer. If this fails, the entry stays like that of a session that ended unseen."""
        with suppress(ProviderError):
            await LOWER.step(call, (member.index_key,), (member.raw, filed, deadline))

    async def forget(self, member: Member, call: Call | None = None) -> None:
        """Remove the entry of a session that is gone. If this fails, remove it later: the session stays gone."""
        try:
            await self._take_out(call or self._client.begin(), member)
        except (ProviderError, asyncio.CancelledError) as exc:
            in_background(partial(self._take_out_later, member))
            if isinstance(exc, asyncio.CancelledError):
                raise

    async def _take_out_later(self, member: Member) -> None:
        await self._take_out(self._client.begin(), member)

    async def _kill_later(self, member: Member, unseen: bool = False) -> None:
        call = self._client.begin()
        if await self._doom(call, member, unseen) >= 0:
            await self._take_out(call, member)

    async def _take_out(self, call: Call, member: Member) -> None:
        await step(call, b"ZREM", member.index_key, member.raw)

    async def forget_record(self, key: str, fields: Mapping[bytes, bytes]) -> None:
        """Remove the entry of a session that is gone, by the fields that its hash had."""
        user = fields.get(b"user")
        if user is not None:
            incarnation = fields.get(b"inc", fields.get(b"created", b"") + b".")
            await self.forget(self.member(key, user, incarnation))

    async def end_all(
        self,
        call: Call,
        user_id: str,
        keep: frozenset[str],
        live_name: Callable[[Call, str], Awaitable[tuple[str, int] | None]],
    ) -> int:
        """End the user's sessions that were created before the call, except ``keep``. Return how many were ended.

        ``live_name`` finds the current id for an id, and the time when that session was created.
        """
        index, mark = self._whose(user_id)
        page = await read_page(call, index, mark, condemned=True)
        # Ask for these after the members: a session that gets a new id meanwhile is a member under its old id.
        kept = [name for name in await asyncio.gather(*(live_name(call, each) for each in keep)) if name is not None]
        keep, births = keep.union(name for name, _ in kept), {born for _, born in kept}
        births.update(each.born for each in page.members if each.session_id in keep)
        cutoff, ended, seen, found = page.now, 0, set[bytes](), True
        members, large = page.members, False
        while found:  # a session that got a new id while others were ended keeps its creation time
            found = False
            while True:
                seen.update(member.raw for member in members)
                found = found or bool(members)
                going = [each for each in members if each.session_id not in keep and each.born not in births]
                ended += await self._end(call, index, going, Why("user", user_id))
                if page.next is None:
                    break
                large, call = True, self._client.begin()
                page = await read_page(call, index, mark, page.next, condemned=True)
                members = _unseen(page, cutoff, seen)
            if found:
                call = self._client.begin() if large else call
                page = await read_page(call, index, mark, condemned=True)
                members = _unseen(page, cutoff, seen)
        return ended

    async def _end(self, call: Call, index: str, members: list[Member], why: Why, unseen: bool = False) -> int:
        """End these sessions in any slot. Return how many existed. With ``unseen`` end only those that do not exist."""
        ended, end = 0, self._end_part if self.tell is None else self._end_each
        for each_call, page in self._by_pages(call, members):
            for some in slices([member for member in page if member.elsewhere], SLICE):
                ended += await self._kill(each_call, some, why, unseen)
            for part in slices([member for member in page if not member.elsewhere], ENDED):
                ended += await end(each_call, index, part, why)
        return ended

    async def _end_part(self, call: Call, index: str, members: Sequence[Member], why: Why) -> int:
        """End sessions in the slot of their index, in one step. Return how many existed."""
        keys = (index, *(self._key(member) for member in members))
        reply = await END.step(call, keys, tuple(member.raw for member in members))
        return integer_in(reply, "the script that ends sessions")

    async def _end_each(self, call: Call, index: str, members: Sequence[Member], why: Why) -> int:
        """Do the same in a step for each, to tell which of them existed."""

        async def end(member: Member) -> int:
            ended = await self._end_part(call, index, (member,), why)
            if ended:
                self._tell(member.session_id, why)
            return ended

        return sum(await asyncio.gather(*map(end, members)))

    def _tell(self, session_id: str | None, why: Why) -> None:
        if self.tell is not None and session_id is not None:
            self.tell(session_id, why.user_id, why.reason)

    async def _kill(self, call: Call, members: Iterable[Member], why: Why, unseen: bool = False) -> int:
        return sum(await asyncio.gather(*(self._kill_one(call, each, why, unseen) for each in members)))

    async def _kill_one(self, call: Call, member: Member, why: Why, unseen: bool = False) -> int:
        try:
            ended = await self._doom(call, member, unseen)
        except (OutcomeUnknown, asyncio.CancelledError):  # if the session was ended, its entry must not stay
            in_background(partial(self._kill_later, member, unseen=True))
            raise
        if ended < 0:  # the session was created since the caller looked: it lives, and keeps its entry
            return 0
        if ended:
            self._tell(member.session_id, why)
        await self.forget(member, call)
        return ended

    async def _doom(self, call: Call, member: Member, unseen: bool = False) -> int:
        """Return the reply of KILL."""
        keys = (self._key(member), self._marker(member))
        reply = await KILL.step(call, keys, (member.incarnation, MARKER_MS, int(unseen)))
        return integer_in(reply, "the script that ends a session")

    def key_of(self, user_id: str) -> str:
        """Return the key of the index that has the sessions of a user."""
        return index_key(self._sandbox, user_tag(self._sandbox_id, user_id))

    def _whose(self, user_id: str) -> tuple[str, bytes]:
        """Return the index of a user, and the mark of the user's entries."""
        return self.key_of(user_id), mark_of(to_bytes(user_id))

    def _key(self, member: Member) -> str:
        return session_key(self._sandbox, member.session_id)

    def _marker(self, member: Member) -> str:
        return marker_key(self._sandbox, member.session_id, member.incarnation)


def _unseen(page: Page, cutoff: int, seen: set[bytes]) -> list[Member]:
    """Those entries of a page that were not seen yet, and are of sessions that were created by a certain time.

    What is to be created only in the future was created before the server's clock was set back, or another server,
    whose clock is behind, took over.
    """
    return [each for each in page.members if not cutoff < each.born <= page.now and each.raw not in seen]
