"""Sessions over a provider of the user's own, which needs only get, setex and delete."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import math
import time
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any, TypeVar

from chuk_sessions.codec import ANY_DEPTH, Metadata, decode_document, encode_document
from chuk_sessions.exceptions import ProviderError, SessionError
from chuk_sessions.flat_json import read_json
from chuk_sessions.ids import quote_part, session_key
from chuk_sessions.models import SessionRecord
from chuk_sessions.provider import Factory, Provider
from chuk_sessions.stores.adoption import Adoption
from chuk_sessions.stores.contract import LAST_DEADLINE, DeadlineError, Existing, counted, postponed
from chuk_sessions.stores.turns import Turns

__all__ = ["KeyValueStore", "storage_of"]

T = TypeVar("T")

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1

_turns = Turns()  # of all managers of this process, by storage and key


def storage_of(factory: Factory) -> str:
    """Return a name that is equal for all factories of one storage: the name of the function or class they come from.

    Each call of a module's ``factory()`` may give a new object, and nothing shows that two such objects lead to one
    storage. So all factories from one function or class count as one storage. If they are really several storages, two
    sessions with the same id in the same sandbox wait for each other without need.
    """
    while isinstance(factory, partial):
        factory = factory.func
    made_by: Any = factory if hasattr(factory, "__qualname__") else type(factory)
    return f"{getattr(made_by, '__module__', '')}.{made_by.__qualname__}"


class KeyValueStore:
    """The sessions of one sandbox as one JSON document each; see ``SessionStore``.

    Operations on one session take turns within this process, across all event loops, threads and managers of one
    storage (see ``storage_of``). Between processes they cannot take turns: between its get and its setex, another
    process may write. The provider gets the lifetime in whole seconds, rounded up; the deadline in the document rules.
    """

    def __init__(self, factory: Factory, sandbox_id: str, wall_clock: Callable[[], float] | None = None) -> None:
        self._factory = factory
        self._storage = storage_of(factory)
        self._sandbox = quote_part(sandbox_id)
        self._wall_clock = time.time if wall_clock is None else wall_clock
        self._reported = False

    async def create(
        self,
        session_id: str,
        user_id: str | None,
        lifetime: float,
        metadata: Metadata,
        *,
        limit: int = 0,
        idle: float = 0,
    ) -> Existing | None:
        """See ``SessionStore``."""
        stored = decode_document(encode_document(metadata))

        async def run(provider: Provider, key: str) -> Existing | None:
            now = self._wall_clock()
            text, record = await self._load(provider, key)
            if record is not None:
                await self._touch(provider, key, record)
                return Existing(record.user_id)
            if text is not None:
                raise ProviderError("the id is taken by a record that this version cannot read; it was left alone")
            record = SessionRecord(user_id, now, now + lifetime, now, stored, idle=idle)
            if idle:
                record.idle_expires = now + min(lifetime, idle)
            await self._save(provider, key, record)
            return None

        return await self._in_turn(session_id, run)

    async def adopt(self, session_id: str, record: SessionRecord, left: float) -> Adoption:
        """Take over a session of another storage, to live ``left`` seconds more. Return the outcome."""
        metadata = decode_document(encode_document(record.metadata, ANY_DEPTH))

        async def run(provider: Provider, key: str) -> Adoption:
            text, here = await self._load(provider, key)
            if left <= 0:
                return Adoption.EXPIRED
            if text is not None and here is None:
                return Adoption.UNREADABLE
            expires = min(self._wall_clock() + left, LAST_DEADLINE)  # a later deadline would make the record unreadable
            coming = dataclasses.replace(record, metadata=metadata, expires=expires)
            if here is None:
                await self._save(provider, key, coming)
                return Adoption.CREATED
            if here.user_id != coming.user_id:
                return Adoption.CONFLICT
            await self._save(provider, key, _merged(here, coming))
            return Adoption.MERGED

        return await self._in_turn(session_id, run)

    async def undo(self, session_id: str, record: SessionRecord, unused: bool) -> bool:
        """Remove the session that ``adopt`` made of ``record``. Return whether it was removed.

        With ``unused`` remove it only if it has not changed since ``adopt``.
        """
        put = dataclasses.replace(record, metadata=decode_document(encode_document(record.metadata, ANY_DEPTH)))

        async def run(provider: Provider, key: str) -> bool:
            here = (await self._load(provider, key))[1]
            if here is None or here.created != record.created:
                return False
            if unused and _encode(dataclasses.replace(here, expires=put.expires)) != _encode(put):
                return False
            await provider.delete(key)
            return True

        return await self._in_turn(session_id, run)

    async def read(self, session_id: str) -> SessionRecord | None:
        """See ``SessionStore``."""

        async def run(provider: Provider, key: str) -> SessionRecord | None:
            return (await self._load(provider, key))[1]

        return await self._in_turn(session_id, run)

    async def touch(self, session_id: str, interval: float) -> bool:
        """See ``SessionStore``."""

        async def run(provider: Provider, key: str) -> bool:
            record = (await self._load(provider, key))[1]
            if record is not None and self._is_due(record, interval):
                await self._touch(provider, key, record, interval)
            return record is not None

        return await self._in_turn(session_id, run)

    async def open(self, session_id: str, interval: float, owner: str | None) -> SessionRecord | None:
        """See ``Openable``."""

        async def run(provider: Provider, key: str) -> SessionRecord | None:
            record = (await self._load(provider, key))[1]
            if record is None or owner not in (None, record.user_id):
                return None
            if self._is_due(record, interval):
                await self._touch(provider, key, record, interval)
            return record

        return await self._in_turn(session_id, run)

    async def update(self, session_id: str, metadata: Metadata, replace: bool, *, remove: Collection[str] = ()) -> bool:
        """See ``SessionStore``."""
        patch = decode_document(encode_document(metadata))

        def change(record: SessionRecord) -> None:
            record.metadata = patch if replace else record.metadata | patch
            for key in remove:
                record.metadata.pop(key, None)

        return await self._change(session_id, change)

    async def increment(self, session_id: str, field: str, amount: int) -> int | None:
        """See ``SessionStore``."""
        value = 0

        def change(record: SessionRecord) -> None:
            nonlocal value
            value = record.metadata[field] = counted(record.metadata, field, amount)

        return value if await self._change(session_id, change) else None

    async def extend(self, session_id: str, lifetime: float, *, from_now: bool = False) -> bool:
        """See ``SessionStore``."""

        def change(record: SessionRecord) -> None:
            record.expires = postponed(self._wall_clock() if from_now else record.expires, lifetime)

        return await self._change(session_id, change)

    async def delete(self, session_id: str) -> bool:
        """See ``SessionStore``."""

        async def run(provider: Provider, key: str) -> bool:
            text = (await self._load(provider, key))[0]
            if text is not None:
                await provider.delete(key)
            return text is not None

        return await self._in_turn(session_id, run)

    async def aclose(self) -> None:
        """Do nothing: the store holds nothing between two operations. Each opens the provider and closes it."""

    async def _change(self, session_id: str, change: Callable[[SessionRecord], None]) -> bool:
        async def run(provider: Provider, key: str) -> bool:
            record = (await self._load(provider, key))[1]
            if record is not None:
                change(record)
                await self._touch(provider, key, record)
            return record is not None

        return await self._in_turn(session_id, run)

    async def _in_turn(self, session_id: str, run: Callable[[Provider, str], Awaitable[T]]) -> T:
        """Run one operation in its session's turn. An error that the provider raises or hides becomes ProviderError."""
        key = session_key(self._sandbox, session_id)
        done: list[T] = []
        turn = await _turns.begin((self._storage, key))
        try:
            opened = self._factory()
            if not hasattr(opened, "__aenter__"):
                raise ProviderError(
                    "session_factory() must return an asynchronous context manager, got"
                    f" {type(opened).__name__}; a module's factory must be called: session_factory=module.factory()"
                )
            async with opened as provider:
                done.append(await run(provider, key))
        except asyncio.CancelledError as exc:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise ProviderError(
                "the custom provider raised CancelledError although the calling task was not cancelled"
            ) from exc
        except (ProviderError, SessionError, DeadlineError):
            raise
        except Exception as exc:
            if not done:
                raise ProviderError(f"the custom provider failed: {type(exc).__name__}") from exc
            logger.warning("A custom provider failed to close after its work was done: %s", type(exc).__name__)
        finally:
            _turns.end(turn)
        if not done:
            raise ProviderError("the custom provider's context manager hid a failure")
        return done[0]

    async def _load(self, provider: Provider, key: str) -> tuple[Any, SessionRecord | None]:
        """Return the stored text and the record in it.

        Both are None if there is no text or the record has expired; the record is None if it cannot be read.
        """
        text = await provider.get(key)
        if text is None:
            return None, None
        record = _decode(text)
        if record is None and not self._reported:
            self._reported = True
            logger.warning("A session record cannot be read by this version; it counts as absent and is left alone.")
        if record is not None and _end(record) <= self._wall_clock():
            return None, None
        return text, record

    def _is_due(self, record: SessionRecord, interval: float) -> bool:
        """Tell whether a touch must be written."""
        now = self._wall_clock()
        return now - record.accessed >= interval or _end(record) < min(record.expires, now + record.idle)

    async def _touch(self, provider: Provider, key: str, record: SessionRecord, interval: float = 0) -> None:
        now = self._wall_clock()
        record.accessed = max(record.accessed, now)
        if record.idle:
            ends = now + record.idle + min(interval, record.idle / 2)
            record.idle_expires = min(record.expires, max(record.idle_expires or 0, ends))
        await self._save(provider, key, record)

    async def _save(self, provider: Provider, key: str, record: SessionRecord) -> None:
        remaining = _end(record) - self._wall_clock()
        if remaining <= 0:
            await provider.delete(key)
        else:
            await provider.setex(key, math.ceil(remaining), _encode(record))


def _end(record: SessionRecord) -> float:
    return record.expires if record.idle_expires is None else record.idle_expires


def _merged(here: SessionRecord, coming: SessionRecord) -> SessionRecord:
    older, newer = (here, coming) if coming.accessed >= here.accessed else (coming, here)
    return dataclasses.replace(
        here,
        metadata=older.metadata | newer.metadata,
        accessed=newer.accessed,
        expires=max(here.expires, coming.expires),
    )


def _encode(record: SessionRecord) -> str:
    document = {
        "v": FORMAT_VERSION,
        "user": record.user_id,
        "created": record.created,
        "expires": record.expires,
        "accessed": record.accessed,
        "status": record.status,
        "metadata": encode_document(record.metadata, ANY_DEPTH),  # metadata of an earlier version may be deep
    }
    if record.idle:
        document |= {"idle": record.idle, "idle_expires": record.idle_expires}
    return json.dumps(document)


def _decode(text: Any) -> SessionRecord | None:
    """Decode a record that ``_encode`` made; return None for any other text."""
    try:
        document = read_json(text)
        if document["v"] != FORMAT_VERSION:
            return None
        metadata = decode_document(document["metadata"])
        created, expires, accessed = (float(document[name]) for name in ("created", "expires", "accessed"))
        if not all(0 <= moment < LAST_DEADLINE + 1 for moment in (created, expires, accessed)):
            return None
        idle = float(document.get("idle", 0))
        idle_expires = float(document["idle_expires"]) if idle else None
        status = document["status"]
        return SessionRecord(document["user"], created, expires, accessed, metadata, status, idle, idle_expires)
    except (ValueError, TypeError, LookupError, AttributeError):
        return None
