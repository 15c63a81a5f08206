"""SessionManager: the life of a session, and the grid paths of what belongs to it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable
from functools import partial
from typing import Any, Self, TypeVar

from chuk_sessions import grid
from chuk_sessions.arguments import (
    check_batch,
    check_count,
    check_flag,
    check_id,
    check_idle,
    check_interval,
    check_keep,
    check_limit,
    check_new_id,
    check_removed,
    check_user,
    choose_sandbox,
    not_found,
    seconds_of,
)
from chuk_sessions.batches import SLICE, in_background, slices
from chuk_sessions.codec import text_key
from chuk_sessions.exceptions import OutcomeUnknown, ProviderError, SessionTakenError, StorageError
from chuk_sessions.grid_paths import GridPaths
from chuk_sessions.ids import fingerprint, is_opaque, new_opaque_id, new_session_id, renewed_id
from chuk_sessions.manager_settings import ManagerSettings
from chuk_sessions.many_at_once import ManyAtOnce
from chuk_sessions.models import SessionMetadata, session_info
from chuk_sessions.provider import Factory
from chuk_sessions.provider_factory import factory_for_env
from chuk_sessions.stores.contract import SessionStoreFactory, UserPaged, can
from chuk_sessions.stores.wrapper import StoreWrapper

__all__ = ["SessionManager", "SessionMetadata"]

T = TypeVar("T")

logger = logging.getLogger(__name__)

NO_KEYS: tuple[str, ...] = ()
REPORT_INTERVAL = 10.0  # seconds between two log lines about a failing store


class SessionManager(ManagerSettings, ManyAtOnce, GridPaths):
    """Sessions of one sandbox: allocate, validate, read, update, extend, delete; and their grid paths.

    ``sandbox_id`` isolates tenants: nothing done through a manager reaches a session of another sandbox. It is the
    argument, else ``CHUK_SANDBOX_ID``, else ``CHUK_HOST_SANDBOX_ID``, else a random one, and is left in
    ``CHUK_SANDBOX_ID`` if that is unset. ``session_factory`` is a provider factory; the default is
    ``factory_for_env()``. ``default_ttl_hours`` is how long a session lives unless told otherwise; fractions work.

    When the storage fails, ``allocate_session`` and the calls that 0.2 did not have raise StorageError with the cause;
    the others log it and return what they return for a session that is not found, so that old code runs on. With
    ``strict=True`` they all raise: an outage can then be told from a logout.

    Validating writes the time of last access; ``touch_interval`` (seconds, default 0) writes it at most that often,
    which makes validation on Redis one plain read most of the time.

    ``max_sessions_per_user`` (at least 1) is how many live sessions a user may have: one more ends the oldest, in the
    step that creates it, also when several processes log the same user in. Sessions without a user are not counted.

    ``idle_ttl_minutes`` ends a session that was not touched for so long, beside its lifetime (OWASP ASVS 5.0, 7.3.1);
    never earlier, and later by at most the longest ``touch_interval`` of the managers that use it, which must be at
    most half of it for this one and counts as that for others. It is written into the session when it is created, and
    ``get_session_info`` then has ``idle_expires_at``.

    ``opaque_ids`` leaves user and time out of the ids made here, so that an id has no meaning (OWASP ASVS 5.0, 7.2.3):
    ``sess-`` and 38 hexadecimal digits, 32 of them random. The last six are the tag, which is the same for all sessions
    of a user in a sandbox: a hash, by which who can guess a user id can check the guess. A renewed session gets such an
    id too, also from a manager without this option if it had one; ids of your own choice stay as they are.

    Raises ValueError for a sandbox that is no path segment, for hours, an interval or a limit out of range, TypeError
    for ones that are no number, for an ``opaque_ids`` that is no bool and for what is no factory, ProviderError for an
    unknown ``SESSION_PROVIDER``.

    ``sandbox_id``, ``session_factory``, ``default_ttl_hours`` and ``strict`` are attributes that may be set, under the
    same rules; the calls after that go by them.
    """

    def __init__(
        self,
        sandbox_id: str | None = None,
        session_factory: Factory | SessionStoreFactory | None = None,
        default_ttl_hours: float = 24,
        *,
        strict: bool = False,
        touch_interval: float = 0,
        max_sessions_per_user: int | None = None,
        idle_ttl_minutes: float | None = None,
        opaque_ids: bool = False,
    ) -> None:
        self._opaque_ids = check_flag("opaque_ids", opaque_ids)
        self._new_id = new_opaque_id if opaque_ids else new_session_id
        self.default_ttl_hours = default_ttl_hours
        self._touch_interval = check_interval(touch_interval)
        limit, idle = check_limit(max_sessions_per_user), check_idle(idle_ttl_minutes, self._touch_interval)
        self._options = {name: value for name, value in (("limit", limit), ("idle", idle)) if value}
        self.strict = strict
        sandbox_id = choose_sandbox(sandbox_id)
        self._open(factory_for_env() if session_factory is None else session_factory, sandbox_id)
        self._next_report = 0.0

    def __repr__(self) -> str:
        return f"SessionManager(sandbox_id={self.sandbox_id!r}, default_ttl_hours={self.default_ttl_hours!r})"

    async def allocate_session(
        self,
        session_id: str | None = None,
        user_id: str | None = None,
        ttl_hours: float | None = None,
        custom_metadata: dict[str, Any] | None = None,
    ) -> str:
        """Create a session and return its id; a live session with the given ``session_id`` is touched and returned.

        ``ttl_hours`` is over 0 and up to 100 years, fractions included; None means ``default_ttl_hours``.
        ``custom_metadata`` is a dict of what JSON can hold, of UUIDs and of Enum members; it reads back equal to
        ``json.loads(json.dumps(custom_metadata))``. Of an existing session, user, deadline and metadata stay as they
        are.

        Raises ValueError for hours out of range, for a ``session_id`` that is empty, ``.`` or ``..``, has a ``/`` or is
        over 1 KiB, and for a ``user_id`` over 64 KiB; TypeError for ids that are no str and hours that are no number;
        MetadataError for metadata that cannot be stored; StorageError if the storage fails; when strict,
        SessionTakenError if the live session belongs to another user. Nothing is stored then, unless the cause is
        OutcomeUnknown.
        """
        lifetime = self._default_lifetime if ttl_hours is None else seconds_of("ttl_hours", ttl_hours)
        if user_id is not None and type(user_id) is not str:
            user_id = check_user("user_id", user_id, " or None")
        metadata = {} if custom_metadata is None else custom_metadata
        made_here = session_id is None
        if session_id is None:
            session_id = self._new_id(self._sandbox_id, user_id, time.time())
        else:
            session_id = check_new_id("session_id", session_id)
            if user_id is not None:
                check_user("user_id", user_id)
        try:
            existing = await self._create(session_id, user_id, lifetime, metadata)
        except ProviderError as exc:
            if made_here and isinstance(exc, OutcomeUnknown):  # nobody will have that id, and it may count for its user
                in_background(partial(self._store.delete, session_id))
            raise StorageError(f"the session could not be allocated: {exc}") from exc
        if self.strict and existing is not None and existing.user_id != user_id:
            raise SessionTakenError(f"session {fingerprint(session_id)} is live and belongs to another user")
        return session_id

    async def validate_session(self, session_id: str) -> bool:
        """Whether the session lives; touches it. False for an unknown, expired or deleted one.

        Raises ValueError for an id over 1 KiB. A failing storage: see the class.
        """
        if type(session_id) is not str:
            session_id = grid.plain(session_id)
        try:
            return await self._store.touch(session_id, self._touch_interval) or not_found(session_id)
        except ProviderError as exc:
            return self._failed(exc, "validate", session_id, False)

    async def open_session(self, session_id: str, *, owner: str | None = None) -> dict[str, Any] | None:
        """Touch a session and tell what is known of it, as ``get_session_info`` does; None if it is not found.

        On Redis that is one round trip: for each request of a web application, and for a handle that a client sends
        with each call. With ``owner``, a user id, the session must be that user's: None for the session of another and
        of nobody, and it is not touched then. ``touch_interval`` holds as for ``validate_session``.

        Raises TypeError for ids that are no str, ValueError for an id over 1 KiB and an ``owner`` over 64 KiB;
        StorageError if the storage fails, strict or not.
        """
        session_id = check_id("session_id", session_id)
        if owner is not None:
            owner = check_user("owner", owner, " or None")
        try:
            record = await self._store.open(session_id, self._touch_interval, owner)
        except ProviderError as exc:
            raise _storage_error("open", session_id, exc) from exc
        return None if record is None else session_info(session_id, self._sandbox_id, record)

    async def get_session_info(self, session_id: str) -> dict[str, Any] | None:
        """What is known of a session, without touching it; None for an unknown, expired or deleted one.

        Keys: ``session_id`` (the id that is valid now, also if asked for under an alias), ``sandbox_id``, ``user_id``,
        ``created_at``, ``expires_at``, ``status``, ``last_accessed`` (ISO-8601 in UTC) and ``custom_metadata``, a copy.
        Raises ValueError for an id over 1 KiB. A failing storage: see the class.
        """
        if type(session_id) is not str:
            session_id = grid.plain(session_id)
        try:
            record = await self._store.read(session_id)
        except ProviderError as exc:
            return self._failed(exc, "read", session_id, None)
        if record is None:
            not_found(session_id)
            return None
        return session_info(session_id, self._sandbox_id, record)

    async def get_session_metadata(self, session_id: str) -> SessionMetadata | None:
        """What ``get_session_info`` tells, as an object; None for an unknown, expired or deleted session.

        Does not touch the session. Raises ValueError for an id over 1 KiB, StorageError if the storage fails, strict or
        not.
        """
        if type(session_id) is not str:
            session_id = grid.plain(session_id)
        try:
            record = await self._store.read(session_id)
        except ProviderError as exc:
            raise _storage_error("read", session_id, exc) from exc
        if record is None:
            not_found(session_id)
            return None
        return SessionMetadata.from_dict(session_info(session_id, self._sandbox_id, record))

    async def update_session_metadata(
        self, session_id: str, custom_metadata: dict[str, Any], merge: bool = True, remove: Iterable[str] = NO_KEYS
    ) -> bool:
        """Set and remove top-level keys of a session's metadata, in one atomic step, and touch it.

        Returns False if the session is not found. ``custom_metadata`` has the keys to set, with their values, and
        ``remove`` the keys to drop, if they are there. All others stay, so that concurrent updates of different keys
        all take effect. With ``merge=False`` the metadata becomes exactly ``custom_metadata``, whatever ``remove``
        has. Raises MetadataError for metadata that cannot be stored, ValueError for a key that is in both and for an
        id over 1 KiB, TypeError for a ``remove`` that is no iterable of keys, a str included; nothing changes then. A
        failing storage: see the class.
        """
        if type(session_id) is not str:
            session_id = grid.plain(session_id)
        try:
            if remove is NO_KEYS:
                return await self._store.update(session_id, custom_metadata, not merge) or not_found(session_id)
            removed = check_removed(remove, custom_metadata)
            options: dict[str, Any] = {"remove": removed} if removed and merge else {}
            return await self._store.update(session_id, custom_metadata, not merge, **options) or not_found(session_id)
        except ProviderError as exc:
            return self._failed(exc, "update", session_id, False)

    async def increment_session_metadata(self, session_id: str, field: str, amount: int = 1) -> int | None:
        """Add ``amount`` to one top-level key of a session's metadata, in one atomic step, and touch the session.

        Returns the new value, None if the session is not found. A missing key counts as 0; values and ``amount`` are
        signed integers of 64 bits, as HINCRBY of Redis takes them. Raises MetadataError, and changes nothing, if the
        key holds anything else (a float, a bool, null) or the sum would leave that range; ValueError for an
        ``amount`` out of range, TypeError for one that is no int and for an id or a ``field`` that is no str. Raises
        StorageError if the storage fails, strict or not: after OutcomeUnknown it may have been counted.
        """
        session_id, amount = check_id("session_id", session_id), check_count(amount)
        key = text_key(grid.check_text("field", field))
        try:
            return await self._store.increment(session_id, key, amount)
        except ProviderError as exc:
            raise _storage_error("count in", session_id, exc) from exc

    async def extend_session_ttl(self, session_id: str, additional_hours: float) -> bool:
        """Move the deadline later by ``additional_hours`` and touch the session; False if it is not found.

        Raises ValueError for hours that are not over 0 and up to 100 years, for a deadline beyond the year 9999 and for
        an id over 1 KiB, TypeError for hours that are no number; nothing changes then. A failing storage: see the
        class.
        """
        lifetime = seconds_of("additional_hours", additional_hours)
        if type(session_id) is not str:
            session_id = grid.plain(session_id)
        try:
            return await self._store.extend(session_id, lifetime) or not_found(session_id)
        except ProviderError as exc:
            return self._failed(exc, "extend", session_id, False)

    async def set_session_ttl(self, session_id: str, ttl_hours: float) -> bool:
        """Give a session a deadline ``ttl_hours`` from now, and touch it; False if it is not found.

        The deadline may be earlier than it was, or later. Where there is an idle time, the session ends at this
        deadline however often it is touched.

        Raises ValueError for hours that are not over 0 and up to 100 years, for a deadline beyond the year 9999 and
        for an id over 1 KiB, TypeError for hours that are no number and for an id that is no str; nothing changes
        then. Raises StorageError if the storage fails, strict or not.
        """
        lifetime = seconds_of("ttl_hours", ttl_hours)
        session_id = check_id("session_id", session_id)
        try:
            return await self._store.extend(session_id, lifetime, from_now=True)
        except ProviderError as exc:
            raise _storage_error("set the lifetime of", session_id, exc) from exc

    async def delete_session(self, session_id: str) -> bool:
        """End a session for every process, at once; False if it is not found.

        Raises ValueError for an id over 1 KiB. A failing storage: see the class.
        """
        if type(session_id) is not str:
            session_id = grid.plain(session_id)
        try:
            return await self._store.delete(session_id) or not_found(session_id)
        except ProviderError as exc:
            return self._failed(exc, "delete", session_id, False)

    async def renew_session(
        self,
        session_id: str,
        grace_seconds: float = 0,
        *,
        user_id: str | None = None,
        custom_metadata: dict[str, Any] | None = None,
    ) -> str | None:
        """Give a session a new id, with the same data and deadline, and touch it; the new id, None if not found.

        With ``user_id`` the session of nobody becomes that user's in the same step, as at a login: it is listed and
        ended with that user's sessions, and ``max_sessions_per_user`` ends the oldest of the others. A session that is
        the user's already keeps its place. ``custom_metadata`` is merged into the metadata in the same step.

        Without a grace all ids that anybody knew have ended when this returns, aliases included: use that at a login
        (OWASP ASVS 5.0, 7.2.4). With ``grace_seconds`` (up to 100 years) the old id answers as an alias for so long,
        for requests that are under way with it: deleting it deletes the session, renewing it with a grace gives the
        new id once more. Of two renewals at the same time the later gets None without a grace, and the same new id
        with one.

        Raises SessionTakenError, strict or not, and changes nothing, if the session is another user's; ValueError for
        a grace that is negative or out of range and for a ``user_id`` over 64 KiB, TypeError for one that is no number
        and for ids that are no str; MetadataError for metadata that cannot be stored; StorageError if the storage
        fails, strict or not; NotSupportedError on a custom provider. After OutcomeUnknown the session has the old id or
        the new one, never both; in a cluster, where giving it to a user takes several steps, it may have ended.
        """
        grace = check_interval(grace_seconds, "grace_seconds")
        session_id = check_id("session_id", session_id)
        options: dict[str, Any] = {}
        if custom_metadata is not None:
            options["metadata"] = custom_metadata
        if user_id is None:
            new_id = renewed_id(session_id, time.time(), opaque=self._opaque_ids)
        else:
            options["user_id"] = check_user("user_id", user_id, " or None")
            make = new_opaque_id if is_opaque(session_id) else self._new_id
            new_id = make(self._sandbox_id, options["user_id"], time.time())
            if limit := self._options.get("limit"):
                options["limit"] = limit
        try:
            return await self._store.renew(session_id, new_id, grace, **options)
        except ProviderError as exc:
            raise _storage_error("renew", session_id, exc) from exc

    async def list_user_sessions(self, user_id: str) -> list[dict[str, Any]]:
        """What is known of each live session of a user, oldest first, as ``get_session_info`` gives it; touches none.

        An empty list if there are none. Raises TypeError for a ``user_id`` that is no str, StorageError if the storage
        fails, strict or not; NotSupportedError on a custom provider.
        """
        user_id = check_user("user_id", user_id)
        try:
            found = await self._store.list_user(user_id)
        except ProviderError as exc:
            raise _storage_error("list the sessions of a user", None, exc) from exc
        infos: list[dict[str, Any]] = []
        for some in slices(found, SLICE):
            if infos:
                await asyncio.sleep(0)
            infos += [session_info(session_id, self._sandbox_id, record) for session_id, record in some]
        return infos

    async def iter_user_sessions(self, user_id: str, batch: int = 500) -> AsyncIterator[dict[str, Any]]:
        """All live sessions of a user, in no order, as ``get_session_info`` gives them; touches none.

        For users with so many that a list would be large: about ``batch`` (1 to 10,000) are read at a time. A session
        that lives all the while comes at least once; one that is allocated, ended, given a new id or an earlier
        deadline meanwhile may or may not come. Raises TypeError for a ``user_id`` that is no str, ValueError for a
        ``batch`` out of range, TypeError for one that is no int; StorageError if the storage fails, strict or not;
        NotSupportedError on a custom provider.
        """
        user_id, batch = check_user("user_id", user_id), check_batch(batch)
        store = self._store if can(self._store, UserPaged) else StoreWrapper(self._store)
        try:
            async for page in store.user_pages(user_id, batch):
                for session_id, record in page:
                    yield session_info(session_id, self._sandbox_id, record)
        except ProviderError as exc:
            raise _storage_error("list the sessions of a user", None, exc) from exc

    async def delete_user_sessions(
        self, user_id: str, keep: str | Iterable[str] | None = None, *, thorough: bool = False
    ) -> int:
        """End all sessions of a user but those in ``keep``, an id or several; how many were ended.

        When it returns, every session of that user that was allocated before the call has ended for every process
        (OWASP ASVS 5.0, 7.4.3). On Redis they are found by an index. Should the server evict keys (it must not), a
        session may live on that the index has lost: with ``thorough`` all sessions of the sandbox are gone through
        too, which takes as long as ``iter_sessions``.

        Raises TypeError, before anything ends, for a ``user_id`` that is no str and for a ``keep`` that is no id, no
        ids and not None; StorageError if the storage fails, strict or not: some sessions may have ended then, so call
        again; NotSupportedError on a custom provider.
        """
        user_id, kept = check_user("user_id", user_id), check_keep(keep)
        try:
            ended = await self._store.delete_user(user_id, kept)
            if thorough:
                from chuk_sessions.unlisted import end_unlisted

                ended += await end_unlisted(self._store, user_id, kept)
            return ended
        except ProviderError as exc:
            raise _storage_error("end the sessions of a user", None, exc) from exc

    async def iter_sessions(self, batch: int = 500) -> AsyncIterator[dict[str, Any]]:
        """All live sessions of this sandbox, in no order, as ``get_session_info`` gives them; touches none.

        About ``batch`` (1 to 10,000) are read at a time, so that memory stays bounded. A session that lives all the
        while comes at least once, more often if servers changed meanwhile; one that is allocated, ended or given a new
        id meanwhile may or may not come. Raises ValueError for a ``batch`` out of range, TypeError for one that is no
        int; StorageError if the storage fails, strict or not; NotSupportedError on a custom provider.
        """
        try:
            async for page in self._store.pages(check_batch(batch)):
                for session_id, record in page:
                    yield session_info(session_id, self._sandbox_id, record)
        except ProviderError as exc:
            raise _storage_error("go through the sessions", None, exc) from exc

    async def count_sessions(self) -> int:
        """How many sessions of this sandbox live; on Redis by looking at all keys, so not for every request.

        Exact while nothing changes. Raises StorageError if the storage fails, strict or not; NotSupportedError on a
        custom provider.
        """
        try:
            return await self._store.count()
        except ProviderError as exc:
            raise _storage_error("count the sessions", None, exc) from exc

    async def aclose(self) -> None:
        """Give up what this manager holds: its store, and its cache of grid prefixes. May be called again.

        A store of your own is closed by its ``aclose``. Connections to Redis and the memory store are shared by all
        managers of the process, and stay open for them: a connection closes with its event loop.
        """
        self._prefixes.clear()
        await self._store.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def cleanup_expired_sessions(self) -> int:
        """Remove expired sessions of this sandbox now; how many there were.

        Memory does this by itself in the background, and Redis on the server: there it is always 0.
        """
        try:
            return 0 if self._in_process is None else await self._in_process.sweep()
        except ProviderError as exc:
            return self._failed(exc, "clean up sessions", None, 0)

    def get_cache_stats(self) -> dict[str, Any]:
        """``cached_sessions``, ``max_cache_size``, ``sandbox_id`` and ``default_ttl_hours``.

        The first two are the live sessions in this process and how many it may hold: ``sys.maxsize`` on memory
        without a bound, both 0 on Redis, where there is no cache.
        """
        return {
            "cached_sessions": 0 if self._in_process is None else self._in_process.cached(),
            "max_cache_size": 0 if self._in_process is None else self._in_process.capacity(),
            "sandbox_id": self.sandbox_id,
            "default_ttl_hours": self.default_ttl_hours,
        }

    def _failed(self, exc: ProviderError, action: str, session_id: str | None, result: T) -> T:
        """Raise when strict; else log, at most once per interval, and give ``result``."""
        error = _storage_error(action, session_id, exc)
        if self.strict:
            raise error from exc
        now = time.monotonic()
        if now >= self._next_report:
            self._next_report = now + REPORT_INTERVAL
            text = str(error)
            logger.warning("%s (more such failures are not logged for 10 s)", text[0].upper() + text[1:])
        return result


def _storage_error(action: str, session_id: str | None, exc: ProviderError) -> StorageError:
    """What a manager raises when its storage fails: every call's words are made here."""
    which = "" if session_id is None else f" session {fingerprint(session_id)}"
    return StorageError(f"could not {action}{which}: {exc}")
