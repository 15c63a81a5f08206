"""The index of a user's sessions on Redis: who is in it, and what keeps it equal to the sessions there are.

Where the session's tag is its user's, session and index are in one slot and every change of both is one script. Any
other id (one that a caller chose, or that was brought here) has its session in another slot, so that a change takes
several steps, each safe to be the last one:

* It is filed in the index before it is created, and taken out after it is gone: the index may name a session that is
  not there, never the other way round.
* What is filed is an incarnation: the time by the index's clock and random digits, also in the record. Only that
  incarnation is ended or taken out, so that a session allocated anew under the same id is another one.
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
from typing import Any, cast

from chuk_sessions.batches import in_background, slices
from chuk_sessions.exceptions import NotSent, OutcomeUnknown, ProviderError
from chuk_sessions.ids import user_tag
from chuk_sessions.providers.redis.entries import (
    Member,
    entry_in,
    fields_in,
    integer_in,
    number_in,
    parse_member,
    raw_member,
    target_of,
)
from chuk_sessions.providers.redis.keys import (
    index_key,
    marker_key,
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
from chuk_sessions.redis_client.client import Call, Client, step
from chuk_sessions.redis_client.commands import Argument, Replay, Reply
from chuk_sessions.redis_client.replies import unknown_shape
from chuk_sessions.redis_client.scripts import Script

__all__ = ["CLOCK_SLACK", "UserIndex"]

ENDED = 100  # sessions that are ended in one step
SLICE = 100  # commands of one call that are under way at once: others are served in between
MARKER_MS = 3_600_000  # how long a create may be under way, and far more
UNDER_WAY = 60_000_000  # microseconds that no create takes from its first step to its last
CLOCK_SLACK = 2_000_000  # microseconds by which the clocks of two masters may differ
OTHER = -4
MIN_FILED, MAX_FILED = 86_400_000_000, 9_000_000_000_000_000  # microseconds that a session to be brought is filed for


class UserIndex:
    """The users of one sandbox and their sessions. Errors are those of ``Client.call``.

    ``call`` is the one that a method is a part of, whose age all commands have, for users with up to a page of
    sessions. With more, what is done for each page has the time of a call: so the work for a large user ends, and a
    server that stalls in between is given up as soon as in any call.
    """

    def __init__(self, client: Client, sandbox_id: str) -> None:
        self._client = client
        self._sandbox_id = sandbox_id
        self._sandbox = quote_part(sandbox_id)

    async def page(self, call: Call, user_id: str, place: Place = BEGINNING, size: int = PAGE) -> Page:
        """Some live sessions of a user; see ``read_page``."""
        return await read_page(call, self._of(user_id), to_bytes(user_id), place, size=size)

    async def members(self, user_id: str, call: Call | None = None) -> tuple[int, list[Member]]:
        """The time on the index's server, and the live sessions of a user, oldest first."""
        _, now, _, members = await self._all(call or self._client.begin(), user_id)
        return now, members

    async def _all(self, call: Call, user_id: str) -> tuple[Call, int, int, list[Member]]:
        """The sessions of a user, oldest first, after the call for what comes next, the time, and the others' number.

        These are the live sessions of other users in the index.
        """
        page = await self.page(call, user_id)
        now, others, found = page.now, page.seen - len(page.members), {each.raw: each for each in page.members}
        while page.next is not None:
            call = self._client.begin()
            page = await self.page(call, user_id, page.next)
            others += page.seen - len(page.members)
            found.update((each.raw, each) for each in page.members)
        return call, now, others, sorted(found.values(), key=lambda member: member.born)

    async def with_room(self, call: Call, script: Script, keys: tuple[str, ...], args: tuple[Argument, ...]) -> Reply:
        """Run a script that adds to the index, the last key; again with what must be ended to make room.

        The third and the fourth argument are the prefix of the user's entries and the limit. What others added in the
        meantime, so that the script was not given its key, is condemned by the script and ended here.
        """
        reply = await script.step(call, keys, args)
        if not isinstance(reply, list) or not reply or reply[0] != 0:
            return reply
        patience, limit = Patience(self._client, call), int(args[3])
        mark = cast(bytes, args[2])
        while isinstance(reply, list) and reply and reply[0] == 0:
            before = await patience.pause()
            user = mark[mark.index(b":") + 1 :]
            call, victims, most = await self._make_room(before, keys[-1], user, limit, reply)
            if call is not before:
                patience = Patience(self._client, call)
            reply = await script.step(call, keys + victims, (*args[:3], -most, *args[4:]))
        if isinstance(reply, list) and len(reply) > 1 and reply[0] == DOOMED:
            await self._end_doomed(call, keys[-1], reply[2:])
            return reply[1]
        return reply

    async def _make_room(
        self, call: Call, index: str, user: bytes, limit: int, reply: list[Any], apart: bool = False
    ) -> tuple[Call, tuple[str, ...], int]:
        """The keys that the script may end itself, and how many entries the index may have at most.

        Before these the call for what comes next: another one if the user has more than a page of sessions. What has
        ended, and the script cannot see it, is taken out now. The oldest end now if they are many, and if the script
        cannot end them: one that is ``apart`` ends none, and none can end those in other slots.
        """
        if len(reply) < 2 or not all(isinstance(each, int) for each in reply[:3]):
            raise unknown_shape("the script that makes room")
        excess, condemned, *raw = reply[1:] if len(reply) > 2 else (-1, 0)
        if excess < 0 or excess >= MAX_VICTIMS:
            call, others = await self._reduce(call, index, to_text(user), limit - 1)
            return call, (), limit + others
        members = [parse_member(member) for member in raw]
        left, live = members[:condemned], members[condemned:]
        must = apart or any(member.elsewhere for member in live[:excess])
        if must or len(live) >= MAX_VICTIMS or any(member.elsewhere for member in live):
            call, _ = await self._reduce(call, index, to_text(user), limit - 1 if must else None)
        if any(member.elsewhere for member in left):
            in_background(partial(self._end_later, index, [member for member in left if member.elsewhere]))
        return call, tuple(self._key(member) for member in members if not member.elsewhere), limit

    async def _reduce(self, call: Call, index: str, user_id: str, most: int | None = None) -> tuple[Call, int]:
        """Take out what nobody touched and so has ended unseen, and end the oldest until there are ``most``.

        Returns the call for what comes next, and how many live sessions other users have in the index.
        """
        call, now, others, members = await self._all(call, user_id)
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
        await self._end(call, index, [each for each in members if each.raw in gone], unseen=True)
        left = [each for each in members if each.raw not in gone]
        if most is not None and len(left) > most:
            call = self._client.begin() if large else call
            await self._end(call, index, left[: len(left) - most])
        return self._client.begin() if large else call, others

    def _by_pages(self, call: Call, members: Sequence[Member]) -> Iterator[tuple[Call, Sequence[Member]]]:
        """A page of the members at a time, with the call for what is done for it."""
        for page in slices(members, PAGE):
            yield call, page
            call = self._client.begin()

    async def _end_doomed(self, call: Call, index: str, raw: list[bytes]) -> None:
        """End sessions that a script condemned; if this fails they are ended later."""
        members = [parse_member(member) for member in raw]
        try:
            await self._end(call, index, members)
        except (ProviderError, asyncio.CancelledError) as exc:
            in_background(partial(self._end_later, index, members))
            if isinstance(exc, asyncio.CancelledError):
                raise

    async def _end_later(self, index: str, members: list[Member]) -> None:
        await self._end(self._client.begin(), index, members)

    async def _stands(self, call: Call, member: Member) -> bool:
        """Whether its session is there. One that is filed and not there may be about to be created."""
        reply = await step(call, b"HMGET", self._key(member), b"created", b"inc", replay=Replay.READ)
        created, incarnation = fields_in(reply, "HMGET", 2)
        return member.incarnation == (incarnation if member.elsewhere else b"%b." % (created or b""))

    async def create_elsewhere(
        self, call: Call, key: str, user_id: str, lifetime: int, idle: int, fields: list[bytes], limit: int
    ) -> Reply:
        """Create a session in another slot than its user's index; the reply of CREATE."""
        reply = await VISIT.step(call, (key,), (VERSION,))
        if reply != ABSENT:
            return reply
        incarnation, call = await self._file(key, user_id, lifetime, limit, call)
        member = self._member(key, user_id, incarnation)
        args: tuple[Argument, ...] = (VERSION, lifetime, b"", 0, idle, incarnation, *fields)
        try:
            reply = await CREATE.step(call, (key, self._marker(member)), args)
        except (ProviderError, ValueError, asyncio.CancelledError):
            in_background(partial(self._kill_later, member))
            raise
        if reply not in (ABSENT, CONDEMNED):
            await self.forget(member.raw, call)
        return reply

    async def bring(
        self,
        key: str,
        user_id: str,
        left: float,
        adopt: Callable[[bytes], Awaitable[int]],
        call: Call | None = None,
    ) -> int:
        """Put a session that was elsewhere into another slot than its user's index; what ``adopt`` gives.

        That is called with the incarnation to write, which must be that of a session which is there already; it gives
        1 if it created one, 2 if it merged two and ``OTHER`` if the one that is there is another incarnation.
        """
        lifetime = min(max(in_microseconds(left), MIN_FILED), MAX_FILED) if math.isfinite(left) else MIN_FILED
        call = call or self._client.begin()
        patience = Patience(self._client, call)
        while True:
            (there,) = fields_in(await step(call, b"HMGET", key, b"inc", replay=Replay.READ), "HMGET", 1)
            member = self._member(key, user_id, there or (await self._file(key, user_id, lifetime, 0, call))[0])
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
                await self.forget(member.raw, call)
            if outcome != OTHER:
                return outcome
            call = await patience.pause()

    async def _follow(self, call: Call, key: str, member: Member) -> None:
        """Move the deadline in the index to that of the record."""
        reply = await step(call, b"HMGET", key, b"expires", b"end", replay=Replay.READ)
        expires, end = fields_in(reply, "HMGET", 2)
        if expires is not None:
            args = (member.raw, number_in(end or expires) + CLOCK_SLACK)
            await MOVE.step(call, (self._of_member(member),), args)

    def _member(self, key: str, user_id: str, incarnation: bytes) -> Member:
        return parse_member(raw_member(key, to_bytes(user_id), incarnation))

    async def _file(self, key: str, user_id: str, lifetime: int, limit: int, call: Call) -> tuple[bytes, Call]:
        """The incarnation that is in the index now, and the call for what comes next."""
        index, digits = self._of(user_id), urandom(8).hex()
        args = (to_bytes(user_id), digits, key, lifetime + CLOCK_SLACK, limit)
        reply = await self._try_to_file(call, key, user_id, digits, args)
        patience = Patience(self._client, call) if reply[0] == 0 else None
        while patience is not None and reply[0] == 0:
            call = await patience.pause()
            before = call
            call, _, most = await self._make_room(before, index, to_bytes(user_id), limit, reply, apart=True)
            if call is not before:
                patience = Patience(self._client, call)
            reply = await self._try_to_file(call, key, user_id, digits, (*args[:4], -most))
        await self._end_doomed(call, index, reply[1:])
        return reply[0], call

    async def _try_to_file(
        self, call: Call, key: str, user_id: str, digits: str, args: tuple[Argument, ...]
    ) -> list[Any]:
        """The reply of FILE."""
        try:
            reply = await FILE.step(call, (self._of(user_id),), args)
        except NotSent:
            raise
        except (ProviderError, asyncio.CancelledError):  # it may have been filed, under a time that nobody knows
            in_background(partial(self._take_out_filed, key, user_id, digits))
            raise
        if not isinstance(reply, list) or not reply or not (reply[0] == 0 or isinstance(reply[0], bytes)):
            raise unknown_shape("the script that files a session")
        return reply

    async def _take_out_filed(self, key: str, user_id: str, digits: str) -> None:
        call, end = self._client.begin(), f".{digits}".encode()
        for member in (await self.members(user_id, call))[1]:
            if member.incarnation.endswith(end) and self._key(member) == key:
                await self._take_out(call, member)

    async def renew(
        self, call: Call, keys: tuple[str, str, str], grace: int, fields: Sequence[bytes] = (), owner: bytes = b""
    ) -> Reply:
        """Rename a session, in the index no later than in its own slot, and merge metadata; the reply of RENEW.

        ``owner``: ``=`` and the user whose session it must be, else nothing.
        """
        unseen: tuple[Argument, ...] = (VERSION, grace, b"", b"", b"", owner, *fields)
        reply: int | list[bytes] = await RENEW.step(call, (*keys, keys[1]), unseen)
        if isinstance(reply, int) or target_of(reply) is not None:
            return reply
        patience = Patience(self._client, call)
        while True:
            entry_in(reply, "the script that renews a session", 3)
            old, deadline = parse_member(reply[0]), number_in(reply[1])
            incarnation = b"%d.%b.%b" % (old.born, urandom(8).hex().encode(), reply[2])
            new = parse_member(raw_member(keys[1], old.user, incarnation))
            args: tuple[Argument, ...] = (VERSION, grace, old.incarnation, reply[1], incarnation, owner, *fields)
            try:
                await MOVE.step(call, (self._of_member(new),), (new.raw, deadline + CLOCK_SLACK, old.raw))
                call = await patience.pause()
                reply = await RENEW.step(call, (*keys, self._marker(new)), args)
            except (ProviderError, asyncio.CancelledError):
                in_background(partial(self._settle_renewal, old, new))
                raise
            await self.forget(old.raw if reply == 1 else new.raw, call)
            if reply == CONDEMNED:  # a login took the entry for one of a create that was given up; the session lives
                reply = await RENEW.step(call, (*keys, keys[1]), unseen)
            if isinstance(reply, int) or target_of(reply) is not None:
                return reply

    async def _settle_renewal(self, old: Member, new: Member) -> None:
        """Take out the entry under the id that the session does not have, and will not have."""
        call = self._client.begin()
        renewed = await self._doom(call, new, unseen=True) < 0
        await self._take_out(call, old if renewed else new)

    async def extend(self, call: Call, keys: tuple[str, str], lifetime: int) -> Reply:
        """Move the deadline later, in the index no later than in the record; the reply of EXTEND."""
        reply: int | list[bytes] = await EXTEND.step(call, keys, (VERSION, lifetime, b""))
        if isinstance(reply, int) or target_of(reply) is not None:
            return reply
        patience = Patience(self._client, call)
        while True:
            entry, seen = entry_in(reply, "the script that extends a session", 2)
            member = parse_member(entry)
            args = (member.raw, number_in(seen) + lifetime + CLOCK_SLACK)
            await MOVE.step(call, (self._of_member(member),), args)
            call = await patience.pause()
            reply = await EXTEND.step(call, keys, (VERSION, lifetime, seen))
            if isinstance(reply, int) or target_of(reply) is not None:
                await self._forget_ended(call, member, reply)
                return reply

    async def retime(self, call: Call, keys: tuple[str, str], span: int) -> Reply:
        """Move the deadline to so far from now, later or earlier; the reply of RETIME.

        An entry in another slot is moved first if the deadline is later, and last if it is earlier. In between another
        call may move the deadline again: then it has moved the entry, and that stays as it is.
        """
        reply: int | list[bytes] = await RETIME.step(call, keys, (VERSION, span, b"", b""))
        if isinstance(reply, int) or target_of(reply) is not None:
            return reply
        patience = Patience(self._client, call)
        while True:
            entry, seen, ends = entry_in(reply, "the script that sets a deadline", 3)
            member, deadline = parse_member(entry), number_in(ends) + CLOCK_SLACK
            moved = await MOVE.step(call, (self._of_member(member),), (member.raw, deadline))
            filed = integer_in(moved, "the script that moves an index entry")
            call = await patience.pause()
            reply = await RETIME.step(call, keys, (VERSION, span, seen, ends))
            if isinstance(reply, int) or target_of(reply) is not None:
                await self._forget_ended(call, member, reply)
                if reply == 1 and filed > math.ceil(deadline / 1000):
                    await self._lower(call, member, filed, deadline)
                return reply

    async def _forget_ended(self, call: Call, member: Member, reply: Reply) -> None:
        """Take out what was moved for a session that is found under its id no more: moving has put it back."""
        if reply == ABSENT or target_of(reply) is not None:
            await self.forget(member.raw, call)

    async def _lower(self, call: Call, member: Member, filed: int, deadline: int) -> None:
        """Move an entry nearer; if this fails it is there for longer than its session, as one that ended unseen."""
        with suppress(ProviderError):
            await LOWER.step(call, (self._of_member(member),), (member.raw, filed, deadline))

    async def forget(self, raw: bytes, call: Call | None = None) -> None:
        """Take out a session that is gone. It is gone all the same if this fails, and is taken out later."""
        member = parse_member(raw)
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
        await step(call, b"ZREM", self._of_member(member), member.raw)

    async def forget_record(self, key: str, fields: Mapping[bytes, bytes]) -> None:
        """Take out a session that is gone, given what its hash held."""
        user = fields.get(b"user")
        if user is not None:
            incarnation = fields.get(b"inc", fields.get(b"created", b"") + b".")
            await self.forget(raw_member(key, user, incarnation))

    async def end_all(
        self,
        call: Call,
        user_id: str,
        keep: frozenset[str],
        live_name: Callable[[Call, str], Awaitable[tuple[str, int] | None]],
    ) -> int:
        """End what was created before the call and is not kept; how many.

        ``live_name`` finds the id behind one, and when the session was created.
        """
        index, user = self._of(user_id), to_bytes(user_id)
        page = await read_page(call, index, user, condemned=True)
        # Asked for after the members: a session that gets a new id meanwhile is among these under the id that it had.
        kept = [name for name in await asyncio.gather(*(live_name(call, each) for each in keep)) if name is not None]
        keep, births = keep.union(name for name, _ in kept), {born for _, born in kept}
        births.update(each.born for each in page.members if each.session_id in keep)
        cutoff, ended, seen, found = page.now, 0, set[bytes](), True
        members, large = page.members, False
        while found:  # one that moved to a new id while the others were ended is as old as it was
            found = False
            while True:
                seen.update(member.raw for member in members)
                found = found or bool(members)
                going = [each for each in members if each.session_id not in keep and each.born not in births]
                ended += await self._end(call, index, going)
                if page.next is None:
                    break
                large, call = True, self._client.begin()
                page = await read_page(call, index, user, page.next, condemned=True)
                members = [each for each in page.members if each.born <= cutoff and each.raw not in seen]
            if found:
                call = self._client.begin() if large else call
                page = await read_page(call, index, user, condemned=True)
                members = [each for each in page.members if each.born <= cutoff and each.raw not in seen]
        return ended

    async def _end(self, call: Call, index: str, members: list[Member], unseen: bool = False) -> int:
        """End these sessions, wherever they are; how many there were. ``unseen``: those that still do not exist."""
        ended = 0
        for each_call, page in self._by_pages(call, members):
            for some in slices([member for member in page if member.elsewhere], SLICE):
                ended += await self._kill(each_call, some, unseen)
            for part in slices([member for member in page if not member.elsewhere], ENDED):
                keys = (index, *(self._key(member) for member in part))
                reply = await END.step(each_call, keys, tuple(member.raw for member in part))
                ended += integer_in(reply, "the script that ends sessions")
        return ended

    async def _kill(self, call: Call, members: Iterable[Member], unseen: bool = False) -> int:
        return sum(await asyncio.gather(*(self._kill_one(call, each, unseen) for each in members)))

    async def _kill_one(self, call: Call, member: Member, unseen: bool = False) -> int:
        try:
            ended = await self._doom(call, member, unseen)
        except (OutcomeUnknown, asyncio.CancelledError):  # if it was ended, its entry must not stay
            in_background(partial(self._kill_later, member, unseen=True))
            raise
        if ended < 0:  # it was created since it was looked for: it lives, and keeps its entry
            return 0
        await self.forget(member.raw, call)
        return ended

    async def _doom(self, call: Call, member: Member, unseen: bool = False) -> int:
        """The reply of KILL."""
        keys = (self._key(member), self._marker(member))
        reply = await KILL.step(call, keys, (member.incarnation, MARKER_MS, int(unseen)))
        return integer_in(reply, "the script that ends a session")

    def _of(self, user_id: str) -> str:
        return index_key(self._sandbox, user_tag(self._sandbox_id, user_id))

    def _of_member(self, member: Member) -> str:
        return self._of(to_text(member.user))

    def _key(self, member: Member) -> str:
        return session_key(self._sandbox, member.session_id)

    def _marker(self, member: Member) -> str:
        return marker_key(self._sandbox, member.session_id, member.incarnation)
