"""Events of sessions in this process: a callback is told when a manager has created, renewed or ended a session.

Each event is told at most once, after the step took effect. Nothing is told of what other processes do, nor of sessions
that expire on Redis. An event that is not certain is not told: for instance after an OutcomeUnknown.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from inspect import iscoroutinefunction
from itertools import count
from os import urandom
from typing import Any, Literal

from chuk_sessions.arguments import check_flag
from chuk_sessions.codec import Metadata
from chuk_sessions.stores.contract import Existing, SessionStore, TellsEndings, can
from chuk_sessions.stores.wrapper import StoreWrapper

__all__ = ["EventStore", "SessionEvent", "SessionEvents"]

logger = logging.getLogger(__name__)

REF_BYTES = 16
LEAST_KEY, MOST_KEY = 16, 64  # bytes; BLAKE2b takes no longer key
Type = Literal["created", "renewed", "ended"]


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """Tell of one step in the life of a session.

    Attributes:
        id: A random name of this event.
        type: ``created``, ``renewed`` or ``ended``.
        reason: Why the session ended: ``deleted``, ``user`` (with all sessions of its user), ``limit`` (to make room
            for a new session of its user), and in memory also ``expired`` and ``evicted``. None for the other types.
        session_ref: A hash of the session's id. It cannot be turned back, and does not open the session.
        sandbox_id: The sandbox of the session.
        at: When it was told, in seconds since the epoch.
        sequence: How many events were told before by the same ``SessionEvents``.
        previous_ref: The ``session_ref`` before, if the session was renewed; else None.
        user_id: With ``include_user`` the user, if the step knows it; else None.
    """

    id: str
    type: Type
    reason: str | None
    session_ref: str
    sandbox_id: str
    at: float
    sequence: int
    previous_ref: str | None = None
    user_id: str | None = None


class SessionEvents:
    """Make events and tell them to a callback, for the managers that this is given to as ``on_event``.

    An exception of the callback is logged, and changes nothing.

    Args:
        callback: A function that gets each ``SessionEvent``. It runs inside of the call, so it must be quick. It may
            begin tasks, and must not be a coroutine function.
        key: 16 to 64 secret bytes. Processes with the same key give a session the same ``session_ref``. The default is
            a random key, so that references are good in this process alone.
        include_user: Whether events have the ``user_id``.

    Raises:
        TypeError: ``callback`` is no plain function, ``key`` no bytes, or ``include_user`` no bool.
        ValueError: ``key`` is too short or too long.
    """

    def __init__(
        self, callback: Callable[[SessionEvent], object], *, key: bytes | None = None, include_user: bool = False
    ) -> None:
        wrong: object = callback
        if not callable(wrong) or iscoroutinefunction(wrong):
            raise TypeError(f"on_event must be a plain function, got {type(callback).__name__}")
        if key is not None and not isinstance(key, bytes):
            raise TypeError(f"key must be bytes, got {type(key).__name__}")
        if key is not None and not LEAST_KEY <= len(key) <= MOST_KEY:
            raise ValueError(f"key must have {LEAST_KEY} to {MOST_KEY} bytes, got {len(key)}")
        self._include_user = check_flag("include_user", include_user)
        self._callback = callback
        self._key = urandom(LEAST_KEY) if key is None else key
        self._numbers = count()

    def __repr__(self) -> str:
        return f"SessionEvents({getattr(self._callback, '__qualname__', type(self._callback).__name__)})"

    def ref(self, session_id: str) -> str:
        """Return the reference that events have for a session.

        Args:
            session_id: Its id.

        Returns:
            32 hexadecimal digits, a keyed BLAKE2b hash.
        """
        return blake2b(session_id.encode("utf-8", "surrogatepass"), key=self._key, digest_size=REF_BYTES).hexdigest()

    def tell(
        self,
        sandbox_id: str,
        type_: Type,
        session_id: str,
        user_id: str | None,
        reason: str | None = None,
        previous: str | None = None,
    ) -> None:
        """Tell the callback of one step.

        Args:
            sandbox_id: The sandbox.
            type_: The type of the event.
            session_id: The id of the session.
            user_id: Its user, or None.
            reason: Why it ended, or None.
            previous: Its id before, or None.
        """
        event = SessionEvent(
            urandom(REF_BYTES).hex(),
            type_,
            reason,
            self.ref(session_id),
            sandbox_id,
            time.time(),
            next(self._numbers),
            None if previous is None else self.ref(previous),
            user_id if self._include_user else None,
        )
        try:
            self._callback(event)
        except Exception:
            logger.exception("the callback for events of sessions raised; the call goes on")

    def wrap(self, store: SessionStore, sandbox_id: str) -> EventStore:
        """Make a store that tells of the operations of another store; ``SessionManager`` calls this.

        Args:
            store: The store.
            sandbox_id: Its sandbox.

        Returns:
            The store to use in its place.
        """
        return EventStore(store, sandbox_id, self)


class EventStore(StoreWrapper):
    """Tells of the operations of a store. A store that ``TellsEndings`` says which sessions have ended, and why."""

    def __init__(self, store: SessionStore, sandbox_id: str, events: SessionEvents) -> None:
        super().__init__(store)
        self._all = StoreWrapper(store)  # has the operations that the store may lack
        self._sandbox_id = sandbox_id
        self._events = events
        teller = _teller(store)
        self._is_told = teller is not None
        if teller is not None:
            teller.tell_endings(self._ended)

    def _ended(self, session_id: str, user_id: str | None, reason: str) -> None:
        self._events.tell(self._sandbox_id, "ended", session_id, user_id, reason)

    async def create(
        self, session_id: str, user_id: str | None, lifetime: float, metadata: Metadata, **options: Any
    ) -> Existing | None:
        """See ``SessionStore``."""
        existing = await super().create(session_id, user_id, lifetime, metadata, **options)
        if existing is None:
            self._events.tell(self._sandbox_id, "created", session_id, user_id)
        return existing

    def open(self, session_id: str, interval: float, owner: str | None) -> Coroutine[Any, Any, Any]:
        """See ``Openable``."""
        return self._all.open(session_id, interval, owner)

    async def delete(self, session_id: str) -> bool:
        """See ``SessionStore``."""
        ended = await self.store.delete(session_id)
        if ended and not self._is_told:
            self._ended(session_id, None, "deleted")
        return ended

    async def delete_all(self, session_ids: Sequence[str]) -> list[bool | Exception]:
        """See ``DeletingMany``."""
        results = await self._all.delete_all(session_ids)
        for session_id, ended in zip(session_ids, results, strict=True) if not self._is_told else ():
            if ended is True:
                self._ended(session_id, None, "deleted")
        return results

    async def renew(self, session_id: str, new_id: str, grace: float, **options: Any) -> str | None:
        """See ``Renewable``. If the result is another id, it may be one that an earlier call gave: nothing is told."""
        name = await super().renew(session_id, new_id, grace, **options)
        if name == new_id:
            self._events.tell(self._sandbox_id, "renewed", new_id, options.get("user_id"), previous=session_id)
        return name


def _teller(store: object) -> TellsEndings | None:
    while not can(store, TellsEndings):
        if not isinstance(store, StoreWrapper):
            return None
        store = store.store
    return store
