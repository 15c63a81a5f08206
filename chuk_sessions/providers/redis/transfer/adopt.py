"""Adopting a session: one script puts a session of another place into the new layout, with its history.

A session that is not here yet is created in one step, with all its fields and its remaining lifetime. A session that is
here already is merged, and no metadata key of either side is lost. A key that both have gets the value of the side that
was touched last; if both were touched at the same time, the value that comes. The later deadline holds.

If the session has a legacy key, the script acts only if that key holds exactly the text that was decoded, and removes
the key in the same step. So two processes cannot both take a session over, and a session that was deleted meanwhile
stays deleted.

A deletion under ``SESSION_LEGACY_READ`` leaves a tombstone with its time. A legacy process that has the session in its
cache writes it back at the next touch; the tombstone keeps that copy out.

If writing the session here and removing the original are two steps, an interruption between them leaves both. The next
run must not bring back a session that was ended here in between. So the script writes an arrival key in the same step.
That key lives until the original is gone or the session would have expired. It has the creation time of the session
that came, and of the session that is here since. An arrival key without that session means that the session was ended.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from chuk_sessions.codec import ANY_DEPTH
from chuk_sessions.ids import slot_tag, user_tag
from chuk_sessions.models import MICROSECONDS, SessionRecord
from chuk_sessions.providers.redis.entries import head_of
from chuk_sessions.providers.redis.index import UserIndex
from chuk_sessions.providers.redis.keys import arrival_key, index_key, quote_part, session_key, tombstone_key
from chuk_sessions.providers.redis.lua import load
from chuk_sessions.providers.redis.record import VERSION, Encode, encode_metadata, in_microseconds, to_bytes
from chuk_sessions.redis_client.client import step
from chuk_sessions.redis_client.commands import Replay
from chuk_sessions.redis_client.replies import SHAPES, unknown_shape
from chuk_sessions.redis_client.scripts import Script
from chuk_sessions.stores.adoption import Adoption

if TYPE_CHECKING:
    from chuk_sessions.redis_client.client import Call, Client
    from chuk_sessions.redis_client.commands import Argument

__all__ = ["ADOPT", "adopt", "was_ended"]

MAX_LEFT = 90_000_000_000 * MICROSECONDS  # no deadline may have more digits than the record format allows
INCARNATION = 9  # its place in the arguments of ADOPT

ADOPT = Script(load("transfer_adopt"), bounded=False)


async def adopt(
    client: Client,
    sandbox_id: str,
    session_id: str,
    record: SessionRecord,
    left: float,
    legacy: tuple[bytes, bytes] | None = None,
    *,
    origin: str | None = None,
    arrival: bool = False,
    call: Call | None = None,
    encode: Encode = encode_metadata,
) -> Adoption:
    """Put a session here that lives ``left`` seconds from now, and never beyond ``record.expires``.

    With ``left`` 0 only the other limits count. ``legacy`` is the legacy key of the session, on the same server, and
    the text that it was decoded from: the session lives no longer than that key. ``origin`` is the sandbox that the
    session comes from, if that is another: a session that was ended there stays ended. With ``arrival`` the original is
    removed in a later step, and an arrival key is left here. ``call`` is a call that this becomes a part of; without it
    this is a call of its own. ``encode`` makes the fields of the metadata.

    Raises MetadataError for metadata that cannot be stored, and as ``Client.call``.
    """
    quoted, call = quote_part(sandbox_id), call or client.begin()
    key, index = session_key(quoted, session_id), index_key(quoted, slot_tag(session_id))
    origin_key = key if origin is None else session_key(quote_part(origin), session_id)
    keys: tuple[Argument, ...] = (key, index, tombstone_key(key), tombstone_key(origin_key))
    named = None if record.user_id is None else to_bytes(record.user_id)
    user = (b"", b"") if named is None else (head_of(named, key), named)
    args: list[Argument] = [
        VERSION,
        legacy[1] if legacy else b"",
        min(in_microseconds(left), MAX_LEFT) if math.isfinite(left) else 0,
        max(1, min(in_microseconds(record.expires), MAX_LEFT)) if math.isfinite(record.expires) else 0,
        *user,
        in_microseconds(record.created),
        in_microseconds(record.accessed),
        record.status,
        b"",
    ]
    args += encode(record.metadata, ANY_DEPTH, key)
    if legacy:
        keys = (*keys, legacy[0])
    elif arrival:
        keys = (*keys, arrival_key(key))

    async def run(incarnation: bytes) -> int:
        args[INCARNATION] = incarnation
        reply: int | list[bytes] = await ADOPT.step(call, keys, tuple(args))
        return reply if isinstance(reply, int) else await _renewed(call, key, record)

    if record.user_id is None or user_tag(sandbox_id, record.user_id) == slot_tag(session_id):
        outcome = await run(b"")
    else:
        outcome = await UserIndex(client, sandbox_id).bring(key, record.user_id, left, run, call)
    try:
        return Adoption(outcome)
    except ValueError as exc:
        raise unknown_shape("the script that takes a session over") from exc


async def _renewed(call: Call, key: str, record: SessionRecord) -> Adoption:
    """Return the outcome for a session whose key is an alias here.

    EXPIRED if this session came before: it has got a new id here, or has ended. UNREADABLE otherwise.
    """
    deployment, born = call
    came = await deployment.call((b"GET", arrival_key(key)), Replay.READ, born)
    is_same = isinstance(came, bytes) and came.startswith(b"%d " % in_microseconds(record.created))
    return Adoption.EXPIRED if is_same else Adoption.UNREADABLE


async def was_ended(call: Call, record: SessionRecord, *keys: str) -> bool:
    """Tell, by the tombstones of these keys, whether the session was ended since its creation."""
    asking = (step(call, b"GET", tombstone_key(key), replay=Replay.READ) for key in set(keys))
    created = in_microseconds(record.created)
    try:
        return any(ended is not None and created <= int(ended) for ended in await asyncio.gather(*asking))
    except SHAPES as exc:
        raise unknown_shape("GET") from exc
