"""The stored form of a Django session: all writes are made here.

Rules this file keeps:

* A key that came from a client is looked up and never stored: a new session has an id that the manager made.
* A session that the store no longer finds is never brought back: ``write`` and ``renew`` return None.
* Only the metadata keys that differ are written, and the deleted keys removed, in one command. So requests of one
  session that overlap keep each other's changes.
* Whoever logs in gets a new id without a grace, and the session is bound to that user in the same step.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from chuk_sessions.arguments import MAX_HOURS
from chuk_sessions.batches import batch
from chuk_sessions.exceptions import SessionTakenError
from chuk_sessions.ids import is_random, new_opaque_id
from chuk_sessions.session_manager import SessionManager
from chuk_sessions.web.snapshot import Saved, changes, freeze_all, frozen
from chuk_sessions.web.transports import LONGEST_ID

__all__ = ["StoredSession", "is_plausible"]

SECONDS_AN_HOUR = 3600


def is_plausible(key: str | None) -> bool:
    """Tell whether a key has the form of our ids. Another key is not worth a command to the store."""
    return key is not None and len(key) <= LONGEST_ID and is_random(key)


class StoredSession:
    """One session in the store, as far as one object of Django knows it.

    Lifetimes are in seconds from now; with 0 or less a session has ended. The methods that are awaited raise
    StorageError, and MetadataError for data that cannot be stored.

    Attributes:
        user: The user who is logged in by the stored data; None for nobody. Whoever decodes the data sets it.
    """

    user: str | None = None

    def __init__(self, manager: SessionManager) -> None:
        self._manager = manager
        self._saved: Saved | None = None  # None: not read yet
        self._owner: str | None = None  # whose session it is for the manager

    @property
    def is_known(self) -> bool:
        """Whether the stored data is known."""
        return self._saved is not None

    async def open(self, key: str | None) -> tuple[str, dict[str, Any]] | None:
        """Read and touch a session. Return its id, which may be another one, and its metadata; None if not found."""
        self.forget()
        if key is None or not is_plausible(key):
            return None
        info = await self._manager.open_session(key)
        if info is None:
            return None
        metadata: dict[str, Any] = info["custom_metadata"]
        self._saved, self._owner = freeze_all(metadata), info["user_id"]
        return info["session_id"], metadata

    def forget(self) -> None:
        """Know nothing of the store any more."""
        self._saved = self._owner = self.user = None

    async def exists(self, key: str | None) -> bool:
        """Tell whether a session lives, without touching it."""
        return key is not None and is_plausible(key) and await self._manager.get_session_info(key) is not None

    def new_id(self, user: str | None = None) -> str:
        """Make an id, with which nothing is stored."""
        return new_opaque_id(self._manager.sandbox_id, user, time.time())

    async def create(self, metadata: dict[str, Any], user: str | None, lifetime: float) -> str:
        """Store a new session, which is the user's from now on. Return its id."""
        saved = frozen(metadata)
        if lifetime <= 0:
            key = self.new_id(user)
        else:
            key = await self._manager.allocate_session(None, user, _hours(lifetime), metadata)
        self._saved, self._owner, self.user = saved, user, user
        return key

    async def write(self, key: str, metadata: dict[str, Any], user: str | None, lifetime: float) -> str | None:
        """Make the stored metadata equal to ``metadata``, and let the session live so long from now. It is known.

        With another user than before the session gets a new id and becomes that user's. Return the id; None if the
        session is not found.
        """
        if lifetime <= 0:
            return key if await self.delete(key) else None
        if user != self.user:
            return await self._change_user(key, metadata, user, lifetime)
        return key if await self._update(key, *changes(self._saved or {}, metadata), lifetime) else None

    async def _update(self, key: str, changed: dict[str, Any], removed: Sequence[str], lifetime: float) -> bool:
        """Write the differences and the lifetime. Return False if the session is not found."""
        assert self._saved is not None
        saved, manager = frozen(changed), self._manager
        options: dict[str, Any] = {"remove": removed} if removed else {}
        calls = []
        if changed or removed:
            calls.append(manager.update_session_metadata(key, changed, **options))
        calls.append(manager.set_session_ttl(key, _hours(lifetime)))
        for found in await (batch(calls) if manager._in_process is None else _in_turn(calls)):
            if isinstance(found, Exception):
                raise found
            if not found:
                return False
        self._saved.update(saved)
        for name in removed:
            self._saved.pop(name, None)  # another task of the request may have removed it too
        return True

    async def _change_user(self, key: str, metadata: dict[str, Any], user: str | None, lifetime: float) -> str | None:
        """Give the session to the user, under a new id; the changed metadata is written in that step.

        It is the last step: if another command failed after it, the client would not get the id.
        """
        assert self._saved is not None
        if user is None or self._owner not in (None, user):  # the manager cannot take a session from its user
            return await self.create(metadata, user, lifetime) if await self.delete(key) else None
        changed, removed = changes(self._saved, metadata)
        saved = frozen(changed)
        if not await self._update(key, {}, removed, lifetime):
            return None
        try:
            new = await self._manager.renew_session(key, 0, user_id=user, custom_metadata=changed or None)
        except SessionTakenError:  # a login at the same time took the session
            return None
        if new is None:
            return None
        self._saved.update(saved)
        self._owner = self.user = user
        return new

    async def renew(self, key: str) -> str | None:
        """Give the session a new id; the earlier ids have ended then. Return the new id; None if it is not found."""
        return await self._manager.renew_session(key, 0) if is_plausible(key) else None

    async def delete(self, key: str) -> bool:
        """End a session. Return False if it is not found."""
        return is_plausible(key) and await self._manager.delete_session(key)


def _hours(seconds: float) -> float:
    return min(seconds / SECONDS_AN_HOUR, MAX_HOURS)


async def _in_turn(calls: list[Any]) -> list[bool | Exception]:
    """Await calls one after another: in memory no call waits, and there may be no event loop."""
    results: list[bool | Exception] = []
    for call in calls:
        try:
            results.append(await call)
        except Exception as exc:
            results.append(exc)
    return results
