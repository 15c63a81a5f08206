"""The contract between ``SessionManager`` and the stores that keep its sessions.

Every store keeps these promises, and ``chuk_sessions.testing.StoreContract`` checks them:

* An operation is atomic, also between processes where the storage is shared.
* A session that is missing, has expired or was deleted is not found: the operation returns False or None and raises
  nothing. Errors (``ProviderError``) are for faults of the storage.
* Only ``create`` makes a session: a deleted session stays deleted.
* A session is never stored without its deadline.
* ``accessed`` never runs backwards.
* Metadata is encoded by ``codec`` before anything else happens: metadata that the codec refuses (MetadataError) changes
  nothing.
* A record that cannot be decoded counts as absent, is logged once, and is left alone. Only ``delete`` removes it, so
  that a logout holds while two versions of this package serve.

Every store must have the methods of ``SessionStore``. The other protocols are capabilities: a store has all methods of
a capability or none of them. ``SessionManager`` raises NotSupportedError from a call that needs a missing capability.

| capability | methods | for |
|---|---|---|
| ``Openable`` | ``open`` | touch and read in one step; without it the call takes three steps |
| ``UserIndexed`` | ``list_user``, ``delete_user`` | list and end the sessions of a user, limit their number |
| ``UserPaged`` | ``user_pages`` | the sessions of a user by pages; without it ``list_user`` reads all of them |
| ``Renewable`` | ``renew`` | a new id at a login |
| ``Walkable`` | ``pages``, ``count`` | all sessions of a sandbox |
| ``DeletingMany`` | ``delete_all`` | several deletions at once; without it ``delete`` is called for each |
| ``TellsEndings`` | ``tell_endings`` | events: which sessions have ended, and why |
| ``InProcess`` | ``sweep``, ``cached``, ``capacity`` | figures of this process; a store elsewhere has none |

A variant of an operation, such as ``extend`` with ``from_now``, is an option of that operation and no capability. So a
wrapper that overrides the operation, for instance to drop a cached copy, sees every call of every variant.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
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
    "Remote",
    "Renewable",
    "SessionStore",
    "SessionStoreFactory",
    "Tell",
    "TellsEndings",
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
Tell = Callable[[str, str | None, str], None]  # gets the id of a session, its user and the reason of its end

INT64 = range(-(2**63), 2**63)  # the values of a counter: the integers of Redis
LAST_DEADLINE = 253_402_300_799.0  # 9999-12-31T23:59:59Z: a later time cannot be written in ISO 8601
NO_INTEGER, TOO_LARGE = "is no integer of 64 bits", "would leave the range of 64 bits"


class Existing(NamedTuple):
    """The live session that ``create`` found under the id of the new session."""

    user_id: str | None


def not_supported(what: str) -> NotSupportedError:
    """Make the error of an operation that the storage cannot carry out."""
    return NotSupportedError(f"{what}: not supported by this provider")


def cannot_count(field: str, reason: str) -> MetadataError:
    """Make the error that ``increment`` raises when it cannot add to the value of the field."""
    return MetadataError(f"custom_metadata[{field!r}] {reason}; nothing was changed")


def counted(metadata: Metadata, field: str, amount: int) -> int:
    """Return the value of the field after ``increment``. Raises MetadataError where ``increment`` must."""
    value = metadata.get(field, 0)
    if type(value) is not int or value not in INT64:
        raise cannot_count(field, NO_INTEGER)
    if value + amount not in INT64:
        raise cannot_count(field, TOO_LARGE)
    return value + amount


def taken(session_id: str) -> SessionTakenError:
    """Make the error that ``renew`` raises if the session belongs to another user."""
    return SessionTakenError(f"session {fingerprint(session_id)} belongs to another user; nothing was changed")


class DeadlineError(ValueError):
    """A session would live beyond the year 9999."""

    def __init__(self) -> None:
        super().__init__("the session would live beyond the year 9999; its deadline was not changed")


def postponed(expires: float, lifetime: float) -> float:
    """Return the deadline ``lifetime`` after ``expires``. Raises DeadlineError where ``extend`` must."""
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
        """Store a new session and return None; touch and return a live session that already has this id.

        Options come by keyword, and only when they are in use, so that a store need not know a newer option.

        With ``idle`` over 0 the session ends ``idle`` seconds after its last touch, but at the latest when ``lifetime``
        has passed: every touch that is written moves its deadline. With ``limit`` over 0 the oldest sessions of
        ``user_id`` are ended first, so that the user has at most ``limit`` sessions. Only ``UserIndexed`` stores get
        a ``limit``.
        """

    async def read(self, session_id: str) -> SessionRecord | None:
        """Return a copy of the session without touching it; None if not found.

        If ``session_id`` is an alias, the record has the session's id as ``current_id``. Only ``Renewable`` stores have
        aliases.
        """

    async def touch(self, session_id: str, interval: float) -> bool:
        """Tell whether the session lives; set ``accessed`` to now if it is at least ``interval`` old.

        A session with ``idle`` must not end early because a touch was not written. So a touch that is written moves the
        deadline ``interval`` further than ``idle``, but at most half of ``idle`` further. A touch is written
        whatever ``interval`` says if the session would otherwise end sooner than ``idle`` seconds from now.
        """

    async def update(self, session_id: str, metadata: Metadata, replace: bool, *, remove: Collection[str] = ()) -> bool:
        """Set the keys of ``metadata`` and touch; with ``replace`` drop all other keys. False if not found.

        ``remove``, an option like those of ``create``, has keys to drop in the same step, each as ``codec.text_key``
        gives it. None of them is a key of ``metadata``. A key that the session does not have is no error. ``remove``
        never comes together with ``replace``, which drops these keys anyway.
        """

    async def increment(self, session_id: str, field: str, amount: int) -> int | None:
        """Add ``amount`` to one key of the metadata and touch. Return the new value; None if not found.

        A missing key counts as 0. Raises MetadataError, and changes nothing, if the value or the sum is no integer of
        64 bits. ``field`` is as ``codec.text_key`` gives it, ``amount`` in ``INT64``.
        """

    async def extend(self, session_id: str, lifetime: float, *, from_now: bool = False) -> bool:
        """Move the deadline ``lifetime`` later and touch. False if not found.

        With ``from_now``, an option like those of ``create``, the new deadline is ``lifetime`` from now. It may be
        later or earlier than the old deadline. The idle deadline is never later than the new deadline; it moves earlier
        for this reason only.

        Raises DeadlineError, and changes nothing, if the deadline would be after ``LAST_DEADLINE``.
        """

    async def delete(self, session_id: str) -> bool:
        """End the session. False if not found."""

    async def aclose(self) -> None:
        """Release the resources of this store object; the sessions stay. A second call does nothing.

        The opener of the store calls it: the manager, for the store that its factory gave it. A resource that several
        stores share, such as a pool of connections, stays open.
        """


@runtime_checkable
class Openable(Protocol):
    """A store that touches and reads a session in one step."""

    async def open(self, session_id: str, interval: float, owner: str | None) -> SessionRecord | None:
        """Do ``touch``, then ``read``. Return the record as it is after the touch; None if not found.

        With an ``owner``, a user id, a session of another user or of nobody is not found, and is not touched.
        """


@runtime_checkable
class UserIndexed(Protocol):
    """A store that knows which sessions a user has."""

    async def list_user(self, user_id: str) -> list[tuple[str, SessionRecord]]:
        """Return all live sessions of a user with their ids, oldest first."""

    async def delete_user(self, user_id: str, keep: frozenset[str]) -> int:
        """End every session of a user that was created before the call, except the ids in ``keep``.

        Return how many sessions it ended.
        """


@runtime_checkable
class UserPaged(Protocol):
    """A store that can read the sessions of a user a page at a time."""

    def user_pages(self, user_id: str, batch: int) -> AsyncIterator[list[tuple[str, SessionRecord]]]:
        """Give the live sessions of a user, about ``batch`` at a time.

        A session that lives from the first page to the last comes at least once.
        """


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
        """Give the session a new id and touch it. Return the new id; None if not found.

        Options come like those of ``create``.

        With ``grace`` over 0 the old id becomes an alias: all operations find the session under the old id for
        ``grace`` seconds more, as long as the session lives. If ``session_id`` is already an alias, the session is not
        renamed again; its current id is returned.

        With ``grace`` 0 the session is renamed also if ``session_id`` is an alias. It gets ``new_id``, or another new
        id if ``new_id`` does not have the form of its user's ids. Afterwards no id that was known before finds it.

        With ``metadata`` its keys are set in the same step. With ``user_id`` a session of nobody becomes that user's
        session in the same step. ``new_id`` then has the form of that user's ids, and the store may return another new
        id. A session that already belongs to the user is only renewed. Raises SessionTakenError, and changes nothing,
        if the session belongs to another user. ``limit`` is as in ``create``; the session that is given to the user is
        never ended by it.
        """


@runtime_checkable
class Walkable(Protocol):
    """A store that can list and count all its sessions."""

    def pages(self, batch: int) -> AsyncIterator[list[tuple[str, SessionRecord]]]:
        """Give all live sessions, about ``batch`` at a time.

        A session that lives from the first page to the last comes at least once.
        """

    async def count(self) -> int:
        """Count the live sessions."""


@runtime_checkable
class DeletingMany(Protocol):
    """A store whose deletions may overtake each other; it can be asked to end several sessions in one call."""

    async def delete_all(self, session_ids: Sequence[str]) -> list[bool | Exception]:
        """Do ``delete`` for all ids at once. Return the result or the error of each.

        The results are those of deletions one after the other. So if an alias and the id of its session are both in
        ``session_ids``, the first of the two finds the session and the second does not.
        """


@runtime_checkable
class InProcess(Protocol):
    """A store that holds its sessions in this process."""

    async def sweep(self) -> int:
        """Reclaim the memory of expired sessions. Return how many they were."""

    def cached(self) -> int:
        """Return how many live sessions this process holds."""

    def capacity(self) -> int:
        """Return how many sessions this process may hold; ``sys.maxsize`` if there is no bound."""


@runtime_checkable
class TellsEndings(Protocol):
    """A store that tells which sessions it has ended, also if an operation ends several, or another one than named."""

    def tell_endings(self, tell: Tell) -> None:
        """Call ``tell``, a bound method, for each session that this object ends, once it has ended, if that is certain.

        It gets the current id of the session, its user if the step knows it, and the reason: ``deleted``, ``user`` (by
        ``delete_user``) or ``limit``. A store that is in this process also tells ``expired`` and ``evicted``, whatever
        object stored the session. ``tell`` raises nothing.
        """


@runtime_checkable
class Remote(Protocol):
    """A store on Redis servers whose addresses are known; for traces."""

    def namespace(self) -> str:
        """Return the number of the database. Raises ProviderError if the URL cannot be used."""

    def endpoint(self, session_id: str | None, user_id: str | None) -> tuple[str, int | None] | None:
        """Return host and port, or the path, of the server of a session or a user; None if that is not known.

        With neither of them it is the lone server; a cluster has several. Raises ProviderError if the URL cannot be
        used, and OversizedError for an id that no session can have.
        """


class CompleteStore(SessionStore, Openable, UserIndexed, Renewable, Walkable, Protocol):
    """A store that can be asked for everything.

    ``wrapper.complete`` turns any store into a complete store, which refuses the operations that the store lacks.
    """


@runtime_checkable
class SessionStoreFactory(Protocol):
    """A factory that has a store of its own for sessions; it need not be a provider factory as well."""

    def session_store(self, sandbox_id: str) -> SessionStore:
        """Open the sessions of one sandbox; the caller owns the store and closes it."""


def can(store: object, capability: type[C]) -> TypeGuard[C]:
    """Tell whether a store has a capability: all methods of that protocol, from its class or passed on by a proxy.

    ``isinstance`` would not do. Since Python 3.12 it does not see methods that a ``__getattr__`` passes on. Before 3.12
    it sees every method in a mock. Looking into an instance makes a dict for it, which slows every later attribute
    access.
    """
    names = (name for name in vars(capability) if not name.startswith("_"))
    return all(hasattr(type(store), name) or isinstance(getattr(store, name, None), MethodType) for name in names)


def opens_stores(factory: object) -> TypeGuard[SessionStoreFactory]:
    """Tell whether a factory opens session stores.

    A mock answers for every attribute; only an attribute that was set on it counts.
    """
    if getattr_static(factory, "session_store", None) is not None:
        return True
    return isinstance(getattr(factory, "session_store", None), MethodType)  # the method of the object behind a proxy
