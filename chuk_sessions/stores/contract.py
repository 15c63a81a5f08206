"""The contract between ``SessionManager`` and what sessions are kept in.

What every store promises, and ``chuk_sessions.testing.StoreContract`` checks:

* An operation is atomic, also between processes where the storage is shared.
* A session that is missing, has expired or was deleted is not found: False or None, never an error. Errors
  (``ProviderError``) are for faults of the storage.
* No operation but ``create`` brings a session into being: a deleted one stays deleted.
* A session is never stored without its deadline.
* ``accessed`` never runs backwards.
* Metadata is encoded by ``codec`` before anything else happens: what it refuses (MetadataError) changes nothing.
* A record that cannot be decoded counts as absent, is logged once, and is left alone; only ``delete`` removes it, so
  that a logout holds while two versions of this package serve.

``SessionStore`` is what every store must have. The rest are capabilities: a store has all methods of one or none, and
``SessionManager`` raises NotSupportedError from the calls that need a capability which its store lacks.

| capability | methods | for |
|---|---|---|
| ``Openable`` | ``open`` | touch and read in one step; without it there are three |
| ``UserIndexed`` | ``list_user``, ``delete_user`` | list and end the sessions of a user, limit their number |
| ``UserPaged`` | ``user_pages`` | the sessions of a user by pages; without it ``list_user`` gives all |
| ``Renewable`` | ``renew`` | a new id at a login |
| ``Walkable`` | ``pages``, ``count`` | all sessions of a sandbox |
| ``DeletingMany`` | ``delete_all`` | several deletions at once; without it ``delete`` is called for each |
| ``InProcess`` | ``sweep``, ``cached``, ``capacity`` | figures of this process; a store elsewhere has none |

Another way to do what an operation does is an option of it and no capability, such as ``extend`` with ``from_now``: so
a wrapper that overrides the operation, to drop a cached copy for instance, sees the call too, and none passes it by.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from inspect import getattr_static
from types import MethodType
from typing import NamedTuple, Protocol, TypeGuard, TypeVar, runtime_checkable

from chuk_sessions.codec import Metadata
from chuk_sessions.exceptions import MetadataError, NotSupportedError, SessionTakenError
from chuk_sessions.ids import fingerprint
from chuk_sessions.models import SessionRecord

__all__ = [
    "INT64",
    "LAST_DEADLINE",
    "CompleteStore",
    "DeadlineError",
    "DeletingMany",
    "Existing",
    "InProcess",
    "Openable",
    "Renewable",
    "SessionStore",
    "SessionStoreFactory",
    "UserIndexed",
    "UserPaged",
    "Walkable",
    "can",
    "cannot_count",
    "counted",
    "not_supported",
    "opens_stores",
    "postponed",
    "taken",
]

C = TypeVar("C")

INT64 = range(-(2**63), 2**63)  # what a counter may hold: the integers of Redis
LAST_DEADLINE = 253_402_300_799.0  # 9999-12-31T23:59:59Z: a later time cannot be written in ISO 8601
NO_INTEGER, TOO_LARGE = "is no integer of 64 bits", "would leave the range of 64 bits"


class Existing(NamedTuple):
    """The live session that ``create`` found in the place of a new one."""

    user_id: str | None


def not_supported(what: str) -> NotSupportedError:
    """Make the error of an operation that the storage cannot carry out."""
    return NotSupportedError(f"{what}: not supported by this provider")


def cannot_count(field: str, reason: str) -> MetadataError:
    """Make the error that ``increment`` raises when the field cannot be counted on."""
    return MetadataError(f"custom_metadata[{field!r}] {reason}; nothing was changed")


def counted(metadata: Metadata, field: str, amount: int) -> int:
    """Return what ``increment`` makes of that field. Raises MetadataError as it does."""
    value = metadata.get(field, 0)
    if type(value) is not int or value not in INT64:
        raise cannot_count(field, NO_INTEGER)
    if value + amount not in INT64:
        raise cannot_count(field, TOO_LARGE)
    return value + amount


def taken(session_id: str) -> SessionTakenError:
    """Make the error that ``renew`` raises for a session of another user."""
    return SessionTakenError(f"session {fingerprint(session_id)} belongs to another user; nothing was changed")


class DeadlineError(ValueError):
    """A session would live beyond the year 9999."""

    def __init__(self) -> None:
        super().__init__("the session would live beyond the year 9999; its deadline was not changed")


def postponed(expires: float, lifetime: float) -> float:
    """Return a deadline that is so much later. Raises DeadlineError as ``extend`` does."""
    if expires + lifetime > LAST_DEADLINE:
        raise DeadlineError
    return expires + lifetime


class SessionStore(Protocol):
    """The sessions of one sandbox. Lifetimes and intervals are in seconds, fractions included."""

    async def create(
        self,
        session_id: str,
        user_id: str | None,
        lifetime: float,
        metadata: Metadata,
        *,
        limit: int = 0,
        idle: float = 0,
    ) -> Existing | None:
        """Store a new session and return None; a live one with this id is only touched, and returned.

        Options come by keyword, and only those that are in use, so that a store need not know one that is new.

        With ``idle`` over 0 the session ends so many seconds after it was last touched, if that is before ``lifetime``
        has passed: every touch that is written moves its deadline. With ``limit`` over 0 the oldest sessions of
        ``user_id`` are ended first, so that there are at most so many; it is given to ``UserIndexed`` stores only.
        """

    async def read(self, session_id: str) -> SessionRecord | None:
        """Return a copy of the session, not touched; None if not found.

        ``current_id`` of the record is set if ``session_id`` is an alias; only ``Renewable`` stores have aliases.
        """

    async def touch(self, session_id: str, interval: float) -> bool:
        """Tell whether the session lives; ``accessed`` is set to now if it is at least ``interval`` old.

        A session with ``idle`` must not end early because a touch was not written. So one that is written moves its
        deadline ``interval`` further, up to half of ``idle``; and it is written, whatever ``interval`` says, if the
        session would end before ``idle`` has passed from now.
        """

    async def update(self, session_id: str, metadata: Metadata, replace: bool, *, remove: Collection[str] = ()) -> bool:
        """Set the keys of ``metadata`` and touch; with ``replace`` drop all others. False if not found.

        ``remove``, an option as those of ``create``, has keys to drop in the same step, each as ``codec.text_key``
        gives it: none is a key of ``metadata``, and one that the session does not have is no error. It comes without
        ``replace`` only, which drops them anyway.
        """

    async def increment(self, session_id: str, field: str, amount: int) -> int | None:
        """Add ``amount`` to one key of the metadata and touch; the new value, None if not found.

        A missing key counts as 0. Raises MetadataError, and changes nothing, if its value is no integer of 64 bits or
        the sum would be none. ``field`` is as ``codec.text_key`` gives it, ``amount`` in ``INT64``.
        """

    async def extend(self, session_id: str, lifetime: float, *, from_now: bool = False) -> bool:
        """Move the deadline ``lifetime`` later and touch. False if not found.

        With ``from_now``, an option as those of ``create``, the deadline is ``lifetime`` from now instead, be it later
        or earlier than before. An idle deadline is never later than that, and only moves earlier to be so.

        Raises DeadlineError, and changes nothing, if it would be after ``LAST_DEADLINE``.
        """

    async def delete(self, session_id: str) -> bool:
        """End the session. False if not found."""

    async def aclose(self) -> None:
        """Give back what this store object holds; the sessions stay. It may be called again.

        Whoever opened the store calls it: the manager, for the store that its factory gave it. What several stores
        share, such as a pool of connections, stays open.
        """


@runtime_checkable
class Openable(Protocol):
    """A store that touches and reads a session in one step."""

    async def open(self, session_id: str, interval: float, owner: str | None) -> SessionRecord | None:
        """Do ``touch``, then ``read``: the record as it is after the touch, None if not found.

        With an ``owner``, a user id, the session of anybody else and of nobody is not found, and is not touched.
        """


@runtime_checkable
class UserIndexed(Protocol):
    """A store that knows which sessions a user has."""

    async def list_user(self, user_id: str) -> list[tuple[str, SessionRecord]]:
        """Return all live sessions of a user with their ids, oldest first."""

    async def delete_user(self, user_id: str, keep: frozenset[str]) -> int:
        """End every session of a user that was created before the call, but those in ``keep``; how many."""


@runtime_checkable
class UserPaged(Protocol):
    """A store that can read the sessions of a user a page at a time."""

    def user_pages(self, user_id: str, batch: int) -> AsyncIterator[list[tuple[str, SessionRecord]]]:
        """Give the live sessions of a user, about ``batch`` at a time: each that lives all the while at least once."""


@runtime_checkable
class Renewable(Protocol):
    """A store that can give a session a new id."""

    async def renew(
        self,
        session_id: str,
        new_id: str,
        grace: float,
        *,
        user_id: str | None = None,
        metadata: Metadata | None = None,
        limit: int = 0,
    ) -> str | None:
        """Give the session a new id and touch it; that id, None if not found. Options come as those of ``create``.

        With ``grace`` over 0 the old id becomes an alias: all operations find the session under it for so many seconds
        more, as long as the session lives. If ``session_id`` is an alias already, nothing is renamed, and the id that
        the session has is returned.

        With ``grace`` 0 the session gets ``new_id`` also if ``session_id`` is an alias, or another new id if ``new_id``
        does not have the form of its user's ids: afterwards it is found under no id that anybody knew before.

        With ``metadata`` its keys are set in the same step. With ``user_id`` the session of nobody becomes that user's
        in the same step; ``new_id`` has the form of that user's ids then, and the store may return another new one. A
        session that is the user's already is only renewed. Raises SessionTakenError, and changes nothing, for that of
        another user. ``limit`` is as in ``create``: the session that is given to the user is none of those that end.
        """


@runtime_checkable
class Walkable(Protocol):
    """A store whose sessions can be gone through."""

    def pages(self, batch: int) -> AsyncIterator[list[tuple[str, SessionRecord]]]:
        """Give all live sessions, about ``batch`` at a time: each that lives all the while at least once."""

    async def count(self) -> int:
        """Count the live sessions."""


@runtime_checkable
class DeletingMany(Protocol):
    """A store that may be asked to end several sessions at once, and whose deletions may overtake each other."""

    async def delete_all(self, session_ids: Sequence[str]) -> list[bool | Exception]:
        """Do ``delete`` for each id at once; what each gave or raised, as if one came after the other.

        So of an alias and the id of its session, the one that stands first has found it.
        """


@runtime_checkable
class InProcess(Protocol):
    """A store that holds its sessions in this process."""

    async def sweep(self) -> int:
        """Reclaim expired sessions; how many."""

    def cached(self) -> int:
        """Return how many live sessions this process holds."""

    def capacity(self) -> int:
        """Return how many sessions this process may hold; ``sys.maxsize`` without a bound."""


class CompleteStore(SessionStore, Openable, UserIndexed, Renewable, Walkable, Protocol):
    """A store that can do everything; ``wrapper.complete`` makes one of any store, which refuses what that lacks."""


@runtime_checkable
class SessionStoreFactory(Protocol):
    """A factory that has a store of its own for sessions; it need not be a provider factory as well."""

    def session_store(self, sandbox_id: str) -> SessionStore:
        """Open the sessions of one sandbox; the caller owns the store and closes it."""


def can(store: object, capability: type[C]) -> TypeGuard[C]:
    """Tell whether a store has a capability: all methods of that protocol, of its class or passed on by a proxy.

    ``isinstance`` would not do: since Python 3.12 it does not see what a ``__getattr__`` passes on, before that it sees
    everything in a mock, and looking into an instance makes a dict of it that slows every attribute from then on.
    """
    names = (name for name in vars(capability) if not name.startswith("_"))
    return all(hasattr(type(store), name) or isinstance(getattr(store, name, None), MethodType) for name in names)


def opens_stores(factory: object) -> TypeGuard[SessionStoreFactory]:
    """Tell whether a factory has a store of its own. A mock has every attribute, and only those that it is given."""
    if getattr_static(factory, "session_store", None) is not None:
        return True
    return isinstance(getattr(factory, "session_store", None), MethodType)  # of what a proxy stands for
