"""SessionManager: the life of a session, and the grid paths of what belongs to it."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from os import urandom
from typing import Any, TypeVar

from chuk_sessions import grid
from chuk_sessions.codec import text_key
from chuk_sessions.exceptions import ProviderError, SessionError
from chuk_sessions.models import SessionMetadata, session_info
from chuk_sessions.provider import Factory
from chuk_sessions.provider_factory import factory_for_env
from chuk_sessions.provider_session_store import ProviderSessionStore
from chuk_sessions.session_ids import fingerprint, new_session_id
from chuk_sessions.session_store import INT64, SessionStore, SessionStoreFactory

__all__ = ["SessionManager", "SessionMetadata"]

T = TypeVar("T")

logger = logging.getLogger(__name__)

MAX_HOURS = 100 * 365.25 * 24
HOUR = 3600.0
PREFIX_CACHE_SIZE = 4096
SANDBOX_VARIABLES = ("CHUK_SANDBOX_ID", "CHUK_HOST_SANDBOX_ID")
REPORT_INTERVAL = 10.0  # seconds between two log lines about a failing store


class SessionManager:
    """Sessions of one sandbox: allocate, validate, read, update, extend, delete; and their grid paths.

    ``sandbox_id`` isolates tenants: nothing done through a manager reaches a session of another sandbox. It is the
    argument, else ``CHUK_SANDBOX_ID``, else ``CHUK_HOST_SANDBOX_ID``, else a random one, and is left in
    ``CHUK_SANDBOX_ID`` if that is unset. ``session_factory`` is a provider factory; the default is
    ``factory_for_env()``. ``default_ttl_hours`` is how long a session lives unless told otherwise; fractions work.

    When the storage fails, ``allocate_session`` and the calls that 0.2 did not have (``get_session_metadata``,
    ``increment_session_metadata``) raise SessionError with the cause; the others log it and return what they return
    for a session that is not found, so that old code runs on. With ``strict=True`` they all raise: an outage can then
    be told from a logout.

    Validating writes the time of last access; ``touch_interval`` (seconds, default 0) writes it at most that often,
    which makes validation on Redis one plain read most of the time.

    Raises ValueError for a sandbox that is no path segment, for hours or an interval out of range, TypeError for ones
    that are no number, ProviderError for an unknown ``SESSION_PROVIDER``.
    """

    def __init__(
        self,
        sandbox_id: str | None = None,
        session_factory: Factory | None = None,
        default_ttl_hours: float = 24,
        *,
        strict: bool = False,
        touch_interval: float = 0,
    ) -> None:
        self._default_lifetime = _lifetime("default_ttl_hours", default_ttl_hours)
        self._touch_interval = _interval(touch_interval)
        self.sandbox_id = _choose_sandbox(sandbox_id)
        self.default_ttl_hours = default_ttl_hours
        self.strict = strict
        self.session_factory = factory_for_env() if session_factory is None else session_factory
        if not callable(self.session_factory) and not isinstance(self.session_factory, SessionStoreFactory):
            raise TypeError(f"session_factory must be a provider factory, got {type(session_factory).__name__}")
        self._store = _open_store(self.session_factory, self.sandbox_id)
        self._prefixes: dict[str, str] = {}
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

        Raises ValueError for hours out of range and for an id that is empty, ``.``, ``..`` or has a ``/``; TypeError
        for a ``user_id`` that is no str or hours that are no number; SessionError for metadata that cannot be stored,
        if the storage fails and, when strict, if the live session belongs to another user. Nothing is stored then,
        unless the cause is OutcomeUnknown.
        """
        lifetime = self._default_lifetime if ttl_hours is None else _lifetime("ttl_hours", ttl_hours)
        if user_id is not None and type(user_id) is not str:
            if not isinstance(user_id, str):
                raise TypeError(f"user_id must be a str or None, got {type(user_id).__name__}")
            user_id = grid.plain(user_id)
        metadata = {} if custom_metadata is None else custom_metadata
        if session_id is None:
            session_id = new_session_id(self.sandbox_id, user_id, time.time())
        else:
            session_id = grid.check_segment("session_id", session_id)
        try:
            existing = await self._store.create(session_id, user_id, lifetime, metadata)
        except ProviderError as exc:
            raise SessionError(f"the session could not be allocated: {exc}") from exc
        if self.strict and existing is not None and existing.user_id != user_id:
            raise SessionError(f"session {fingerprint(session_id)} is live and belongs to another user")
        return session_id

    async def validate_session(self, session_id: str) -> bool:
        """Whether the session lives; touches it. False for an unknown, expired or deleted one.

        A failing storage: see the class.
        """
        if type(session_id) is not str:
            session_id = grid.plain(session_id)
        try:
            return await self._store.touch(session_id, self._touch_interval)
        except ProviderError as exc:
            return self._failed(exc, "validate", session_id, False)

    async def get_session_info(self, session_id: str) -> dict[str, Any] | None:
        """What is known of a session, without touching it; None for an unknown, expired or deleted one.

        Keys: ``session_id``, ``sandbox_id``, ``user_id``, ``created_at``, ``expires_at``, ``status``,
        ``last_accessed`` (ISO-8601 in UTC) and ``custom_metadata``, a copy. A failing storage: see the class.
        """
        if type(session_id) is not str:
            session_id = grid.plain(session_id)
        try:
            record = await self._store.read(session_id)
        except ProviderError as exc:
            return self._failed(exc, "read", session_id, None)
        if record is None:
            return None
        return session_info(session_id, self.sandbox_id, record)

    async def get_session_metadata(self, session_id: str) -> SessionMetadata | None:
        """What ``get_session_info`` tells, as an object; None for an unknown, expired or deleted session.

        Does not touch the session. Raises SessionError if the storage fails, strict or not.
        """
        if type(session_id) is not str:
            session_id = grid.plain(session_id)
        try:
            record = await self._store.read(session_id)
        except ProviderError as exc:
            raise SessionError(f"could not read session {fingerprint(session_id)}: {exc}") from exc
        return None if record is None else SessionMetadata(**session_info(session_id, self.sandbox_id, record))

    async def update_session_metadata(
        self, session_id: str, custom_metadata: dict[str, Any], merge: bool = True
    ) -> bool:
        """Set top-level keys of a session's metadata and touch it; False if it is not found.

        Only the given keys change, so that concurrent updates of different keys all take effect. With ``merge=False``
        the metadata becomes exactly ``custom_metadata``. Raises SessionError for metadata that cannot be stored;
        nothing changes then. A failing storage: see the class.
        """
        if type(session_id) is not str:
            session_id = grid.plain(session_id)
        try:
            return await self._store.update(session_id, custom_metadata, not merge)
        except ProviderError as exc:
            return self._failed(exc, "update", session_id, False)

    async def increment_session_metadata(self, session_id: str, field: str, amount: int = 1) -> int | None:
        """Add ``amount`` to one top-level key of a session's metadata, in one atomic step, and touch the session.

        Returns the new value, None if the session is not found. A missing key counts as 0; values and ``amount`` are
        signed integers of 64 bits, as HINCRBY of Redis takes them. Raises SessionError, and changes nothing, if the
        key holds anything else (a float, a bool, null) or the sum would leave that range; ValueError for an
        ``amount`` out of range, TypeError for one that is no int or a ``field`` that is no str. Raises SessionError
        if the storage fails, strict or not: after OutcomeUnknown it may have been counted.
        """
        if type(amount) is not int:
            raise TypeError(f"amount must be an int, got {type(amount).__name__}")
        if amount not in INT64:
            raise ValueError("amount must be a signed integer of 64 bits")
        if not isinstance(field, str):
            raise TypeError(f"field must be a str, got {type(field).__name__}")
        session_id = grid.plain(session_id)
        try:
            return await self._store.increment(session_id, text_key(field), amount)
        except ProviderError as exc:
            raise SessionError(f"could not count in session {fingerprint(session_id)}: {exc}") from exc

    async def extend_session_ttl(self, session_id: str, additional_hours: float) -> bool:
        """Move the deadline later by ``additional_hours`` and touch the session; False if it is not found.

        Raises ValueError for hours that are not over 0 and up to 100 years, TypeError if they are no number. A
        failing storage: see the class.
        """
        lifetime = _lifetime("additional_hours", additional_hours)
        if type(session_id) is not str:
            session_id = grid.plain(session_id)
        try:
            return await self._store.extend(session_id, lifetime)
        except ProviderError as exc:
            return self._failed(exc, "extend", session_id, False)

    async def delete_session(self, session_id: str) -> bool:
        """End a session for every process, at once; False if it is not found. A failing storage: see the class."""
        if type(session_id) is not str:
            session_id = grid.plain(session_id)
        try:
            return await self._store.delete(session_id)
        except ProviderError as exc:
            return self._failed(exc, "delete", session_id, False)

    async def cleanup_expired_sessions(self) -> int:
        """Remove expired sessions of this sandbox now; how many there were.

        Memory does this by itself in the background, and Redis on the server: there it is always 0.
        """
        try:
            return await self._store.sweep()
        except ProviderError as exc:
            return self._failed(exc, "clean up", None, 0)

    def get_cache_stats(self) -> dict[str, Any]:
        """``cached_sessions``, ``max_cache_size``, ``sandbox_id`` and ``default_ttl_hours``.

        The first two are the live sessions in this process and how many it may hold: ``sys.maxsize`` on memory
        without a bound, both 0 on Redis, where there is no cache.
        """
        return {
            "cached_sessions": self._store.cached(),
            "max_cache_size": self._store.capacity(),
            "sandbox_id": self.sandbox_id,
            "default_ttl_hours": self.default_ttl_hours,
        }

    def get_canonical_prefix(self, session_id: str) -> str:
        """``grid/{sandbox}/{session}/``. ValueError for an id that is no path segment; existence is not checked."""
        if type(session_id) is not str:
            session_id = grid.check_segment("session_id", session_id)
        prefix = self._prefixes.get(session_id)
        if prefix is None:
            grid.check_segment("session_id", session_id)
            if len(self._prefixes) >= PREFIX_CACHE_SIZE:
                self._prefixes.clear()
            prefix = self._prefixes[session_id] = f"{self.get_session_prefix_pattern()}{session_id}/"
        return prefix

    def generate_artifact_key(self, session_id: str, artifact_id: str) -> str:
        """``grid/{sandbox}/{session}/{artifact}``; ``artifact_id`` may hold several segments.

        Raises ValueError for a session id that is no path segment and for an artifact id that is no str, is empty or
        has an empty, ``.`` or ``..`` segment. Neither has to exist.
        """
        try:
            if "/" not in artifact_id and artifact_id not in grid.DOT_PARTS:
                return self._prefixes[session_id] + artifact_id
        except (KeyError, TypeError):
            pass
        problem = grid.artifact_problem(artifact_id)
        if problem is not None:
            raise ValueError(f"artifact_id {problem}")
        return self.get_canonical_prefix(session_id) + artifact_id

    def parse_grid_key(self, grid_key: str) -> dict[str, str] | None:
        """``sandbox_id``, ``session_id`` and ``artifact_id`` of a grid path of any sandbox; None for anything else."""
        return grid.parse(grid_key)

    def get_session_prefix_pattern(self) -> str:
        """``grid/{sandbox}/``: what the paths of all sessions of this sandbox start with."""
        return f"{grid.ROOT}/{self.sandbox_id}/"

    def _failed(self, exc: ProviderError, action: str, session_id: str | None, result: T) -> T:
        """Raise when strict; else log, at most once per interval, and give ``result``."""
        what = "sessions" if session_id is None else f"session {fingerprint(session_id)}"
        if self.strict:
            raise SessionError(f"could not {action} {what}: {exc}") from exc
        now = time.monotonic()
        if now >= self._next_report:
            self._next_report = now + REPORT_INTERVAL
            logger.warning("Could not %s %s: %s (more such failures are not logged for 10 s)", action, what, exc)
        return result


def _open_store(factory: Any, sandbox_id: str) -> SessionStore:
    if isinstance(factory, SessionStoreFactory):
        return factory.session_store(sandbox_id)
    return ProviderSessionStore(factory, sandbox_id)


def _choose_sandbox(sandbox_id: str | None, random_bytes: Callable[[int], bytes] = urandom) -> str:
    name = "sandbox_id"
    for variable in SANDBOX_VARIABLES:
        if sandbox_id is None and os.environ.get(variable):
            sandbox_id, name = os.environ[variable], variable
    if sandbox_id is None:
        sandbox_id = f"sandbox-{random_bytes(4).hex()}"
    sandbox_id = grid.check_segment(name, sandbox_id)
    if not os.environ.get(SANDBOX_VARIABLES[0]):
        with suppress(ValueError):  # not every text can stand in the environment
            os.environ[SANDBOX_VARIABLES[0]] = sandbox_id
    return sandbox_id


def _number(name: str, value: Any, unit: str) -> float:
    if not hasattr(type(value), "__float__"):
        raise TypeError(f"{name} must be a number of {unit}, got {type(value).__name__}")
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except ValueError:  # a signalling NaN
        return math.nan


def _lifetime(name: str, hours: Any) -> float:
    value = _number(name, hours, "hours")
    if not 0 < value <= MAX_HOURS:
        raise ValueError(f"{name} must be over 0 and at most {MAX_HOURS:.0f} hours (100 years), got {value!r}")
    return value * HOUR


def _interval(seconds: Any) -> float:
    value = _number("touch_interval", seconds, "seconds")
    if not 0 <= value <= MAX_HOURS * HOUR:
        raise ValueError(f"touch_interval must be from 0 seconds to 100 years, got {value!r}")
    return value
