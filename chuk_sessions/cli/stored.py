"""Stored sessions, in the layout of this version and in the legacy layout: finds and reads them by batches."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chuk_sessions.cli.carried import decode_carried
from chuk_sessions.elapsed import elapsed
from chuk_sessions.ids import MAX_ID_BYTES, OversizedError, check_size, fingerprint
from chuk_sessions.providers.redis.keys import ALL_SESSIONS, LEGACY_PREFIX, names_in_key, quote_part
from chuk_sessions.providers.redis.legacy import document as legacy
from chuk_sessions.providers.redis.record import alias_in, is_unsettled
from chuk_sessions.providers.redis.scan import Walk
from chuk_sessions.redis_client.commands import Replay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from chuk_sessions.models import SessionRecord
    from chuk_sessions.redis_client.client import Client

__all__ = ["Alias", "Keys", "Problem", "Stored", "count_keys", "read", "read_batch", "session_keys"]

READABLE = (b"hash", b"string")

Keys = list[tuple[bytes, bytes]]  # a key and its type


@dataclass(slots=True)
class Stored:
    """A session as it was read. ``left`` are the seconds that it had to live.

    ``raw`` is the content of the key, to compare with later. ``asked`` is the moment, by ``elapsed``, before the
    session was read: it ends no earlier than ``left`` seconds after that. In the record sealed values are ``Carried``.
    """

    key: bytes
    published: bool
    sandbox_id: str
    session_id: str
    record: SessionRecord = field(repr=False)
    left: float
    raw: list[bytes] = field(repr=False)
    asked: float = 0.0

    def remaining(self) -> float:
        """Return the seconds that the session still has to live; below zero if it has ended since it was read."""
        return self.left - (elapsed() - self.asked)


@dataclass(slots=True)
class Alias:
    """An old id of a session that was renewed with a grace: it leads to ``current_id`` for ``left`` seconds more."""

    key: bytes
    sandbox_id: str
    session_id: str = field(repr=False)
    current_id: str = field(repr=False)
    left: float


@dataclass(slots=True)
class Problem:
    """A key that holds no readable session. Its text has a fingerprint of the session id, or of the key without one."""

    key: bytes = field(repr=False)
    reason: str

    def __str__(self) -> str:
        names = names_in_key(self.key)
        session_id = self.key.removeprefix(LEGACY_PREFIX).decode(errors="replace") if names is None else names[1]
        return f"session {fingerprint(session_id)}: {self.reason}"

    def with_key(self) -> str:
        """Return the text with the key instead of the fingerprint, for readers who may see ids."""
        return f"key {self.key.decode(errors='backslashreplace')!r}: {self.reason}"


async def count_keys(client: Client) -> int:
    """Count the keys of the database, of all kinds. Raises as ``Client.call``."""
    masters = await client.masters()
    return sum(await asyncio.gather(*(master.call(b"DBSIZE", replay=Replay.READ) for master in masters)))


async def session_keys(client: Client, batch: int) -> AsyncIterator[Keys]:
    """Give all keys that may be sessions, with their types, about ``batch`` at a time. Raises as ``Walk.pages``."""
    async for keys in Walk(client, ALL_SESSIONS, batch).pages():
        types = await asyncio.gather(*(client.call(b"TYPE", key, replay=Replay.READ) for key in keys))
        yield list(zip(keys, types, strict=True))


async def read_batch(client: Client, keys: Keys) -> list[Stored | Alias | Problem | None]:
    """Read the keys; None for a key that is gone or expired. All commands are sent together."""
    return await asyncio.gather(*(read(client, key, kind) for key, kind in keys))


async def read(client: Client, key: bytes, kind: bytes) -> Stored | Alias | Problem | None:
    """Read a key of that type; None if it is gone or expired."""
    if kind == b"none":
        return None
    if kind not in READABLE:
        return Problem(key, f"a {kind.decode()}, which no version of this package writes")
    asked = elapsed()
    found = await (_read_ours(client, key) if kind == b"hash" else _read_published(client, key))
    if isinstance(found, Stored):
        found.asked = asked
    return found


async def _read_ours(client: Client, key: bytes) -> Stored | Alias | Problem | None:
    names = names_in_key(key)
    if names is None:
        return Problem(key, "a hash whose key does not have the form of a session key")
    fields, now = await asyncio.gather(client.call(b"HGETALL", key, replay=Replay.READ), client.time_at(key))
    if not fields:
        return None
    raw = [part for pair in fields.items() for part in pair] if isinstance(fields, dict) else fields
    try:
        if (current_id := alias_in(raw)) is not None:
            left, again = await asyncio.gather(
                client.call(b"PTTL", key, replay=Replay.READ),
                client.call(b"HGET", key, b"alias", replay=Replay.READ),
            )
            still = left > 0 and again == quote_part(current_id).encode()  # else PTTL was that of a later value
            return Alias(key, *names, current_id, left / 1000) if still else None
        record = decode_carried(raw)
    except (ValueError, KeyError):
        return Problem(key, "a record that this version cannot read")
    left = record.expires - now
    return Stored(key, False, *names, record, left, raw) if left > 0 and not is_unsettled(record) else None


async def _read_published(client: Client, key: bytes) -> Stored | Problem | None:
    text, pttl, now = await asyncio.gather(
        client.call(b"GET", key, replay=Replay.READ),
        client.call(b"PTTL", key, replay=Replay.READ),
        client.time_at(key),
    )
    if text is None or pttl == -2:
        return None
    found = legacy.decode(text)
    try:
        session_id = key.removeprefix(LEGACY_PREFIX).decode()
    except UnicodeDecodeError:
        found = None
    if found is None:
        return Problem(key, "a text that is no session of 0.2 to 0.6")
    try:
        check_size("its id", session_id, MAX_ID_BYTES)
    except OversizedError as exc:
        return Problem(key, str(exc))
    until_end = found.record.expires - now
    left = min(pttl / 1000, until_end) if pttl >= 0 else until_end  # the earlier of the key's TTL and its own deadline
    if left == float("inf"):
        return Problem(key, "a session of 0.2 to 0.6 without any deadline")
    if left <= 0:
        return None
    return Stored(key, True, found.sandbox_id, session_id, found.record, left, [text])
