"""Sessions on Redis: one hash per session, every change one script (see ``scripts``)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import suppress
from typing import Any

from chuk_sessions.batches import batch, in_order, slices
from chuk_sessions.codec import MAX_LEVELS, Metadata
from chuk_sessions.exceptions import EncryptionError, ProviderError, WrongTypeError
from chuk_sessions.ids import OversizedError, is_opaque, is_random, renewed_id, slot_tag, user_tag
from chuk_sessions.models import MICROSECONDS, SessionRecord
from chuk_sessions.providers.redis.binding import OWN, TAKEN, Binding
from chuk_sessions.providers.redis.entries import Member, fields_in, head_of, name_in, target_of
from chuk_sessions.providers.redis.index import UserIndex
from chuk_sessions.providers.redis.keys import (
    id_in_key,
    index_key,
    quote_part,
    session_key,
    sessions_of,
    tag_in_key,
)
from chuk_sessions.providers.redis.pages import BEGINNING, PAGE, Page, Place
from chuk_sessions.providers.redis.patience import Patience
from chuk_sessions.providers.redis.record import (
    DEADLINE_DIGITS,
    UNSETTLED_IDLE,
    VERSION,
    VERSIONS,
    Decode,
    Encode,
    Fields,
    alias_in,
    decode_record,
    encode_metadata,
    encode_patch,
    has_sealed_values,
    in_microseconds,
    in_seconds,
    is_unsettled,
    metadata_field,
    to_bytes,
    to_text,
)
from chuk_sessions.providers.redis.scan import Walk
from chuk_sessions.providers.redis.scripts import (
    ABSENT,
    ALWAYS,
    ANYBODY,
    CONDEMNED,
    CREATE,
    DELETE,
    DROP,
    INCREMENT,
    LEFT_OUT,
    OPEN,
    TOO_LATE,
    TOUCH,
    UNREADABLE,
    UNSETTLED,
    UPDATE,
    VISIT,
)
from chuk_sessions.redis_client.client import Call, Client
from chuk_sessions.redis_client.commands import Argument, Replay
from chuk_sessions.redis_client.replies import SHAPES, MissingScriptError, unknown_shape
from chuk_sessions.redis_client.server_clock import moment
from chuk_sessions.stores.contract import NO_INTEGER, TOO_LARGE, DeadlineError, Existing, Tell, cannot_count, taken

__all__ = ["RedisSessionStore"]

logger = logging.getLogger(__name__)

LISTINGS = 10  # times that a page is read at most, while its sessions get new ids again and again
READS = 200  # records that are read at once: other calls are served in between
COUNT_BATCH = 1000  # keys that the server looks at before it serves other clients
AHEAD = 1.0  # seconds by which a session may have been touched in the future: it came from another master
USUAL = (b"v", b"accessed", b"expires", b"alias")  # fields that tell whether a session was touched lately
WITH_IDLE = (*USUAL, b"idle", b"end")  # the same for a record of version 1+
UNCOUNTABLE = {-2: NO_INTEGER, -3: TOO_LARGE}


class RedisSessionStore:
    """The sessions of one sandbox on a server; see ``SessionStore``.

    All commands of one method share one age. With ``call`` it is the age of a call that began before.
    """

    def __init__(self, client: Client, sandbox_id: str) -> None:
        self._client = client
        self._sandbox_id = sandbox_id
        self._sandbox = quote_part(sandbox_id)
        self._users = UserIndex(client, sandbox_id)
        self._fields: tuple[bytes, ...] = USUAL  # the fields that a plain read asks for
        self._reported = False
        self._encode: Encode = encode_metadata
        self._decode: Decode = decode_record

    def encoder_of_one(self) -> Encode:
        """Return what encodes the metadata of one session that comes from other storage: twice in the same way."""
        return encode_metadata

    async def create(
        self,
        session_id: str,
        user_id: str | None,
        lifetime: float,
        metadata: Metadata,
        *,
        limit: int = 0,
        idle: float = 0,
        call: Call | None = None,
    ) -> Existing | None:
        """See ``SessionStore``."""
        key, span = self._key(session_id), max(1000, in_microseconds(lifetime))
        idle_span = max(1000, in_microseconds(idle)) if idle else 0
        fields, call = self._encode(metadata, MAX_LEVELS, key), call or self._client.begin()
        if user_id is None:
            reply = await CREATE.step(call, (key,), (VERSION, span, b"", 0, idle_span, b"", *fields))
        else:
            user, tag = to_bytes(user_id), user_tag(self._sandbox_id, user_id)
            fields[:0] = b"user", user
            if tag == tag_in_key(key):
                keys = (key, index_key(self._sandbox, tag))
                args: tuple[Argument, ...] = (VERSION, span, head_of(user, key), limit, idle_span, b"", *fields)
                reply = await self._users.with_room(call, CREATE, keys, args, user_id)
            else:
                reply = await self._users.create_elsewhere(call, key, user_id, span, idle_span, fields, limit)
        if reply in (ABSENT, CONDEMNED):  # the session was ended before it was created, which is as good as just after
            return None
        if (target := target_of(reply)) is not None:
            existing = await self._existing_as(call, target)
            if existing is not None:
                return existing
            await DROP.step(call, (self._key(session_id),), (quote_part(target),))
            return await self.create(session_id, user_id, lifetime, metadata, limit=limit, idle=idle, call=call)
        if reply != UNREADABLE:
            try:
                with suppress(UnicodeDecodeError):
                    return Existing(None if reply[0] is None else to_text(reply[0]))
            except SHAPES as exc:
                raise unknown_shape("the script that creates a session") from exc
        self._found(UNREADABLE)
        raise ProviderError("the id is taken by a record that this version cannot read; it was left alone")

    async def read(self, session_id: str, call: Call | None = None) -> SessionRecord | None:
        """See ``SessionStore``."""
        return await self._read(call or self._client.begin(), session_id, True)

    async def _read(self, call: Call, session_id: str, follow: bool) -> SessionRecord | None:
        asked = session_id
        deployment, born = call
        reply: Fields = []
        try:
            while True:
                key = self._key(session_id)
                reply = await deployment.call((b"HGETALL", key), Replay.READ, born)
                if len(reply) > 2:
                    record = self._decode(reply, key)
                    if session_id is not asked:
                        record.current_id = session_id
                    return record
                alias = alias_in(reply)
                if alias is None:
                    return self._decode(reply, key) if reply else None
                if not follow:
                    return None
                session_id = alias
        except OversizedError:
            raise
        except (WrongTypeError, ValueError, KeyError):
            pass
        except SHAPES as exc:
            raise unknown_shape("HGETALL") from exc
        self._unreadable(reply)
        return None

    async def touch(self, session_id: str, interval: float, call: Call | None = None) -> bool:
        """See ``SessionStore``."""
        call = call or self._client.begin()
        args: tuple[Argument, ...] = ()
        while True:
            key = self._key(session_id)
            if interval > 0:
                fresh = await self._is_fresh(call, key, interval)
                if fresh is not None:
                    return fresh
                asked, args = moment(), (b"%d" % in_microseconds(interval),)
            lost = None
            try:  # what ``TOUCH.step`` does, without its coroutine
                reply = await TOUCH.begin(call, key, args, Replay.READ)
            except MissingScriptError as missing:
                lost = missing.lost
            if lost is not None:
                reply = await TOUCH.run_anew(call, key, args, Replay.READ, None, lost)
            if type(reply) is int:
                if interval > 0 and reply > 0:
                    call[0].clock_of(key).learn(reply / MICROSECONDS, asked)
                return reply > 0 or self._found(reply)
            session_id = name_in(reply)

    async def open(
        self, session_id: str, interval: float, owner: str | None, call: Call | None = None, *, reply: Any = None
    ) -> SessionRecord | None:
        """See ``Openable``. ``reply`` is that to the first command, if that was sent: a plain read, or the script."""
        call = call or self._client.begin()
        asked, whose = session_id, ANYBODY if owner is None else b"=" + to_bytes(owner)
        args = (b"%d" % (in_microseconds(interval) or 1),) if interval else ALWAYS
        by_script, sent = not interval, moment() if interval else (0.0, 0.0)
        given, reply = reply, []
        try:
            while True:
                key = self._key(session_id)
                if given is not None:
                    reply, given = given or ABSENT, None
                elif by_script or call[0].clock_of(key).now() is None:
                    by_script = True
                    reply = await OPEN.step(call, key, args, Replay.READ, whose)
                else:
                    reply = await call[0].call((b"HGETALL", key), Replay.READ, call[1]) or ABSENT
                if isinstance(reply, int):
                    if reply == LEFT_OUT:  # the keys before this one had large records
                        continue
                    self._found(reply)
                    return None
                if len(reply) <= 2 and (alias := alias_in(reply)) is not None:
                    session_id = alias
                    continue
                record = self._decode(reply, key)
                if by_script or self._is_recent(record, interval, call[0].clock_of(key).now()):
                    break
                by_script, sent = True, moment()
        except OversizedError:
            raise
        except (WrongTypeError, ValueError, KeyError):
            self._unreadable(reply)
            return None
        except SHAPES as exc:
            raise unknown_shape("the script that opens a session") from exc
        if by_script and interval:
            call[0].clock_of(key).learn(int(reply[-1]) / MICROSECONDS, sent)
        if owner is not None and record.user_id != owner:
            return None
        if session_id is not asked:
            record.current_id = session_id
        return record

    async def update(
        self,
        session_id: str,
        metadata: Metadata,
        replace: bool,
        call: Call | None = None,
        *,
        remove: Collection[str] = (),
    ) -> bool:
        """See ``SessionStore``."""
        call = call or self._client.begin()
        args: tuple[Argument, ...]
        if remove and not replace:
            args = (VERSION, b"2", *encode_patch(metadata, remove))
        else:
            args = (VERSION, b"1" if replace else b"0", *encode_metadata(metadata))
        reply = await UPDATE.step(call, (self._key(session_id),), args)
        while (target := target_of(reply)) is not None:
            reply = await UPDATE.step(call, (self._key(target),), args)
        return self._found(reply)

    async def increment(self, session_id: str, field: str, amount: int, call: Call | None = None) -> int | None:
        """See ``SessionStore``."""
        call = call or self._client.begin()
        args = (VERSION, metadata_field(field), b"%d" % amount)
        reply = await INCREMENT.step(call, (self._key(session_id),), args)
        while (target := target_of(reply)) is not None:
            reply = await INCREMENT.step(call, (self._key(target),), args)
        if isinstance(reply, list):
            try:
                return int(reply[0])
            except SHAPES as exc:
                raise unknown_shape("the script that counts") from exc
        if reply in UNCOUNTABLE:
            raise cannot_count(field, UNCOUNTABLE[reply])
        self._found(reply)
        return None

    async def extend(
        self, session_id: str, lifetime: float, call: Call | None = None, *, from_now: bool = False
    ) -> bool:
        """See ``SessionStore``."""
        call, span = call or self._client.begin(), in_microseconds(lifetime)
        move = self._users.retime if from_now else self._users.extend
        reply = await move(call, self._keys(session_id), span)
        while (target := target_of(reply)) is not None:
            reply = await move(call, self._keys(target), span)
        if reply == TOO_LATE:
            raise DeadlineError
        return self._found(reply)

    async def delete(self, session_id: str) -> bool:
        """See ``SessionStore``."""
        return (await self._delete(session_id))[0]

    async def delete_all(self, session_ids: Sequence[str]) -> list[bool | Exception]:
        """See ``DeletingMany``."""
        return in_order(await batch([self._delete(session_id) for session_id in session_ids]))

    async def _delete(self, session_id: str) -> tuple[bool, str]:
        """End a session. Return whether it existed, and its id, which is another one if this one is an alias."""
        call = self._client.begin()
        replay = Replay.DELETE if is_random(session_id) else Replay.NEVER
        reply = await DELETE.step(call, self._keys(session_id), (VERSION,), replay)
        while (target := target_of(reply)) is not None:
            session_id = target  # always a random id: renewals make no other
            reply = await DELETE.step(call, self._keys(session_id), (VERSION,), Replay.DELETE)
        if isinstance(reply, list):
            key, script = self._key(session_id), "the script that deletes a session"
            await self._users.forget(self._users.elsewhere(key, reply, script)[0], call)
        return bool(reply), session_id

    async def renew(
        self,
        session_id: str,
        new_id: str,
        grace: float,
        *,
        user_id: str | None = None,
        metadata: Metadata | None = None,
        limit: int = 0,
        call: Call | None = None,
    ) -> str | None:
        """See ``Renewable``."""
        fields, call = encode_metadata({} if metadata is None else metadata), call or self._client.begin()
        if user_id is None:
            return await self._renew(call, session_id, new_id, grace, fields)
        binding = self._binding(user_id, fields, grace, limit)
        asked = session_id
        while True:
            reply, bound = await binding.bind(call, self._key(session_id), new_id)
            target = target_of(reply)
            if target is not None:
                session_id = target
                new_id = renewed_id(new_id, time.time(), opaque=is_opaque(new_id))  # a copy may be under the id before
            elif reply == TAKEN:
                raise taken(asked)
            elif reply != OWN:
                return bound if self._found(reply) else None
            elif grace > 0 and session_id is not asked:  # a login gave the session that id just now
                return await self._changed_as(call, session_id, fields)
            else:
                new_id = renewed_id(session_id, time.time(), opaque=is_opaque(new_id))
                return await self._renew(call, session_id, new_id, grace, fields, b"=" + to_bytes(user_id))

    def _binding(self, user_id: str, fields: Sequence[bytes], grace: float, limit: int) -> Binding:
        """Make what gives sessions to that user."""
        return Binding(self._client, self._users, self._sandbox_id, user_id, fields, grace, limit)

    def _fit(self, fields: Sequence[bytes], key: str) -> Sequence[bytes]:
        """Return fields of metadata as they are stored under that key, each followed by its value."""
        return fields

    async def _changed_as(self, call: Call, session_id: str, fields: Sequence[bytes]) -> str | None:
        """Merge metadata into the session that an alias stood for. Return its id; None if it is gone."""
        while True:
            key = self._key(session_id)
            reply = await UPDATE.step(call, (key,), (VERSION, b"0", *self._fit(fields, key)))
            if (target := target_of(reply)) is None:
                return session_id if self._found(reply) else None
            session_id = target

    async def _renew(
        self, call: Call, session_id: str, new_id: str, grace: float, fields: Sequence[bytes], owner: bytes = b""
    ) -> str | None:
        patience = None
        while True:
            key, index = self._keys(session_id)
            keys = key, self._key(new_id), index
            reply = await self._users.renew(call, keys, in_microseconds(grace), self._fit(fields, key), owner)
            if reply == UNSETTLED:  # a login is about to give the session its deadlines
                patience = patience or Patience(self._client, call)
                call = await patience.pause()
                continue
            if reply == TAKEN:  # another user has got the session since the caller looked
                raise taken(session_id)
            target = target_of(reply)
            if target is None:
                return new_id if self._found(reply) else None
            if grace > 0:
                return await self._changed_as(call, target, fields)
            session_id = target  # from now on the old aliases lead to no session
            if slot_tag(session_id) != slot_tag(new_id):  # a login gave it the tag of its user
                new_id = renewed_id(session_id, time.time(), opaque=is_opaque(new_id))

    async def list_user(self, user_id: str, call: Call | None = None) -> list[tuple[str, SessionRecord]]:
        """See ``SessionStore``; the first page has the age of ``call``, and each further one the time of a call."""
        found: dict[str, tuple[Member, SessionRecord]] = {}
        call, place = call or self._client.begin(), BEGINNING
        while True:
            page, some = await self._user_page(call, user_id, place, PAGE)
            found.update((member.session_id, (member, record)) for member, record in some)
            if page.next is None:
                break
            call, place = self._client.begin(), page.next
        newest = {member.born: member for member, _ in found.values()}
        for member, _ in list(found.values()) if len(newest) < len(found) else ():
            # A session that got a new id meanwhile may have come under both, with one creation time. The last counts.
            if newest[member.born] is not member and await self._read(call, member.session_id, False) is None:
                del found[member.session_id]
        pairs = sorted(found.values(), key=lambda pair: pair[0].born)
        return [(member.session_id, record) for member, record in pairs]

    async def user_pages(self, user_id: str, batch: int) -> AsyncIterator[list[tuple[str, SessionRecord]]]:
        """See ``UserPaged``; each page has the time of a call."""
        place: Place | None = BEGINNING
        while place is not None:
            page, some = await self._user_page(self._client.begin(), user_id, place, batch)
            if some:
                yield [(member.session_id, record) for member, record in some]
            place = page.next

    async def _user_page(
        self, call: Call, user_id: str, place: Place, batch: int
    ) -> tuple[Page, list[tuple[Member, SessionRecord]]]:
        found: dict[bytes, SessionRecord | None] = {}
        for _ in range(LISTINGS):
            page = await self._users.page(call, user_id, place, batch)
            unseen = [member for member in page.members if member.raw not in found]
            records: list[SessionRecord | None] = []
            for part in slices(unseen, READS):
                records += await asyncio.gather(*(self._read(call, member.session_id, False) for member in part))
            found.update((member.raw, record) for member, record in zip(unseen, records, strict=True))
            if None not in records:  # else a session may have got a new id before it was read
                break
        listed = {member.session_id: member for member in page.members}  # an id may have had another session before
        pairs = ((member, found[member.raw]) for member in listed.values())
        return page, [(each, record) for each, record in pairs if record is not None and record.user_id == user_id]

    async def delete_user(self, user_id: str, keep: frozenset[str], call: Call | None = None) -> int:
        """See ``UserIndexed``."""
        return await self._users.end_all(call or self._client.begin(), user_id, keep, self._live)

    async def pages(self, batch: int) -> AsyncIterator[list[tuple[str, SessionRecord]]]:
        """See ``Walkable``."""
        async for keys in Walk(self._client, sessions_of(self._sandbox), batch).pages():
            ids = self._ids_in(keys)
            records = await asyncio.gather(*(self._read(self._client.begin(), session_id, False) for session_id in ids))
            pairs = zip(ids, records, strict=True)
            yield [(name, record) for name, record in pairs if record is not None and not is_unsettled(record)]

    async def count(self) -> int:
        """See ``Walkable``."""
        return await Walk(self._client, sessions_of(self._sandbox), COUNT_BATCH).total(self._count_sessions)

    async def _count_sessions(self, keys: list[bytes]) -> int:
        return sum(await asyncio.gather(*map(self._is_session, self._ids_in(keys))))

    def _ids_in(self, keys: list[bytes]) -> list[str]:
        """Return the ids of the keys that belong to sessions of this sandbox."""
        ids = (id_in_key(self._sandbox, key) for key in keys)
        return [session_id for session_id in ids if session_id is not None]

    async def _is_session(self, session_id: str) -> bool:
        """Tell whether the id has a session. An alias is no session, and neither is the copy of a pending login."""
        try:
            reply = await self._client.call(b"HMGET", self._key(session_id), b"v", b"idle", replay=Replay.READ)
        except WrongTypeError:
            return False
        version, idle = fields_in(reply, "HMGET", 2)
        return version in VERSIONS and idle != b"%d" % UNSETTLED_IDLE

    def tell_endings(self, tell: Tell) -> None:
        """See ``TellsEndings``."""
        self._users.tell = tell
        delete = self._delete

        async def delete_and_tell(session_id: str) -> tuple[bool, str]:
            ended, name = await delete(session_id)
            if ended:
                tell(name, None, "deleted")
            return ended, name

        self._delete = delete_and_tell  # type: ignore[method-assign]  # of this object: no other one pays for it

    def namespace(self) -> str:
        """See ``Remote``."""
        return str(self._client.db)

    def endpoint(self, session_id: str | None, user_id: str | None) -> tuple[str, int | None] | None:
        """See ``Remote``."""
        deployment = self._client.deployment()
        if session_id is None and user_id is None and deployment.is_cluster:
            return None
        key = self._users.key_of(user_id) if user_id is not None else self._key(session_id or "")
        node = deployment.node_of(key)
        return None if node is None else node.endpoint

    async def aclose(self) -> None:
        """Do nothing: all stores of one URL share the connection, which closes with its event loop."""

    async def _live(self, call: Call, session_id: str) -> tuple[str, int] | None:
        """Find and touch the session with this id. Return its current id and its creation time; None if not found."""
        reply = await VISIT.step(call, (self._key(session_id),), (VERSION,))
        while (target := target_of(reply)) is not None:
            session_id = target
            reply = await VISIT.step(call, (self._key(session_id),), (VERSION,))
        if not isinstance(reply, list):
            return None
        try:
            _, created, incarnation = reply
            return session_id, int((incarnation or created).split(b".")[0])
        except SHAPES as exc:
            raise unknown_shape("the script that visits a session") from exc

    async def _existing_as(self, call: Call, target: str) -> Existing | None:
        """Return the live session behind an alias that was to be allocated; None if the session does not live."""
        live = await self._live(call, target)
        record = None if live is None else await self.read(live[0], call)
        return None if record is None else Existing(record.user_id)

    def _keys(self, session_id: str) -> tuple[str, str]:
        """Make the keys of the session and of the index that is in its slot."""
        key = self._key(session_id)
        return key, index_key(self._sandbox, tag_in_key(key))

    def _key(self, session_id: str) -> str:
        return session_key(self._sandbox, session_id)

    async def _is_fresh(self, call: Call, key: str, interval: float) -> bool | None:
        """Read some fields. True: the session lives and needs no touch. False: it is absent. None: ask a script."""
        clock = call[0].clock_of(key)
        if clock.now() is None:
            return None
        try:
            fields = await call[0].call((b"HMGET", key, *self._fields), Replay.READ, call[1])
            if not any(fields):
                return False
            version, accessed, expires = fields[:3]
            if version not in VERSIONS or accessed is None or expires is None:
                return None
            if version != VERSION and len(fields) == len(USUAL):
                self._fields = WITH_IDLE  # from now on: a session with an idle time is seldom alone
                return None
            now = clock.now() or 0.0  # the clock of a server that has come meanwhile is unknown
            ends, idle = in_seconds(expires, DEADLINE_DIGITS), 0.0
            if None not in fields[len(USUAL) :] and version != VERSION:
                idle = min(in_seconds(fields[4]), in_seconds(fields[5], DEADLINE_DIGITS) - now)
            fresh = -AHEAD <= now - in_seconds(accessed) < interval  # far below zero: the clock was set
            return True if fresh and ends > now and ends - now >= idle else None
        except (WrongTypeError, *SHAPES):
            return None

    def _is_recent(self, record: SessionRecord, interval: float, now: float | None) -> bool:
        """Tell whether a session that was read needs no touch, by the rule of ``_is_fresh``."""
        if now is None:
            return False
        ends = record.expires if record.idle_expires is None else record.idle_expires
        idle = min(record.idle, record.expires - now)
        return -AHEAD <= now - record.accessed < interval and ends > now and ends - now >= idle

    def _unreadable(self, reply: Any) -> None:
        """Report a record that counts as absent. Raises EncryptionError if this process only lacks its keys."""
        if has_sealed_values(reply):
            raise EncryptionError(
                "the session has sealed values, and this process has no keys: give some to"
                " redis.factory(encryption=...), or set SESSION_ENCRYPTION_KEYS"
            )
        self._found(UNREADABLE)

    def _found(self, reply: int) -> bool:
        if reply == UNREADABLE and not self._reported:
            self._reported = True
            logger.warning("A session record cannot be read by this version; it counts as absent and is left alone.")
        try:
            return reply > 0
        except TypeError as exc:
            raise unknown_shape("the script of this call") from exc
