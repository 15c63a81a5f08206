"""Sessions on Redis: one hash per session, every change one script.

Times in a record are microseconds since the epoch by the server's clock, so that no application clock matters.
A metadata key ``k`` is the field ``m:k``: no name that an application chooses can shadow a field of ours.
"""

from __future__ import annotations

import logging
import time

from chuk_sessions.codec import Metadata, decode_fields, encode_fields
from chuk_sessions.exceptions import ProviderError, ServerError
from chuk_sessions.models import MICROSECONDS, SessionRecord
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.connection import Argument, Replay
from chuk_sessions.redis_client.scripts import Script
from chuk_sessions.session_ids import is_random, quote_part, session_key
from chuk_sessions.session_store import Existing

__all__ = ["RedisSessionStore"]

logger = logging.getLogger(__name__)

VERSION = b"1"
METADATA = b"m:"
ABSENT, UNREADABLE = 0, -1

# Reads come before writes in every script. A record of another version, or of another type, is UNREADABLE.
# A Lua call takes under 8,000 arguments, hence the slices.
PRELUDE = """
local key, version = KEYS[1], ARGV[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local function digits(n) return string.format('%.0f', n) end
local function write(command, items)
  for i = 1, #items, 2000 do
    redis.call(command, key, unpack(items, i, math.min(i + 1999, #items)))
  end
end
local old = redis.pcall('HMGET', key, 'v', 'accessed', 'expires', 'user')
local accessed, expires = tonumber(old[2] or nil), tonumber(old[3] or nil)
local found = old[1] == version and accessed and expires
if not found and (old.err or redis.call('EXISTS', key) == 1) then return -1 end
"""

CREATE = Script(
    PRELUDE
    + """
if found then
  if now > accessed then redis.call('HSET', key, 'accessed', digits(now)) end
  return {old[4]}
end
expires = now + ARGV[2]
redis.call('HSET', key, 'v', version, 'created', digits(now), 'accessed', digits(now), 'expires', digits(expires),
  'status', 'active')
redis.call('PEXPIREAT', key, digits(math.ceil(expires / 1000)))
if ARGV[3] == '1' then redis.call('HSET', key, 'user', ARGV[4]) end
local fields = {}
for i = 5, #ARGV do fields[#fields + 1] = ARGV[i] end
write('HSET', fields)
return 0
"""
)

TOUCH = Script(
    PRELUDE
    + """
if not found then return 0 end
if now > accessed and now - accessed >= tonumber(ARGV[2]) then redis.call('HSET', key, 'accessed', digits(now)) end
return now
"""
)

UPDATE = Script(
    PRELUDE
    + """
if not found then return 0 end
local gone = {}
if ARGV[2] == '1' then
  for _, field in ipairs(redis.call('HKEYS', key)) do
    if string.sub(field, 1, 2) == 'm:' then gone[#gone + 1] = field end
  end
end
local fields = {'accessed', digits(math.max(now, accessed))}
for i = 3, #ARGV do fields[#fields + 1] = ARGV[i] end
write('HDEL', gone)
write('HSET', fields)
return 1
"""
)

EXTEND = Script(
    PRELUDE
    + """
if not found then return 0 end
expires = expires + ARGV[2]
redis.call('HSET', key, 'expires', digits(expires), 'accessed', digits(math.max(now, accessed)))
redis.call('PEXPIREAT', key, digits(math.ceil(expires / 1000)))
return 1
"""
)


class RedisSessionStore:
    """The sessions of one sandbox on a server; see ``SessionStore``."""

    def __init__(self, client: Client, sandbox_id: str) -> None:
        self._client = client
        self._sandbox = quote_part(sandbox_id)
        self._server_ahead: float | None = None  # server's clock minus our monotonic one, in seconds, as last seen
        self._reported = False

    async def create(
        self, session_id: str, user_id: str | None, lifetime: float, metadata: Metadata
    ) -> Existing | None:
        user = (b"0", b"") if user_id is None else (b"1", _to_bytes(user_id))
        args: tuple[Argument, ...] = (VERSION, _microseconds(lifetime), *user, *_hash_fields(metadata))
        reply = await CREATE.run(self._client, (self._key(session_id),), args)
        if reply == ABSENT:
            return None
        if reply == UNREADABLE:
            self._found(reply)
            raise ProviderError("the id is taken by a record that this version cannot read; it was left alone")
        (user_bytes,) = reply
        return Existing(None if user_bytes is None else _to_text(user_bytes))

    async def read(self, session_id: str) -> SessionRecord | None:
        try:
            reply = await self._client.call(b"HGETALL", self._key(session_id), replay=Replay.READ)
            return _decode(reply) if reply else None
        except ServerError as exc:
            if not _is_wrong_type(exc):
                raise
        except (ValueError, KeyError):
            pass
        self._found(UNREADABLE)
        return None

    async def touch(self, session_id: str, interval: float) -> bool:
        key = self._key(session_id)
        if interval > 0 and self._server_ahead is not None:
            fresh = await self._is_fresh(key, interval, self._server_ahead)
            if fresh is not None:
                return fresh
        reply = await TOUCH.run(self._client, (key,), (VERSION, _microseconds(interval)), Replay.READ)
        if self._found(reply):
            self._server_ahead = reply / MICROSECONDS - time.monotonic()
            return True
        return False

    async def update(self, session_id: str, metadata: Metadata, replace: bool) -> bool:
        args = (VERSION, b"1" if replace else b"0", *_hash_fields(metadata))
        return self._found(await UPDATE.run(self._client, (self._key(session_id),), args))

    async def extend(self, session_id: str, lifetime: float) -> bool:
        args = (VERSION, _microseconds(lifetime))
        return self._found(await EXTEND.run(self._client, (self._key(session_id),), args))

    async def delete(self, session_id: str) -> bool:
        replay = Replay.DELETE if is_random(session_id) else Replay.NEVER
        return bool(await self._client.call(b"UNLINK", self._key(session_id), replay=replay))

    async def sweep(self) -> int:
        return 0

    def cached(self) -> int:
        return 0

    def _key(self, session_id: str) -> str:
        return session_key(self._sandbox, session_id)

    async def _is_fresh(self, key: str, interval: float, server_ahead: float) -> bool | None:
        """By one plain read: True if the session lives and needs no touch, False if absent, None if a script must."""
        try:
            version, accessed = await self._client.call(b"HMGET", key, b"v", b"accessed", replay=Replay.READ)
        except ServerError as exc:
            if not _is_wrong_type(exc):
                raise
            return None
        if version is None and accessed is None:
            return False
        if version != VERSION or accessed is None or not accessed.isdigit():
            return None
        age = time.monotonic() + server_ahead - int(accessed) / MICROSECONDS
        return True if age < interval else None

    def _found(self, reply: int) -> bool:
        if reply == UNREADABLE and not self._reported:
            self._reported = True
            logger.warning("A session record cannot be read by this version; it counts as absent and is left alone.")
        return reply > 0


def _is_wrong_type(exc: ServerError) -> bool:
    return str(exc).startswith("WRONGTYPE")


def _microseconds(seconds: float) -> int:
    return round(seconds * MICROSECONDS)


def _hash_fields(metadata: Metadata) -> list[bytes]:
    items: list[bytes] = []
    for key, value in encode_fields(metadata).items():
        items += (METADATA + _to_bytes(key), value.encode())
    return items


def _decode(pairs: list[bytes]) -> SessionRecord:
    """The record in a hash. Raises KeyError or ValueError if it is none of this version."""
    fixed: dict[bytes, bytes] = {}
    metadata: dict[str, str] = {}
    for name, value in zip(pairs[::2], pairs[1::2], strict=True):
        if name.startswith(METADATA):
            metadata[_to_text(name[len(METADATA) :])] = value.decode()
        else:
            fixed[name] = value
    if fixed[b"v"] != VERSION:
        raise ValueError("a record of another version")
    user = fixed.get(b"user")
    return SessionRecord(
        user_id=None if user is None else _to_text(user),
        created=int(fixed[b"created"]) / MICROSECONDS,
        expires=int(fixed[b"expires"]) / MICROSECONDS,
        accessed=int(fixed[b"accessed"]) / MICROSECONDS,
        metadata=decode_fields(metadata),
        status=fixed[b"status"].decode(),
    )


def _to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _to_text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")
