"""The contract between ``SessionManager`` and storage.

What every store keeps, and ``tests/test_session_store.py`` checks for each:

* An operation is atomic, also between processes where the storage is shared.
* A session that is missing, has expired or was deleted is not found: False or None, never an error. Errors
  (``ProviderError``) are for faults of the storage.
* No operation but ``create`` brings a session into being: a deleted one stays deleted.
* A session is never stored without its deadline.
* ``accessed`` never runs backwards.
* Metadata is encoded by ``codec`` before anything else happens: what it refuses (SessionError) changes nothing.
* A record that cannot be decoded counts as absent, is logged once, and is left alone; only ``delete`` removes it, so
  that a logout holds while two versions of this package serve.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from chuk_sessions.codec import Metadata
from chuk_sessions.models import SessionRecord

__all__ = ["Existing", "SessionStore", "SessionStoreFactory"]


class Existing(NamedTuple):
    """The live session that ``create`` found in the place of a new one."""

    user_id: str | None


class SessionStore(Protocol):
    """The sessions of one sandbox. Lifetimes and intervals are in seconds, fractions included."""

    async def create(
        self, session_id: str, user_id: str | None, lifetime: float, metadata: Metadata
    ) -> Existing | None:
        """Store a new session and return None; a live one with this id is only touched, and returned."""

    async def read(self, session_id: str) -> SessionRecord | None:
        """A copy of the session, not touched; None if not found."""

    async def touch(self, session_id: str, interval: float) -> bool:
        """Whether the session lives; ``accessed`` is set to now if it is at least ``interval`` old."""

    async def update(self, session_id: str, metadata: Metadata, replace: bool) -> bool:
        """Set the keys of ``metadata`` and touch; with ``replace`` drop all others. False if not found."""

    async def extend(self, session_id: str, lifetime: float) -> bool:
        """Move the deadline ``lifetime`` later and touch. False if not found."""

    async def delete(self, session_id: str) -> bool:
        """End the session. False if not found."""

    async def sweep(self) -> int:
        """Reclaim expired sessions; how many. 0 where the storage does that by itself."""

    def cached(self) -> int:
        """Live sessions held in this process; 0 where it holds none."""

    def capacity(self) -> int:
        """How many sessions this process holds at the most; 0 where it holds none, ``sys.maxsize`` without a bound."""


@runtime_checkable
class SessionStoreFactory(Protocol):
    """A provider factory that has a store of its own for sessions."""

    def session_store(self, sandbox_id: str) -> SessionStore:
        """The sessions of one sandbox."""
