"""Where sessions can be moved to: a Redis database, or a provider of the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from chuk_sessions.providers.redis.keys import arrival_key, quote_part, session_key
from chuk_sessions.providers.redis.store import RedisSessionStore
from chuk_sessions.providers.redis.transfer.adopt import adopt
from chuk_sessions.providers.redis.transfer.move import is_same, undo
from chuk_sessions.stores.adoption import Adoption
from chuk_sessions.stores.keyvalue import KeyValueStore

if TYPE_CHECKING:
    from chuk_sessions.models import SessionRecord
    from chuk_sessions.provider import Factory
    from chuk_sessions.redis_client.client import Client

__all__ = ["Crossing", "ProviderTarget", "RedisTarget", "Target"]


class Target(Protocol):
    """Takes sessions; all methods raise ProviderError if the storage fails."""

    async def adopt(
        self, sandbox_id: str, session_id: str, record: SessionRecord, left: float, origin: str | None = None
    ) -> Adoption:
        """Put a session here that lives ``left`` seconds and comes from the sandbox ``origin``, if from another one.

        EXPIRED if it was ended here before: then it must not come back. Raises MetadataError for metadata that cannot
        be stored.
        """

    async def settle(self, sandbox_id: str, session_id: str) -> None:
        """Its original is gone: what was remembered for the case of an interruption may be forgotten."""

    async def undo(self, sandbox_id: str, session_id: str, record: SessionRecord, unused: bool) -> bool:
        """Remove what was put here as if it had not come; ``unused``: only if it is as it was put. Whether it was."""

    async def end(self, sandbox_id: str, session_id: str) -> None:
        """Remove it, if it is here."""


class RedisTarget:
    """A database of a Redis server."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def adopt(
        self, sandbox_id: str, session_id: str, record: SessionRecord, left: float, origin: str | None = None
    ) -> Adoption:
        """See ``Target``; atomic, with a note that outlives an interruption."""
        quoted = None if origin is None else quote_part(origin)
        to = (self.client, quote_part(sandbox_id), session_id, record, left)
        return await adopt(*to, origin=quoted, noted=True)

    async def settle(self, sandbox_id: str, session_id: str) -> None:
        """See ``Target``."""
        await self.client.call(b"UNLINK", arrival_key(_key(sandbox_id, session_id)))

    async def undo(self, sandbox_id: str, session_id: str, record: SessionRecord, unused: bool) -> bool:
        """See ``Target``; atomic."""
        return await undo(self.client, quote_part(sandbox_id), session_id, record, unused=unused, noted=True)

    async def end(self, sandbox_id: str, session_id: str) -> None:
        """See ``Target``."""
        await RedisSessionStore(self.client, sandbox_id).delete(session_id)
        await self.settle(sandbox_id, session_id)


def _key(sandbox_id: str, session_id: str) -> str:
    return session_key(quote_part(sandbox_id), session_id)


class ProviderTarget:
    """A provider of the user's own; between processes as atomic as get and setex can be."""

    def __init__(self, factory: Factory) -> None:
        self._factory = factory

    async def adopt(
        self, sandbox_id: str, session_id: str, record: SessionRecord, left: float, origin: str | None = None
    ) -> Adoption:
        """See ``Target``; that a session was ended here is not remembered."""
        return await KeyValueStore(self._factory, sandbox_id).adopt(session_id, record, left)

    async def settle(self, sandbox_id: str, session_id: str) -> None:
        """See ``Target``: nothing was remembered."""

    async def undo(self, sandbox_id: str, session_id: str, record: SessionRecord, unused: bool) -> bool:
        """See ``Target``."""
        return await KeyValueStore(self._factory, sandbox_id).undo(session_id, record, unused)

    async def end(self, sandbox_id: str, session_id: str) -> None:
        """See ``Target``."""
        await KeyValueStore(self._factory, sandbox_id).delete(session_id)


class Crossing:
    """One session on its way to another key: it is put there first, and its original is removed after that.

    As many attempts as the original changes: what this run has put, and nobody used, is removed again before the next
    one, so that nothing is left at the target of what is no more at the source.
    """

    def __init__(self, target: Target, session_id: str) -> None:
        self._target = target
        self._session_id = session_id
        self._put: tuple[str, SessionRecord] | None = None  # what this run made there
        self.sandbox_id: str | None = None  # in which it is at the target now

    async def put(self, sandbox_id: str, record: SessionRecord, left: float, origin: str | None) -> Adoption:
        """As ``Target.adopt``."""
        if self._put is not None and not is_same(self._put, sandbox_id, record):
            await self.abandon()
        self.sandbox_id = None
        outcome = await self._target.adopt(sandbox_id, self._session_id, record, left, origin)
        if outcome is Adoption.CREATED:
            self._put = sandbox_id, record
        if outcome > 0:
            self.sandbox_id = sandbox_id
        return outcome

    async def settle(self) -> None:
        """The original has been removed."""
        if self.sandbox_id is not None:
            await self._target.settle(self.sandbox_id, self._session_id)

    async def retreat(self) -> None:
        """The original has changed."""
        if self._put is not None:
            sandbox_id, record = self._put
            if await self._target.undo(sandbox_id, self._session_id, record, True):
                self._put = None

    async def abandon(self) -> None:
        """The original is another session by now, or none that can be read."""
        if self._put is not None:
            (sandbox_id, record), self._put = self._put, None
            await self._target.undo(sandbox_id, self._session_id, record, False)

    async def end(self) -> None:
        """The original was ended."""
        if self.sandbox_id is not None:
            await self._target.end(self.sandbox_id, self._session_id)
