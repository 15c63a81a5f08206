"""Sessions over a user's own provider, which need only have get, setex and delete."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakValueDictionary

import orjson

from chuk_sessions.codec import Metadata, decode_document, encode_document
from chuk_sessions.exceptions import ProviderError
from chuk_sessions.models import SessionRecord
from chuk_sessions.provider import Factory, Provider
from chuk_sessions.session_ids import quote_part, session_key
from chuk_sessions.session_store import Existing

__all__ = ["ProviderSessionStore"]

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1


class ProviderSessionStore:
    """The sessions of one sandbox as one JSON document each; see ``SessionStore``.

    Operations on one session take turns inside this process, per event loop. Between processes they cannot: get,
    setex and delete leave a gap in which another process may write, whatever is done here. The provider gets whole
    seconds, rounded up; the deadline in the document rules.
    """

    def __init__(
        self,
        factory: Factory,
        sandbox_id: str,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._factory = factory
        self._sandbox = quote_part(sandbox_id)
        self._wall_clock = wall_clock
        self._locks: WeakValueDictionary[tuple[int, str], asyncio.Lock] = WeakValueDictionary()
        self._reported = False

    async def create(
        self, session_id: str, user_id: str | None, lifetime: float, metadata: Metadata
    ) -> Existing | None:
        document = encode_document(metadata)
        async with self._turn(session_id) as (provider, key):
            now = self._wall_clock()
            text, record = await self._load(provider, key)
            if record is not None:
                await self._touch(provider, key, record)
                return Existing(record.user_id)
            if text is not None and self._unreadable(text):
                raise ProviderError("the id is taken by a record that this version cannot read; it was left alone")
            await self._save(provider, key, SessionRecord(user_id, now, now + lifetime, now, decode_document(document)))
            return None

    async def read(self, session_id: str) -> SessionRecord | None:
        async with self._turn(session_id) as (provider, key):
            return (await self._load(provider, key))[1]

    async def touch(self, session_id: str, interval: float) -> bool:
        async with self._turn(session_id) as (provider, key):
            _, record = await self._load(provider, key)
            if record is None:
                return False
            if self._wall_clock() - record.accessed >= interval:
                await self._touch(provider, key, record)
            return True

    async def update(self, session_id: str, metadata: Metadata, replace: bool) -> bool:
        patch = decode_document(encode_document(metadata))
        async with self._turn(session_id) as (provider, key):
            _, record = await self._load(provider, key)
            if record is None:
                return False
            record.metadata = patch if replace else record.metadata | patch
            await self._touch(provider, key, record)
            return True

    async def extend(self, session_id: str, lifetime: float) -> bool:
        async with self._turn(session_id) as (provider, key):
            _, record = await self._load(provider, key)
            if record is None:
                return False
            record.expires += lifetime
            await self._touch(provider, key, record)
            return True

    async def delete(self, session_id: str) -> bool:
        async with self._turn(session_id) as (provider, key):
            text, record = await self._load(provider, key)
            if text is not None:
                await provider.delete(key)
            return record is not None

    async def sweep(self) -> int:
        return 0

    def cached(self) -> int:
        return 0

    @asynccontextmanager
    async def _turn(self, session_id: str) -> AsyncIterator[tuple[Provider, str]]:
        """The provider and the key, for one caller at a time; every error of the provider becomes ProviderError."""
        name = (id(asyncio.get_running_loop()), session_id)
        lock = self._locks.get(name) or self._locks.setdefault(name, asyncio.Lock())
        async with lock:
            try:
                async with self._factory() as provider:
                    yield provider, session_key(self._sandbox, session_id)
            except ProviderError:
                raise
            except Exception as exc:
                raise ProviderError(f"the custom provider failed: {type(exc).__name__}") from exc

    async def _load(self, provider: Provider, key: str) -> tuple[Any, SessionRecord | None]:
        text = await provider.get(key)
        record = None if text is None else _decode(text)
        if text is not None and record is None and not self._reported:
            self._reported = True
            logger.warning("A session record cannot be read by this version; it counts as absent and is left alone.")
        if record is not None and record.expires <= self._wall_clock():
            return None, None
        return text, record

    def _unreadable(self, text: Any) -> bool:
        return _decode(text) is None

    async def _touch(self, provider: Provider, key: str, record: SessionRecord) -> None:
        record.accessed = max(record.accessed, self._wall_clock())
        await self._save(provider, key, record)

    async def _save(self, provider: Provider, key: str, record: SessionRecord) -> None:
        remaining = record.expires - self._wall_clock()
        if remaining <= 0:
            await provider.delete(key)
        else:
            await provider.setex(key, math.ceil(remaining), _encode(record))


def _encode(record: SessionRecord) -> str:
    document = {
        "v": FORMAT_VERSION,
        "user": record.user_id,
        "created": record.created,
        "expires": record.expires,
        "accessed": record.accessed,
        "status": record.status,
        "metadata": encode_document(record.metadata),
    }
    return orjson.dumps(document).decode()


def _decode(text: Any) -> SessionRecord | None:
    """The record in a document of ours; None for anything else."""
    try:
        document = orjson.loads(text)
        if document["v"] != FORMAT_VERSION:
            return None
        metadata = decode_document(document["metadata"])
        times = (document["created"], document["expires"], document["accessed"])
        if not all(isinstance(moment, (int, float)) for moment in times):
            return None
        return SessionRecord(document["user"], *times, metadata, document["status"])
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
