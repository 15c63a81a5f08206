"""The stored form of a session, for the time of one request: all writes are made here.

Rules this file keeps:

* An id that came from a client is looked up and never stored: a new session has an id that the manager made.
* A session that the store no longer finds is never brought back: its changes are dropped (``gone``).
* Only the changed keys are written, and the deleted keys removed, all in one command. So requests of one session that
  overlap keep each other's changes.
* After a login the old id finds nothing: the renewal has no grace.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, ItemsView, Sequence
from typing import Any

from chuk_sessions.arguments import check_count, check_user
from chuk_sessions.exceptions import MetadataError, SessionTakenError
from chuk_sessions.models import SessionRecord, iso_timestamp
from chuk_sessions.session_manager import SessionManager
from chuk_sessions.web.snapshot import Saved, are_same, changes, check_size, freeze_all, frozen
from chuk_sessions.web.turn import AT_ONCE, Turn

__all__ = ["StoredSession"]

SECONDS_AN_HOUR = 3600
NOTHING: Saved = {}  # never changed: what is stored replaces it


class StoredSession:
    """The session of one request: its id, its stored data, and what the client must be told.

    Attributes:
        session_id: The id of the session in the store; None while nothing is stored.
        user_id: Whose session it is; None while nothing is stored.
        is_new: Whether this request did not find the session in the store.
        presented: Whether the request had an id of our form, of a live session or not.
        issued: Whether the client must get the id, because it is new.
        ended: Whether the application ended the session, so that the client must forget its id.
        gone: Whether the store no longer has the session, or cannot be reached: nothing is written any more.
        unread: The ids of the request, if the storage failed when they were looked up.
        closed: Whether the response has begun, so that the client can be told nothing more.
    """

    __slots__ = (
        *("_created", "_expires", "_manager", "_max_bytes", "_saved", "_turn", "closed", "ended", "gone", "is_new"),
        *("issued", "presented", "session_id", "unread", "user_id"),
    )

    def __init__(self, manager: SessionManager, max_bytes: int) -> None:
        self._manager = manager
        self._max_bytes = max_bytes
        self.session_id: str | None = None
        self.user_id: str | None = None
        self._created = self._expires = 0.0  # seconds since the epoch
        self.is_new = True
        self.presented = False
        self.issued = False
        self.ended = False
        self.gone = False
        self.closed = False
        self.unread: Sequence[str] = ()
        self._saved: Saved = NOTHING
        self._turn: Turn | None = None

    def turn(self) -> Turn:
        """Return what a task holds while it uses the store: two tasks of one request take turns."""
        if self._turn is None:
            self._turn = Turn()
        return self._turn

    def is_in_use(self) -> bool:
        """Tell whether a task of the request is using the store right now."""
        return self._turn is not None and self._turn.is_in_use

    @property
    def created_at(self) -> str | None:
        """When the session was first stored, as in ``get_session_info``; None while nothing is stored."""
        return None if self.session_id is None else iso_timestamp(self._created)

    @property
    def expires_at(self) -> str | None:
        """When the session ends at the latest, as in ``get_session_info``; None while nothing is stored."""
        return None if self.session_id is None else iso_timestamp(self._expires)

    async def load(self, ids: Sequence[str]) -> dict[str, Any] | None:
        """Become the first of these sessions that lives, and return its data; None if none lives.

        Raises StorageError.
        """
        self.presented = True
        for session_id in ids:
            record = await self._manager._open_record(session_id)
            if record is not None:
                return self._found(session_id, record)
        return None

    def load_by(self, read: Callable[[SessionManager, str], SessionRecord | None], ids: Sequence[str]) -> Any:
        """Do what ``load`` does, by a function that blocks."""
        self.presented = True
        for session_id in ids:
            record = read(self._manager, session_id)
            if record is not None:
                return self._found(session_id, record)
        return None

    def _forget(self) -> None:
        self.session_id = self.user_id = None
        self._saved = {}
        self.is_new = True
        self.issued = False

    def _found(self, session_id: str, record: SessionRecord) -> dict[str, Any]:
        """Take over a record that was read under that id. Return the metadata."""
        self.session_id, self.user_id = record.current_id or session_id, record.user_id
        self._created, self._expires = record.created, record.expires
        self.is_new = False
        data = record.metadata
        self._saved = freeze_all(data)
        return data

    @property
    def manager(self) -> SessionManager:
        """The manager of the session."""
        return self._manager

    def seconds_left(self) -> float:
        """Return how many seconds the session lives from now if it is not used; 0 if nothing is stored."""
        return 0.0 if self.session_id is None else max(0.0, self._expires - time.time())

    def is_nothing(self) -> bool:
        """Tell whether nothing is stored or being stored, and nothing else must be done or told."""
        return self.session_id is None and not self.ended and not self.unread and not self.is_in_use()

    def holds(self, items: ItemsView[str, Any]) -> bool:
        """Tell whether the store holds exactly these keys with these values, as far as this request knows."""
        return self.session_id is not None and are_same(self._saved, items)

    def keys_with(self, text: bytes) -> list[str]:
        """Return the keys whose stored value is no scalar and has that text in its JSON."""
        return [key for key, value in self._saved.items() if type(value) is bytes and text in value]

    def is_changed(self, data: dict[str, Any]) -> bool:
        """Tell whether ``data`` differs from the data in the store, as far as this request knows."""
        try:
            return any(changes(self._saved, data))
        except MetadataError:
            return True

    def check(self, data: dict[str, Any]) -> None:
        """Raise MetadataError for data that cannot be stored, and for a session over ``max_bytes``."""
        check_size(data, self._max_bytes)

    def commit(self, data: dict[str, Any]) -> Awaitable[object]:
        """Write the differences in ``data``: nothing, one creation, or one update. ``data`` may be a ``Session``.

        Raises MetadataError for data that cannot be stored and for a session over ``max_bytes``, and StorageError.
        """
        if self.gone:
            return AT_ONCE
        if self.session_id is None:
            return self._create(dict(dict.items(data))) if dict.__len__(data) else AT_ONCE
        changed, removed = changes(self._saved, data)
        return self._write(dict(dict.items(data)), changed, removed) if changed or removed else AT_ONCE

    async def _create(self, data: dict[str, Any], user_id: str | None = None) -> None:
        check_size(data, self._max_bytes)
        saved = frozen(data)
        self.session_id = await self._manager.allocate_session(user_id=user_id, custom_metadata=data)
        self.user_id, self._created = user_id, time.time()
        self._expires = self._created + self._manager.default_ttl_hours * SECONDS_AN_HOUR
        self.issued, self.gone, self._saved = True, False, saved

    async def _write(self, data: dict[str, Any], changed: dict[str, Any], removed: Sequence[str]) -> bool:
        assert self.session_id is not None
        if changed:
            check_size(data, self._max_bytes)
        options: dict[str, Any] = {"remove": removed} if removed else {}
        saved = frozen(changed)
        is_found = await self._manager.update_session_metadata(self.session_id, changed, **options)
        self._written(is_found, saved, removed)
        return is_found

    def commit_by(
        self, update: Callable[[SessionManager, str, dict[str, Any], Sequence[str]], bool], data: dict[str, Any]
    ) -> None:
        """Do what ``commit`` does for a session that has an id, by a function that blocks."""
        if self.gone:
            return
        assert self.session_id is not None
        changed, removed = changes(self._saved, data)
        if not changed and not removed:
            return
        if changed:
            check_size(data, self._max_bytes)
        saved = frozen(changed)
        self._written(update(self._manager, self.session_id, changed, removed), saved, removed)

    def _written(self, is_found: bool, saved: Saved, removed: Sequence[str]) -> None:
        """Note that an update has been made, or has found no session."""
        if is_found:
            self._saved.update(saved)
            for key in removed:
                del self._saved[key]
        else:
            self.gone = True

    async def prolong(self, *, again: bool) -> None:
        """Give a session that was found its whole lifetime again. With ``again`` the client gets its id once more."""
        if self.session_id is None or self.is_new or self.gone:
            return
        if await self._manager.set_session_ttl(self.session_id, self._manager.default_ttl_hours):
            self._expires = time.time() + self._manager.default_ttl_hours * SECONDS_AN_HOUR
            if again:
                await self.issue_again()
        else:
            self.gone = True

    async def issue_again(self) -> None:
        """See to it that the client gets the id, as its cookie must change.

        The client does not get the id if the session has another one by now. Another response has brought that id to
        the client, and the client must keep it.
        """
        if self.session_id is None or self.gone or self.issued:
            return
        info = await self._manager.get_session_info(self.session_id)
        self.issued = info is not None and info["session_id"] == self.session_id

    async def renew(self, data: dict[str, Any], grace_seconds: float = 0, user_id: str | None = None) -> bool:
        """Give the session a new id and write ``data``. Return False if the store does not find the session."""
        if self.session_id is None or self.gone:
            return False
        changed, removed = changes(self._saved, data)
        if changed:
            check_size(data, self._max_bytes)
        if removed:
            await self._write(data, {}, removed)
        saved = frozen(changed)
        new_id = await self._manager.renew_session(
            self.session_id, grace_seconds, user_id=user_id, custom_metadata=changed or None
        )
        if new_id is None:
            self.gone = True
            return False
        self.session_id, self.issued = new_id, True
        self.user_id = self.user_id if user_id is None else user_id
        self._saved.update(saved)
        return True

    async def log_in(self, data: dict[str, Any], user_id: str, more: dict[str, Any]) -> dict[str, Any]:
        """Give the session to a user, under a new id. Return its data after that.

        A session of nobody keeps its data, and so does a session of that user. The data of another user is dropped, and
        so is the data of a session that has ended.
        """
        user_id = check_user("user_id", user_id)
        check_size(more, self._max_bytes)  # before anything ends
        if self.unread:
            await self.end()
        if self.session_id is None and not self.gone:
            await self._create(data | more, user_id)
            return data | more
        if self.user_id in (None, user_id):
            try:
                if await self.renew(data | more, 0, user_id):
                    return data | more
            except SessionTakenError:  # a login at the same time took the session
                await self.end()
        else:
            await self.end()
        self._forget()
        await self._create(dict(more), user_id)
        return dict(more)

    async def end(self) -> None:
        """End the session for all clients. The client is told to forget its id."""
        if self.session_id is not None:
            await self._manager.delete_session(self.session_id)
        for session_id in self.unread:
            await self._manager.delete_session(session_id)
        self.unread = ()
        self._forget()
        self.ended, self.gone = True, False

    async def increment(self, data: dict[str, Any], key: str, amount: int) -> int | None:
        """Add to one key in one atomic step. Return the new value; None if the session is not found."""
        if self.gone:
            return None
        if self.session_id is None:
            value = _sum(key, data.get(key, 0), amount)
            await self._create(data | {key: value})
            return value
        if self._is_changed_at(key, data):
            value = _sum(key, data.get(key, 0), amount)
            return value if await self._write(data | {key: value}, {key: value}, ()) else None
        found = await self._manager.increment_session_metadata(self.session_id, key, amount)
        if found is None:
            self.gone = True
        else:
            self._saved[key] = found
        return found

    def _is_changed_at(self, key: str, data: dict[str, Any]) -> bool:
        """Tell whether the values of that key in ``data`` and in the store differ, or only one of them has the key."""
        saved, there = ({key: each[key]} if key in each else {} for each in (self._saved, data))
        return any(changes(saved, there))

    async def reload(self) -> dict[str, Any]:
        """Read the data in the store; return an empty dict if nothing is stored or the session has ended."""
        if self.session_id is None or self.gone:
            return {}
        record = await self._manager._open_record(self.session_id)
        if record is None:
            self.gone = True
            return {}
        is_new = self.is_new
        data = self._found(self.session_id, record)
        self.is_new = is_new
        return data


def _sum(key: str, value: Any, amount: int) -> int:
    if type(value) is not int:
        raise MetadataError(f"{key!r} cannot be counted on: it holds no integer of 64 bits; nothing was stored")
    return value + check_count(amount)
