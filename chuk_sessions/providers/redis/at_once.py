"""The two calls of a request of a synchronous application, made without a coroutine in the usual case.

Each layer of coroutines takes time although nothing waits. So the usual case is here once more, flat: one command on a
lone server, and a reply that ends the call. For any other case the result is a coroutine with what is left to do: of
the whole call if the server did nothing, else of its rest. It must be run as ``Direct.run`` does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from chuk_sessions.codec import Metadata
from chuk_sessions.exceptions import WrongTypeError
from chuk_sessions.models import SessionRecord
from chuk_sessions.providers.redis.entries import target_of
from chuk_sessions.providers.redis.record import VERSION, encode_metadata
from chuk_sessions.providers.redis.scripts import OPEN, UPDATE
from chuk_sessions.providers.redis.store import RedisSessionStore
from chuk_sessions.redis_client.batch import result_of_one
from chuk_sessions.redis_client.commands import Replay, pack
from chuk_sessions.redis_client.direct import NOT_HERE, Direct, Run
from chuk_sessions.redis_client.replies import SHAPES, MissingScriptError
from chuk_sessions.redis_client.watchdog import TICKS, clock

__all__ = ["open_at_once", "update_at_once"]

T = TypeVar("T")


def open_at_once(
    store: RedisSessionStore, direct: Direct, run: Run, session_id: str, interval: float
) -> SessionRecord | Coroutine[Any, Any, SessionRecord | None] | None:
    """Do what ``store.open`` does for a session of anybody, or return the rest of it. Raises as that method."""
    if interval and direct.clock.now() is None:  # the script will tell the time
        return store.open(session_id, interval, None)
    begun, key = clock(), store._key(session_id)
    try:
        reply = direct.command(pack((b"HGETALL", key)) if interval else OPEN.pack_one(key, ()), Replay.READ, run)
    except MissingScriptError:
        return _rest(store, begun, store.open, session_id, interval, None)
    except WrongTypeError:
        store._unreadable([])
        return None
    if reply is NOT_HERE:
        return store.open(session_id, interval, None)
    if not interval:
        direct.tally.scripts += 1
        reply = result_of_one(reply)
    if isinstance(reply, (list, dict)) and len(reply) > 2:
        try:
            record = store._decode(reply, key)
            if not interval or store._is_recent(record, interval, direct.clock.now()):
                return record
        except SHAPES:  # the rest will say what is amiss
            pass
    elif not reply:
        return None
    return _rest(store, begun, store.open, session_id, interval, None, reply=reply)


def update_at_once(
    store: RedisSessionStore, direct: Direct, run: Run, session_id: str, metadata: Metadata
) -> bool | Coroutine[Any, Any, bool]:
    """Do what ``store.update`` does to merge, or return the rest of it. Raises as that method."""
    begun = clock()
    packed = UPDATE.pack(store._key(session_id), (VERSION, b"0", *encode_metadata(metadata)))
    try:
        reply = direct.command(packed, Replay.NEVER, run)
    except MissingScriptError:
        return _rest(store, begun, store.update, session_id, metadata, False)
    if reply is NOT_HERE:
        return store.update(session_id, metadata, False)
    target = target_of(reply)
    if target is None:
        return store._found(reply)
    return _rest(store, begun, store.update, target, metadata, False)


async def _rest(
    store: RedisSessionStore, begun: float, method: Callable[..., Awaitable[T]], *args: Any, **options: Any
) -> T:
    """Go on by a method of the store, as one call that began at that time: its commands share one deadline."""
    deployment, tick = store._client.begin()
    a_second = 1000 if isinstance(deployment, Direct) else TICKS / store._client.timeout
    return await method(*args, call=(deployment, tick - int((clock() - begun) * a_second)), **options)
