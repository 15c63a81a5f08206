"""A provider of the user's own as the target of a migration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chuk_sessions.stores.keyvalue import KeyValueStore

if TYPE_CHECKING:
    from chuk_sessions.models import SessionRecord
    from chuk_sessions.provider import Factory
    from chuk_sessions.stores.adoption import Adoption

__all__ = ["ProviderTarget"]


class ProviderTarget:
    """A provider of the user's own. Between processes its operations are only as atomic as get and setex."""

    def __init__(self, factory: Factory) -> None:
        self._factory = factory

    async def adopt(
        self, sandbox_id: str, session_id: str, record: SessionRecord, left: float, origin: str | None = None
    ) -> Adoption:
        """See ``Target``; this target does not remember that a session was ended."""
        return await KeyValueStore(self._factory, sandbox_id).adopt(session_id, record, left)

    async def settle(self, sandbox_id: str, session_id: str) -> None:
        """See ``Target``; there is nothing to forget."""

    async def lead(self, sandbox_id: str, session_id: str, current_id: str, left: float) -> bool:
        """See ``Target``; this target has no aliases."""
        return False

    async def undo(self, sandbox_id: str, session_id: str, record: SessionRecord, unused: bool) -> bool:
        """See ``Target``."""
        return await KeyValueStore(self._factory, sandbox_id).undo(session_id, record, unused)

    async def end(self, sandbox_id: str, session_id: str) -> None:
        """See ``Target``."""
        await KeyValueStore(self._factory, sandbox_id).delete(session_id)
