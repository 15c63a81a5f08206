"""Sessions on Redis: one hash per session, every change one script (see ``redis_scripts``)."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress

from chuk_sessions.codec import Metadata, decode_fields, encode_fields
from chuk_sessions.exceptions import ProviderError, ServerError, SessionError
from chuk_sessions.models import MICROSECONDS, SessionRecord
from chuk_sessions.providers.redis_scripts import (
    ABSENT,
    CONDEMNED,
    CREATE,
    DELETE,
    INCREMENT,
    METADATA,
    TOUCH,
    UNREADABLE,
    UPDATE,
    VERSION,
)
from chuk_sessions.providers.redis_user_index import UserIndex, to_bytes, to_text
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.connection import Argument, Replay
from chuk_sessions.session_ids import index_key, is_random, quote_part, session_key, tag_in_key, user_tag
from chuk_sessions.session_store import NO_INTEGER, TOO_LARGE, Existing, cannot_count

__all__ = ["RedisSessionStore", "decode_record"]

logger = logging.getLogger(__name__)

MAX_FIELDS = 500_000  # Redis 6.2 takes 1,048,576 arguments and cuts the connection, everybody's, at one more
UNCOUNTABLE = {-2: NO_INTEGER, -3: TOO_LARGE}


class RedisSessionStore:
    """The sessions of one sandbox on a server; see ``SessionStore``."""

    def __init__(self, client: Client, sandbox_id: str) -> None:
        self._client = client
        self._sandbox_id = sandbox_id
        self._sandbox = quote_part(sandbox_id)
        self._users = UserIndex(client, sandbox_id)
        self._server_ahead: float | None = None  # server's clock minus our monotonic one, in seconds, as last seen
        self._reported = False

    async def create(
        self, session_id: str, user_id: str | None, lifetime: float, metadata: Metadata, limit: int = 0
    ) -> Existing | None:
        fields = _hash_fields(metadata)
        span = max(1000, _microseconds(lifetime))
        key = self._key(session_id)
        if user_id is None:
            reply = await CREATE.run(self._client, (key,), (VERSION, span, b"0", b"", b"", 0, *fields))
        elif (tag := user_tag(self._sandbox_id, user_id)) == tag_in_key(key):
            keys = (key, index_key(self._sandbox, tag))
            args: tuple[Argument, ...] = (VERSION, span, b"1", to_bytes(user_id), b"", limit, *fields)
            reply = await self._users.create(keys, args)
        else:
            reply = await self._users.create_elsewhere(key, user_id, span, fields, limit)
        if reply in (ABSENT, CONDEMNED):  # ended before it began is as good as ended just after
            return None
        if reply != UNREADABLE:
            with suppress(UnicodeDecodeError):
                return Existing(None if reply[0] is None else to_text(reply[0]))
        self._found(UNREADABLE)
        raise ProviderError("the id is taken by a record that this version cannot read; it was left alone")

    async def read(self, session_id: str) -> SessionRecord | None:
        try:
            reply = await self._client.call(b"HGETALL", self._key(session_id), replay=Replay.READ)
            return decode_record(reply) if reply else None
        except ServerError as exc:
            if not _is_wrong_type(exc):
                raise
        except (ValueError, KeyError, RecursionError):
            pass
        self._found(UNREADABLE)
        return None

    async def touch(self, session_id: str, interval: float) -> bool:
        key = self._key(session_id)
        if interval > 0 and self._server_ahead is not None:
            fresh = await self._is_fresh(key, interval, self._server_ahead)
            if fresh is not None:
                return fresh
        reply = await TOUCH.run(self._client, key, (VERSION, _microseconds(interval)), Replay.READ)
        if self._found(reply):
            self._server_ahead = reply / MICROSECONDS - time.monotonic()
            return True
        return False

    async def update(self, session_id: str, metadata: Metadata, replace: bool) -> bool:
        args = (VERSION, b"1" if replace else b"0", *_hash_fields(metadata))
        return self._found(await UPDATE.run(self._client, (self._key(session_id),), args))

    async def increment(self, session_id: str, field: str, amount: int) -> int | None:
        args = (VERSION, METADATA + to_bytes(field), amount)
        reply = await INCREMENT.run(self._client, (self._key(session_id),), args)
        if isinstance(reply, list):
            return int(reply[0])
        if reply in UNCOUNTABLE:
            raise cannot_count(field, UNCOUNTABLE[reply])
        self._found(reply)
        return None

    async def extend(self, session_id: str, lifetime: float) -> bool:
        return self._found(await self._users.extend(self._keys(session_id), _microseconds(lifetime)))

    async def delete(self, session_id: str) -> bool:
        replay = Replay.DELETE if is_random(session_id) else Replay.NEVER
        reply = await DELETE.run(self._client, self._keys(session_id), (VERSION,), replay)
        if isinstance(reply, list):
            await self._users.forget(reply[0])
        return bool(reply)

    async def list_user(self, user_id: str) -> list[tuple[str, SessionRecord]]:
        members = (await self._users.members(user_id))[1]
        records = await asyncio.gather(*(self.read(member.session_id) for member in members))
        pairs = zip(members, records, strict=True)
        found = [(member.session_id, record) for member, record in pairs if record is not None]
        return [(session_id, record) for session_id, record in dict(found).items() if record.user_id == user_id]

    async def delete_user(self, user_id: str, keep: frozenset[str]) -> int:
        return await self._users.end_all(user_id, keep)

    async def sweep(self) -> int:
        return 0

    def cached(self) -> int:
        return 0

    def capacity(self) -> int:
        return 0

    def _keys(self, session_id: str) -> tuple[str, str]:
        """Of the session, and of the index that is in its slot."""
        key = self._key(session_id)
        return key, index_key(self._sandbox, tag_in_key(key))

    def _key(self, session_id: str) -> str:
        return session_key(self._sandbox, session_id)

    async def _is_fresh(self, key: str, interval: float, server_ahead: float) -> bool | None:
        """By one plain read: True if the session lives and needs no touch, False if absent, None if a script must."""
        try:
            fields = await self._client.call(b"HMGET", key, b"v", b"accessed", b"expires", replay=Replay.READ)
            if not any(fields):
                return False
            if fields[0] != VERSION or None in fields:
                return None
            accessed, expires = _time(fields[1]), _time(fields[2])
        except ServerError as exc:
            if not _is_wrong_type(exc):
                raise
            return None
        except ValueError:
            return None
        now = time.monotonic() + server_ahead
        return True if now - accessed < interval and now < expires else None

    def _found(self, reply: int) -> bool:
        if reply == UNREADABLE and not self._reported:
            self._reported = True
            logger.warning("A session record cannot be read by this version; it counts as absent and is left alone.")
        return reply > 0


def _is_wrong_type(exc: ServerError) -> bool:
    return str(exc).startswith("WRONGTYPE")


def _microseconds(seconds: float) -> int:
    return round(seconds * MICROSECONDS)


def _time(digits: bytes) -> float:
    if not digits.isdigit() or len(digits) > 17:
        raise ValueError("a time is a number of microseconds")
    return int(digits) / MICROSECONDS


def _hash_fields(metadata: Metadata) -> list[bytes]:
    items: list[bytes] = []
    fields = encode_fields(metadata)
    if len(fields) > MAX_FIELDS:
        raise SessionError(f"custom_metadata has more than {MAX_FIELDS} keys; nothing was stored")
    for key, value in fields.items():
        items += (METADATA + to_bytes(key), value.encode())
    return items


def decode_record(reply: list[bytes] | dict[bytes, bytes]) -> SessionRecord:
    """The record in a hash. Raises KeyError or ValueError if it is none of this version."""
    fixed: dict[bytes, bytes] = {}
    metadata: dict[str, str] = {}
    pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
    for name, value in pairs:
        if name.startswith(METADATA):
            metadata[to_text(name[len(METADATA) :])] = value.decode()
        else:
            fixed[name] = value
    if fixed[b"v"] != VERSION:
        raise ValueError("a record of another version")
    user = fixed.get(b"user")
    return SessionRecord(
        user_id=None if user is None else to_text(user),
        created=_time(fixed[b"created"]),
        expires=_time(fixed[b"expires"]),
        accessed=_time(fixed[b"accessed"]),
        metadata=decode_fields(metadata),
        status=fixed[b"status"].decode(),
    )
