"""Sessions on Redis: one hash per session, every change one script.

Times in a record are microseconds since the epoch by the server's clock, so that no application clock matters.
A metadata key ``k`` is the field ``m:k``: no name that an application chooses can shadow a field of ours.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress

from chuk_sessions.codec import Metadata, decode_fields, encode_fields
from chuk_sessions.exceptions import ProviderError, ServerError, SessionError
from chuk_sessions.models import MICROSECONDS, SessionRecord
from chuk_sessions.redis_client.client import Client
from chuk_sessions.redis_client.connection import Argument, Replay
from chuk_sessions.redis_client.scripts import BatchScript, Script
from chuk_sessions.session_ids import is_random, quote_part, session_key
from chuk_sessions.session_store import NO_INTEGER, TOO_LARGE, Existing, cannot_count

__all__ = ["RedisSessionStore", "decode_record"]

logger = logging.getLogger(__name__)

VERSION = b"1"
METADATA = b"m:"
MAX_FIELDS = 500_000  # Redis 6.2 takes 1,048,576 arguments and cuts the connection, everybody's, at one more
ABSENT, UNREADABLE = 0, -1
UNCOUNTABLE = {-2: NO_INTEGER, -3: TOO_LARGE}

# For any number of keys. Looks at no more than it needs, because it runs for every request: version, last access, end.
# Being full or unable to save must not end sessions: the touch is then left out. Redis 6.2 puts the place in the script
# before the code of an error. That the server is a replica is the error of the whole reply: the client acts on it.
TOUCH = BatchScript("""
local function says(reply, code)
  return string.find(reply.err, '^' .. code) or string.find(reply.err, ': -' .. code, 1, true)
end
local version, interval, clock = ARGV[1], tonumber(ARGV[2]), redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local text = string.format('%.0f', now)
local found = {}
for i = 1, #KEYS do
  local key = KEYS[i]
  local old = redis.pcall('HMGET', key, 'v', 'accessed', 'expires')
  local accessed, expires = tonumber(old[2] or nil), tonumber(old[3] or nil)
  if old[1] == version and accessed and expires then
    found[i] = expires > now and now or 0
    if expires > now and now > accessed and now - accessed >= interval then
      local done = redis.pcall('HSET', key, 'accessed', text)
      if type(done) == 'table' then
        if says(done, 'READONLY') then return done end
        if not says(done, 'OOM') and not says(done, 'MISCONF') then found[i] = done end
      end
    end
  elseif old.err and string.sub(old.err, 1, 9) ~= 'WRONGTYPE' then
    found[i] = old
  elseif old.err or old[1] or redis.call('EXISTS', key) == 1 then
    found[i] = -1
  else
    found[i] = 0
  end
end
return found
""")

# What the scripts that change a session begin with. ``found`` is true for a live record of this version; a key that
# holds anything else is UNREADABLE and left alone. Only a wrong type is taken for that: other errors (a missing
# permission, say) are the caller's to hear. The fields of metadata are not looked into here.
LOOK = """
local key, version, clock = KEYS[1], ARGV[1], redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local function digits(n) return string.format('%.0f', n) end
local old = redis.pcall('HMGET', key, 'v', 'accessed', 'expires', 'created', 'status', 'user')
if old.err then
  if string.sub(old.err, 1, 9) == 'WRONGTYPE' then return -1 end
  return old
end
local found = old[1] == version
if found then
  local accessed, expires, created = old[2], old[3], old[4]
  if not (accessed and expires and created and old[5]) or #accessed > 17 or #expires > 17 or #created > 17
    or string.find(accessed .. expires .. created, '%D') then return -1 end
  found = tonumber(expires) > now
elseif old[1] or redis.call('EXISTS', key) == 1 then
  return -1
end
"""

# A Lua call takes under 8,000 arguments, hence the slices.
WRITE = (
    LOOK
    + """
local function milliseconds(n) return digits(math.ceil(n / 1000)) end
local function write(command, items)
  for i = 1, #items, 2000 do
    redis.call(command, key, unpack(items, i, math.min(i + 1999, #items)))
  end
end
local touched = found and digits(math.max(now, tonumber(old[2])))
"""
)

# HSET comes first: once a script has written, a full server refuses it nothing more. What an expired record holds
# besides is removed after that: without its key a script breaks off when the slot is on its way to another node.
# PEXPIREAT comes last: were the deadline to pass in between, nothing could be written after it. If it fails, nothing
# must be left without a TTL.
CREATE = Script(
    WRITE
    + """
if found then
  redis.call('HSET', key, 'accessed', touched)
  return {old[6]}
end
local expires = now + ARGV[2]
local items = {'v', version, 'created', digits(now), 'accessed', digits(now), 'expires', digits(expires),
  'status', 'active'}
if ARGV[3] == '1' then items[11], items[12] = 'user', ARGV[4] end
for i = 5, #ARGV do items[#items + 1] = ARGV[i] end
local kept, stale = {}, {}
if old[1] then
  for i = 1, #items, 2 do kept[items[i]] = true end
  for _, field in ipairs(redis.call('HKEYS', key)) do
    if not kept[field] then stale[#stale + 1] = field end
  end
end
write('HSET', items)
write('HDEL', stale)
local set = redis.pcall('PEXPIREAT', key, milliseconds(expires))
if type(set) == 'table' then
  redis.call('UNLINK', key)
  return set
end
return 0
"""
)

UPDATE = Script(
    WRITE
    + """
if not found then return 0 end
local items, kept, gone = {'accessed', touched}, {}, {}
for i = 3, #ARGV do items[#items + 1] = ARGV[i] end
if ARGV[2] == '1' then
  for i = 3, #ARGV, 2 do kept[ARGV[i]] = true end
  for _, field in ipairs(redis.call('HKEYS', key)) do
    if string.sub(field, 1, 2) == 'm:' and not kept[field] then gone[#gone + 1] = field end
  end
end
write('HSET', items)
write('HDEL', gone)
return 1
"""
)

# HINCRBY is what may be refused, so it comes first. Its result is read as text: a number of Lua has 53 bits.
INCREMENT = Script(
    WRITE
    + """
if not found then return 0 end
local sum = redis.pcall('HINCRBY', key, ARGV[2], ARGV[3])
if type(sum) == 'table' then
  if string.find(sum.err, 'not an integer', 1, true) then return -2 end
  if string.find(sum.err, 'overflow', 1, true) then return -3 end
  return sum
end
redis.call('HSET', key, 'accessed', touched)
return {redis.call('HGET', key, ARGV[2])}
"""
)

EXTEND = Script(
    WRITE
    + """
if not found then return 0 end
local expires = tonumber(old[3]) + ARGV[2]
redis.call('PEXPIREAT', key, milliseconds(expires))
redis.call('HSET', key, 'expires', digits(expires), 'accessed', touched)
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
        args: tuple[Argument, ...] = (VERSION, max(1000, _microseconds(lifetime)), *user, *_hash_fields(metadata))
        reply = await CREATE.run(self._client, (self._key(session_id),), args)
        if reply == ABSENT:
            return None
        if reply != UNREADABLE:
            with suppress(UnicodeDecodeError):
                return Existing(None if reply[0] is None else _to_text(reply[0]))
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
        args = (VERSION, METADATA + _to_bytes(field), amount)
        reply = await INCREMENT.run(self._client, (self._key(session_id),), args)
        if isinstance(reply, list):
            return int(reply[0])
        if reply in UNCOUNTABLE:
            raise cannot_count(field, UNCOUNTABLE[reply])
        self._found(reply)
        return None

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

    def capacity(self) -> int:
        return 0

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
        items += (METADATA + _to_bytes(key), value.encode())
    return items


def decode_record(reply: list[bytes] | dict[bytes, bytes]) -> SessionRecord:
    """The record in a hash. Raises KeyError or ValueError if it is none of this version."""
    fixed: dict[bytes, bytes] = {}
    metadata: dict[str, str] = {}
    pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
    for name, value in pairs:
        if name.startswith(METADATA):
            metadata[_to_text(name[len(METADATA) :])] = value.decode()
        else:
            fixed[name] = value
    if fixed[b"v"] != VERSION:
        raise ValueError("a record of another version")
    user = fixed.get(b"user")
    return SessionRecord(
        user_id=None if user is None else _to_text(user),
        created=_time(fixed[b"created"]),
        expires=_time(fixed[b"expires"]),
        accessed=_time(fixed[b"accessed"]),
        metadata=decode_fields(metadata),
        status=fixed[b"status"].decode(),
    )


def _to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _to_text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")
