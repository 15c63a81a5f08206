"""Where sessions can be moved to: a Redis database, or a provider of the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from chuk_sessions.provider_session_store import ProviderSessionStore
from chuk_sessions.providers.redis_session_store import RedisSessionStore
from chuk_sessions.providers.redis_transfer import adopt
from chuk_sessions.session_ids import quote_part

if TYPE_CHECKING:
    from chuk_sessions.adoption import Adoption
    from chuk_sessions.models import SessionRecord
    from chuk_sessions.provider import Factory
    from chuk_sessions.redis_client.client import Client

__all__ = ["ProviderTarget", "RedisTarget", "Target"]


class Target(Protocol):
    """Takes sessions; both methods raise ProviderError if the storage fails."""

    async def adopt(self, sandbox_id: str, session_id: str, record: SessionRecord, left: float) -> Adoption:
        """Put a session here that lives ``left`` seconds. Raises SessionError for metadata that cannot be stored."""

    async def end(self, sandbox_id: str, session_id: str) -> None:
        """Remove it, if it is here."""


class RedisTarget:
    """A database of a Redis server."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def adopt(self, sandbox_id: str, session_id: str, record: SessionRecord, left: float) -> Adoption:
        """See ``Target``; atomic."""
        return await adopt(self.client, quote_part(sandbox_id), session_id, record, left)

    async def end(self, sandbox_id: str, session_id: str) -> None:
        """See ``Target``."""
        await RedisSessionStore(self.client, sandbox_id).delete(session_id)


class ProviderTarget:
    """A provider of the user's own; between processes as atomic as get and setex can be."""

    def __init__(self, factory: Factory) -> None:
        self._factory = factory

    async def adopt(self, sandbox_id: str, session_id: str, record: SessionRecord, left: float) -> Adoption:
        """See ``Target``."""
        return await ProviderSessionStore(self._factory, sandbox_id).adopt(session_id, record, left)

    async def end(self, sandbox_id: str, session_id: str) -> None:
        """See ``Target``."""
        await ProviderSessionStore(self._factory, sandbox_id).delete(session_id)
