"""SessionManager: the life of a session, and the grid paths of its files."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

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
    check_near,
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
from chuk_sessions.ids import fingerprint, is_opaque, new_opaque_id, renewed_id
from chuk_sessions.manager_settings import ManagerSettings
from chuk_sessions.many_at_once import ManyAtOnce
from chuk_sessions.models import SessionMetadata, SessionRecord
from chuk_sessions.provider import Factory
from chuk_sessions.provider_factory import factory_for_env
from chuk_sessions.stores.contract import SessionStoreFactory, UserPaged, can
from chuk_sessions.stores.wrapper import DONE, StoreWrapper

if TYPE_CHECKING:
    from chuk_sessions.instrumentation import SessionEvent, SessionEvents, SessionMetrics
    from chuk_sessions.instrumentation.traces import SessionTraces

__all__ = ["SessionManager", "SessionMetadata"]

T = TypeVar("T")

logger = logging.getLogger(__name__)

NO_KEYS: tuple[str, ...] = ()
REPORT_INTERVAL = 10.0  # seconds between two log lines about a failing store


class SessionManager(ManagerSettings, ManyAtOnce, GridPaths):
    """Keep the sessions of one sandbox: allocate, validate, read, update, extend and delete them, and name their files.

    A manager is made once and shared. No call of it reaches a session of another sandbox.

    When the storage fails, ``allocate_session`` and the calls that 0.2 did not have raise StorageError, with the cause
    as its ``__cause__``. The other calls log a warning and return what they return for a session that is not found, so
    that old code runs on. With ``strict=True`` all calls raise: an outage can then be told from a logout.

    ``sandbox_id``, ``session_factory``, ``default_ttl_hours`` and ``strict`` are attributes that may be set, under the
    same rules; later calls use the new values.

    Example:
        >>> sessions = SessionManager("shop", idle_ttl_minutes=30)
        >>> session_id = await sessions.allocate_session(user_id="alice")

    Args:
        sandbox_id: The tenant or application, one path segment. The default is ``CHUK_SANDBOX_ID``, else
            ``CHUK_HOST_SANDBOX_ID``, else a random name. The sandbox is written to ``CHUK_SANDBOX_ID`` if that is
            unset.
        session_factory: Where the sessions are: a provider factory, or anything with ``session_store(sandbox_id)``. The
            default is ``factory_for_env()``.
        default_ttl_hours: How many hours a session lives unless its allocation says otherwise; fractions work.
        strict: Whether every call raises StorageError when the storage fails. A strict manager also refuses to allocate
            an id that is live under another user.
        touch_interval: Seconds. A validation writes the time of last access at most that often, which makes it one
            plain read on Redis most of the time.
        max_sessions_per_user: How many live sessions a user may have, at least 1. A new session beyond that ends the
            oldest in the step that creates it, also when several processes log the same user in. Sessions without a
            user are not counted.
        idle_ttl_minutes: How long a session lives without a touch, beside its lifetime (OWASP ASVS 5.0, 7.3.1). It
            never ends earlier. It may end later, by at most the longest ``touch_interval`` of the managers that use it.
            The interval of this manager must be at most half of the idle time; a longer interval of another manager
            counts as half. The idle time is written into the session when it is created; ``get_session_info`` then has
            ``idle_expires_at``.
        opaque_ids: Whether the ids made here leave out user and time (OWASP ASVS 5.0, 7.2.3): ``sess-`` and 38
            hexadecimal digits, 32 of them random. The last six digits are the slot tag, a hash that is the same for all
            sessions of a user in a sandbox: anybody who guesses a user id can check the guess by it. A renewed session
            gets an opaque id too; a session with an opaque id gets one also from a manager without this option. Ids of
            your own choice stay as they are.
        near_cache: Seconds, from 0.1 to ``touch_interval``, which it needs; 0 for none. On Redis this process then
            keeps sessions that it has read, and answers ``get_session_info``, ``get_session_metadata`` and, while no
            touch is due, ``validate_session``, ``validate_sessions`` and ``open_session`` from them. Such an answer is
            what the server would have said at most so many seconds ago, usually a round trip ago. Not for a cluster or
            a custom provider; on memory without effect.
        metrics: A ``chuk_sessions.instrumentation.SessionMetrics`` that counts the operations of this manager; several
            managers may share it.
        traces: A ``chuk_sessions.instrumentation.otel.SessionTraces`` that makes a span for each call on Redis, as a
            child of the current span.
        on_event: A function that is told, by a ``SessionEvent``, when this manager has created, renewed or ended a
            session; in memory also when one has expired. Or a ``chuk_sessions.instrumentation.SessionEvents``, for its
            options.

    Raises:
        ValueError: The sandbox is no path segment, or hours, an interval or a limit are out of range.
        NotSupportedError: The provider has no near cache.
        TypeError: Hours, an interval or a limit are no number, ``opaque_ids`` is no bool, ``session_factory`` is no
            factory, ``metrics`` no SessionMetrics, ``traces`` no SessionTraces, or ``on_event`` no plain function.
        ProviderError: ``SESSION_PROVIDER`` names no provider.
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
        near_cache: float = 0,
        metrics: SessionMetrics | None = None,
        traces: SessionTraces | None = None,
        on_event: Callable[[SessionEvent], object] | SessionEvents | None = None,
    ) -> None:
        self._opaque_ids = check_flag("opaque_ids", opaque_ids)
        self.default_ttl_hours = default_ttl_hours
        self._touch_interval = check_interval(touch_interval)
        self._near = check_near(near_cache, self._touch_interval)
        limit, idle = check_limit(max_sessions_per_user), check_idle(idle_ttl_minutes, self._touch_interval)
        self._options = {name: value for name, value in (("limit", limit), ("idle", idle)) if value}
        self.strict = strict
        if not (metrics is None and traces is None and on_event is None):
            from chuk_sessions.instrumentation.layers import layers

            self._layers = layers(metrics, traces, on_event)
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
        """Create a session, or touch the live one that has ``session_id``; return its id.

        The user, the deadline and the metadata of a session that is live already stay as they are.

        Args:
            session_id: An id of your own choice, one path segment of at most 1 KiB. None makes a random one.
            user_id: Whose session it is, at most 64 KiB; None if it is nobody's.
            ttl_hours: How many hours it lives: over 0 and up to 100 years, fractions included. None means
                ``default_ttl_hours``.
            custom_metadata: A dict of values that JSON can hold, UUIDs and Enum members. It reads back equal to
                ``json.loads(json.dumps(custom_metadata))``.

        Returns:
            The id.

        Raises:
            ValueError: Hours or an id are out of range, or ``session_id`` is empty, ``.`` or ``..``, or has a ``/``.
            TypeError: An id is no str, or hours are no number.
            MetadataError: The metadata holds a value that cannot be stored.
            SessionTakenError: The manager is strict, and the live session belongs to another user.
            StorageError: The storage failed, whether the manager is strict or not. Nothing was stored unless the cause
                is OutcomeUnknown.
        """
        lifetime = self._default_lifetime if ttl_hours is None else seconds_of("ttl_hours", ttl_hours)
        if user_id is not None and type(user_id) is not str:
            user_id = check_user("user_id", user_id, " or None")
        metadata = {} if custom_metadata is None else custom_metadata
        made_here = session_id is None
        if session_id is None:
            new_id = self._new_id  # an attribute that is called as it is loaded takes longer: Python looks for a method
            session_id = new_id(self._sandbox_id, user_id, time.time())
        else:
            session_id = check_new_id("session_id", session_id)
            if user_id is not None:
                check_user("user_id", user_id)
        create = self._create
        try:
            creation = create(session_id, user_id, lifetime, metadata)
            existing = None if creation is DONE else await creation
        except ProviderError as exc:
            if made_here and isinstance(exc, OutcomeUnknown):  # no caller gets this id, but it may count for its user
                in_background(partial(self._store.delete, session_id))
            raise StorageError(f"the session could not be allocated: {exc}") from exc
        if existing is not None and self.strict and existing.user_id != user_id:
            raise SessionTakenError(f"session {fingerprint(session_id)} is live and belongs to another user")
        return session_id

    async def validate_session(self, session_id: str) -> bool:
        """Tell whether a session lives, and touch it.

        Args:
            session_id: Its id, or an alias of it.

        Returns:
            True if it lives; False if it is unknown, expired or deleted.

        Raises:
            ValueError: The id is over 1 KiB.
            StorageError: The storage failed and the manager is strict.
        """
        if type(session_id) is not str:
            session_id = grid.plain(session_id)
        touch = self._touch  # not called as it is loaded, see ``allocate_session``
        try:
            found = touch(session_id, self._touch_interval)
            return found is DONE or await found or not_found(session_id)
        except ProviderError as exc:
            return self._failed(exc, "validate", session_id, False)

    async def open_session(self, session_id: str, *, owner: str | None = None) -> dict[str, Any] | None:
        """Touch a session and return its data, as ``get_session_info`` does.

        On Redis this takes one round trip. Use it for each request of a web application, and for a handle that a client
        sends with each call. ``touch_interval`` holds as for ``validate_session``.

        Args:
            session_id: Its id, or an alias of it.
            owner: A user id, at most 64 KiB: the session must be that user's. A session of another user or of nobody
                is then not found, and not touched.

        Returns:
            The dict of ``get_session_info``; None if the session is not found.

        Raises:
            TypeError: An id is no str.
            ValueError: ``session_id`` is over 1 KiB, or ``owner`` over 64 KiB.
            StorageError: The storage failed, whether the manager is strict or not.
        """
        session_id = check_id("session_id", session_id)
        if owner is not None:
            owner = check_user("owner", owner, " or None")
        open_info = self._open_info  # see ``validate_session``
        try:
            found = open_info(session_id, self._touch_interval, owner)
            if isinstance(found, dict):
                return found
            record = await found
        except ProviderError as exc:
            raise _storage_error("open", session_id, exc) from exc
        return None if record is None else record.info(session_id, self._sandbox_id)

    async def _open_record(self, session_id: str) -> SessionRecord | None:
        """Do what ``open_session`` does, for a str that is short enough; no texts of times are made."""
        try:
            return await self._store.open(session_id, self._touch_interval, None)
        except ProviderError as exc:
            raise _storage_error("open", session_id, exc) from exc

    async def get_session_info(self, session_id: str) -> dict[str, Any] | None:
        """Return the data of a session, without touching it.

        Args:
            session_id: Its id, or an alias of it.

        Returns:
            A dict with ``session_id`` (the id that is valid now), ``sandbox_id``, ``user_id``, ``created_at``,
            ``expires_at``, ``status``, ``last_accessed`` (times as ISO-8601 in UTC) and ``custom_metadata``, a copy;
            with an idle time also ``idle_expires_at``. None if the session is unknown, expired or deleted.

        Raises:
            ValueError: The id is over 1 KiB.
            StorageError: The storage failed and the manager is strict.
        """
        if type(session_id) is not str:
            session_id = grid.plain(session_id)
        info = self._info  # see ``validate_session``
        try:
            found = info(session_id)
            if isinstance(found, dict):
                return found
            record = await found
        except ProviderError as exc:
            return self._failed(exc, "read", session_id, None)
        if record is None:
            not_found(session_id)
            return None
        return record.info(session_id, self._sandbox_id)

    async def get_session_metadata(self, session_id: str) -> SessionMetadata | None:
        """Return the data of ``get_session_info`` as an object, without touching the session.

        Args:
            session_id: Its id, or an alias of it.

        Returns:
            A ``SessionMetadata``; None if the session is unknown, expired or deleted.

        Raises:
            ValueError: The id is over 1 KiB.
            StorageError: The storage failed, whether the manager is strict or not.
        """
        if type(session_id) is not str:
            session_id = grid.plain(session_id)
        info = self._info  # see ``validate_session``
        try:
            found = info(session_id)
            if isinstance(found, dict):
                return SessionMetadata.from_dict(found)
            record = await found
        except ProviderError as exc:
            raise _storage_error("read", session_id, exc) from exc
        if record is None:
            not_found(session_id)
            return None
        return SessionMetadata.from_dict(record.info(session_id, self._sandbox_id))

    async def update_session_metadata(
        self, session_id: str, custom_metadata: dict[str, Any], merge: bool = True, remove: Iterable[str] = NO_KEYS
    ) -> bool:
        """Set and remove top-level keys of a session's metadata, in one atomic step, and touch the session.

        All other keys stay, so that concurrent updates of different keys all take effect.

        Args:
            session_id: Its id, or an alias of it.
            custom_metadata: The keys to set, with their values; as for ``allocate_session``.
            merge: False makes the metadata exactly ``custom_metadata``, whatever ``remove`` has.
            remove: The keys to drop, if they are there.

        Returns:
            True if the session was updated; False if it is not found.

        Raises:
            MetadataError: The metadata holds a value that cannot be stored; nothing was changed.
            ValueError: A key is in both ``custom_metadata`` and ``remove``, or the id is over 1 KiB; nothing was
                changed.
            TypeError: ``remove`` is a str, or no iterable of keys; nothing was changed.
            StorageError: The storage failed and the manager is strict.
        """
        if type(session_id) is not str:
            session_id = grid.plain(session_id)
        try:
            if remove is NO_KEYS:
                update = self._update  # see ``validate_session``
                found = update(session_id, custom_metadata, not merge)
                return found is DONE or await found or not_found(session_id)
            removed = check_removed(remove, custom_metadata)
            options: dict[str, Any] = {"remove": removed} if removed and merge else {}
            return await self._store.update(session_id, custom_metadata, not merge, **options) or not_found(session_id)
        except ProviderError as exc:
            return self._failed(exc, "update", session_id, False)

    async def increment_session_metadata(self, session_id: str, field: str, amount: int = 1) -> int | None:
        """Add to one top-level key of a session's metadata, in one atomic step, and touch the session.

        Values are signed integers of 64 bits, as HINCRBY of Redis takes them. A missing key counts as 0.

        Args:
            session_id: Its id, or an alias of it.
            field: The key.
            amount: The number to add, a signed integer of 64 bits.

        Returns:
            The new value; None if the session is not found.

        Raises:
            MetadataError: The value of the key is no such integer (but a float, a bool, null), or the sum is out of
                range; nothing was changed.
            ValueError: ``amount`` is out of range, or the id is over 1 KiB.
            TypeError: ``amount`` is no int, or an id or a ``field`` is no str.
            StorageError: The storage failed, whether the manager is strict or not. If the cause is OutcomeUnknown, the
                amount may have been added.
        """
        session_id, amount = check_id("session_id", session_id), check_count(amount)
        key = text_key(grid.check_text("field", field))
        try:
            return await self._store.increment(session_id, key, amount)
        except ProviderError as exc:
            raise _storage_error("count in", session_id, exc) from exc

    async def extend_session_ttl(self, session_id: str, additional_hours: float) -> bool:
        """Move the deadline of a session later, and touch the session.

        Args:
            session_id: Its id, or an alias of it.
            additional_hours: How much later: over 0 and up to 100 years, fractions included.

        Returns:
            True if the deadline was moved; False if the session is not found.

        Raises:
            ValueError: Hours are out of range, the deadline would be beyond the year 9999, or the id is over 1 KiB;
                nothing was changed.
            TypeError: Hours are no number; nothing was changed.
            StorageError: The storage failed and the manager is strict.
        """
        lifetime = seconds_of("additional_hours", additional_hours)
        if type(session_id) is not str:
            session_id = grid.plain(session_id)
        try:
            return await self._store.extend(session_id, lifetime) or not_found(session_id)
        except ProviderError as exc:
            return self._failed(exc, "extend", session_id, False)

    async def set_session_ttl(self, session_id: str, ttl_hours: float) -> bool:
        """Give a session a deadline that counts from now, and touch the session.

        The deadline may be earlier than before, or later. A session with an idle time ends at this deadline too,
        however often it is touched.

        Args:
            session_id: Its id, or an alias of it.
            ttl_hours: How long it lives from now: over 0 and up to 100 years, fractions included.

        Returns:
            True if the deadline was set; False if the session is not found.

        Raises:
            ValueError: Hours are out of range, the deadline would be beyond the year 9999, or the id is over 1 KiB;
                nothing was changed.
            TypeError: Hours are no number, or the id is no str; nothing was changed.
            StorageError: The storage failed, whether the manager is strict or not.
        """
        lifetime = seconds_of("ttl_hours", ttl_hours)
        session_id = check_id("session_id", session_id)
        try:
            return await self._store.extend(session_id, lifetime, from_now=True)
        except ProviderError as exc:
            raise _storage_error("set the lifetime of", session_id, exc) from exc

    async def delete_session(self, session_id: str) -> bool:
        """End a session for every process, at once.

        Args:
            session_id: Its id, or an alias of it.

        Returns:
            True if there was a session to end, else False.

        Raises:
            ValueError: The id is over 1 KiB.
            StorageError: The storage failed and the manager is strict.
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
        """Give a session a new id, with the same data and deadline, and touch it.

        Without a grace all earlier ids have ended when this returns, aliases included: use that at a login (OWASP ASVS
        5.0, 7.2.4). With a grace the old id stays an alias for that time, for requests that are under way with it:
        deleting the alias deletes the session, and renewing it with a grace returns the new id once more. Of two
        renewals at the same time the later returns None without a grace, and the same new id with a grace.

        Args:
            session_id: Its id, or an alias of it.
            grace_seconds: How long the old id stays an alias, up to 100 years.
            user_id: Binds a session of nobody to this user in the same step, as at a login: it is listed and ended with
                that user's sessions, and ``max_sessions_per_user`` ends the oldest of the others. A session that is the
                user's already keeps its place.
            custom_metadata: Keys to merge into the metadata in the same step.

        Returns:
            The new id; None if the session is not found.

        Raises:
            SessionTakenError: The session is another user's, whether the manager is strict or not; nothing was changed.
            ValueError: The grace is negative or out of range, or an id is too long.
            TypeError: The grace is no number, or an id is no str.
            MetadataError: The metadata holds a value that cannot be stored; nothing was changed.
            StorageError: The storage failed, whether the manager is strict or not. If the cause is OutcomeUnknown, the
                session has the old id or the new id, never both. In a cluster, giving it to a user takes several steps;
                there it may have ended.
            NotSupportedError: A custom provider cannot do this.
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
        """List all live sessions of a user, without touching them.

        On Redis it takes no longer than any call for up to 500 sessions; each 500 more may take that long once more.

        Args:
            user_id: The user.

        Returns:
            The dicts of ``get_session_info``, oldest session first; an empty list if there are none.

        Raises:
            TypeError: ``user_id`` is no str.
            StorageError: The storage failed, whether the manager is strict or not.
            NotSupportedError: A custom provider cannot do this.
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
            infos += [record.info(session_id, self._sandbox_id) for session_id, record in some]
        return infos

    async def iter_user_sessions(self, user_id: str, batch: int = 500) -> AsyncIterator[dict[str, Any]]:
        """Go through all live sessions of a user, in no order, without touching them.

        This is for users with so many sessions that a list would be large. A session that lives all the while comes at
        least once. A session that is allocated, ended, or given a new id or an earlier deadline meanwhile may or may
        not come.

        Args:
            user_id: The user.
            batch: About how many sessions are read at a time, 1 to 10,000.

        Yields:
            The dict of ``get_session_info`` of each session.

        Raises:
            TypeError: ``user_id`` is no str, or ``batch`` no int.
            ValueError: ``batch`` is out of range.
            StorageError: The storage failed, whether the manager is strict or not.
            NotSupportedError: A custom provider cannot do this.
        """
        user_id, batch = check_user("user_id", user_id), check_batch(batch)
        store = self._store if can(self._store, UserPaged) else StoreWrapper(self._store)
        try:
            async for page in store.user_pages(user_id, batch):
                for session_id, record in page:
                    yield record.info(session_id, self._sandbox_id)
        except ProviderError as exc:
            raise _storage_error("list the sessions of a user", None, exc) from exc

    async def delete_user_sessions(
        self, user_id: str, keep: str | Iterable[str] | None = None, *, thorough: bool = False
    ) -> int:
        """End all sessions of a user, except those in ``keep``.

        When it returns, every session of that user that was allocated before the call has ended for every process
        (OWASP ASVS 5.0, 7.4.3). On Redis they are found by an index. For how long a call may take see
        ``list_user_sessions``.

        Args:
            user_id: The user.
            keep: An id or several: these sessions stay.
            thorough: Whether to go through all sessions of the sandbox too, which takes as long as ``iter_sessions``.
                It finds sessions that the index has lost because the server evicted keys; a server should never do so.

        Returns:
            How many sessions were ended.

        Raises:
            TypeError: ``user_id`` is no str, or ``keep`` is no id, no ids and not None; no session was ended.
            StorageError: The storage failed, whether the manager is strict or not. Some sessions may have ended: call
                again.
            NotSupportedError: A custom provider cannot do this.
        """
        user_id, kept = check_user("user_id", user_id), check_keep(keep)
        try:
            ended = await self._store.delete_user(user_id, kept)
            if thorough:
                from chuk_sessions.unlisted import end_unlisted

                ended += await self._together("pages", 1, end_unlisted(self._store, user_id, kept))
            return ended
        except ProviderError as exc:
            raise _storage_error("end the sessions of a user", None, exc) from exc

    async def iter_sessions(self, batch: int = 500) -> AsyncIterator[dict[str, Any]]:
        """Go through all live sessions of this sandbox, in no order, without touching them.

        Memory stays bounded. A session that lives all the while comes at least once, more often if servers changed
        meanwhile, or on memory if its deadline came near. A session that is allocated, ended, or given a new id or an
        earlier deadline meanwhile may or may not come.

        Args:
            batch: About how many sessions are read at a time, 1 to 10,000.

        Yields:
            The dict of ``get_session_info`` of each session.

        Raises:
            ValueError: ``batch`` is out of range.
            TypeError: ``batch`` is no int.
            StorageError: The storage failed, whether the manager is strict or not.
            NotSupportedError: A custom provider cannot do this.
        """
        try:
            async for page in self._store.pages(check_batch(batch)):
                for session_id, record in page:
                    yield record.info(session_id, self._sandbox_id)
        except ProviderError as exc:
            raise _storage_error("go through the sessions", None, exc) from exc

    async def count_sessions(self) -> int:
        """Count the live sessions of this sandbox; on Redis by looking at all keys, so not for every request.

        Returns:
            How many there are; exact while nothing changes.

        Raises:
            StorageError: The storage failed, whether the manager is strict or not.
            NotSupportedError: A custom provider cannot do this.
        """
        try:
            return await self._store.count()
        except ProviderError as exc:
            raise _storage_error("count the sessions", None, exc) from exc

    async def aclose(self) -> None:
        """Give up the store of this manager and its cache of grid prefixes. A second call does no harm.

        A store of your own is closed by its ``aclose``. Connections to Redis and the memory store are shared by all
        managers of the process and stay open for them: a connection closes with its event loop.
        """
        self._prefixes.clear()
        await self._store.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def cleanup_expired_sessions(self) -> int:
        """Remove the expired sessions of this sandbox now.

        This is not needed: the memory store removes them in the background, and a Redis server by itself.

        Returns:
            How many were removed; always 0 on Redis.

        Raises:
            StorageError: The storage failed and the manager is strict.
        """
        try:
            return 0 if self._in_process is None else await self._in_process.sweep()
        except ProviderError as exc:
            return self._failed(exc, "clean up sessions", None, 0)

    def get_cache_stats(self) -> dict[str, Any]:
        """Return some figures of this manager and of its sessions in this process.

        Returns:
            A dict with ``cached_sessions``, the live sessions in this process, and ``max_cache_size``, how many it may
            hold (``sys.maxsize`` on memory without a bound); both are 0 on Redis without a ``near_cache``. Also
            ``sandbox_id`` and ``default_ttl_hours``.
        """
        return {
            "cached_sessions": 0 if self._in_process is None else self._in_process.cached(),
            "max_cache_size": 0 if self._in_process is None else self._in_process.capacity(),
            "sandbox_id": self.sandbox_id,
            "default_ttl_hours": self.default_ttl_hours,
        }

    def _failed(self, exc: ProviderError, action: str, session_id: str | None, result: T) -> T:
        """Raise StorageError if the manager is strict; else log, at most once per interval, and return ``result``."""
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
    """Make the error of a manager whose storage has failed: the words of every call are made here."""
    which = "" if session_id is None else f" session {fingerprint(session_id)}"
    return StorageError(f"could not {action}{which}: {exc}")
