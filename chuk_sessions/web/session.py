"""``Session``: the dict at ``scope["session"]``, with the operations of a session as methods."""

from __future__ import annotations

import time
from collections.abc import Callable
from secrets import token_hex
from typing import Any, NamedTuple, Self

from chuk_sessions.web.stored import StoredSession
from chuk_sessions.web.transports import Transport

__all__ = ["Flash", "Session"]

FLASH_PREFIX = "_flash."
LENGTH = dict.__len__  # does not mark the session as accessed


class Flash(NamedTuple):
    """A message for the next page: ``text``, and ``category`` to show it by."""

    text: str
    category: str


class Session(dict[str, Any]):
    """The data of a session: a dict whose changes are stored when the response begins, and again when it has ended.

    Keys are str, and values are values of JSON. Only keys with changed values are written, so that requests of one
    session at the same time keep each other's changes. A session is stored once it is not empty. ``clear()`` empties
    it: if the session is still empty at the end, it ends and the client forgets its id.

    The awaitable methods reach the store at once and raise StorageError if it fails.
    """

    __slots__ = ("_accessed", "_begun", "_cleared", "_home", "_known")

    @classmethod
    def _of(cls, stored: StoredSession | None, data: dict[str, Any] | None = None, home: Any = None) -> Self:
        """Make a session of what the store holds."""
        session = cls()
        session._take_over(stored, data, home)
        return session

    def _take_over(self, stored: StoredSession | None, data: dict[str, Any] | None, home: Any) -> None:
        """Become the session of what the store holds. It is no constructor, as those are slow: see `Exchange.take`."""
        if data:
            dict.update(self, data)
        self._known = stored  # None until something asks for it, for a request without an id
        self._home = home  # the settings of the middleware that made the session
        self._accessed = False
        self._cleared = False
        self._begun = False

    def __contains__(self, key: object) -> bool:
        self._accessed = True
        return dict.__contains__(self, key)

    def __getitem__(self, key: str) -> Any:
        self._accessed = True
        return dict.__getitem__(self, key)

    def __setitem__(self, key: str, value: Any) -> None:
        self._accessed = True
        dict.__setitem__(self, key, value)

    def get(self, key: str, default: Any = None, /) -> Any:
        """Return the value of a key, or ``default``."""
        self._accessed = True
        return dict.get(self, key, default)

    @property
    def _stored(self) -> StoredSession:
        """The stored form of the session. A request without an id that does not use its session needs none."""
        if self._known is None:
            self._known = StoredSession(self._home.source, self._home.max_bytes)
            self._known.closed = self._begun
        return self._known

    @property
    def id(self) -> str | None:
        """The id of the session; None while it is not stored. Keep it secret: the id gives access to the session."""
        self._accessed = True
        return self._stored.session_id

    @property
    def user_id(self) -> str | None:
        """The user who logged in with ``login``; None if no user did."""
        self._accessed = True
        return self._stored.user_id

    @property
    def is_new(self) -> bool:
        """Whether this request came without a live session."""
        self._accessed = True
        return self._stored.is_new

    @property
    def created_at(self) -> str | None:
        """When the session was first stored, ISO-8601 in UTC; None while it is not stored."""
        self._accessed = True
        return self._stored.created_at

    @property
    def expires_at(self) -> str | None:
        """When the session ends at the latest, ISO-8601 in UTC; None while it is not stored."""
        self._accessed = True
        return self._stored.expires_at

    @property
    def accessed(self) -> bool:
        """Whether the application used the session: then the response depends on the client (``Vary: Cookie``)."""
        return self._accessed

    @property
    def modified(self) -> bool:
        """Whether the session differs from the stored data. It is found by comparison, so not for inner loops."""
        return self._cleared or self._stored.is_changed(self._plain())

    def mark_accessed(self) -> None:
        """Make the response depend on the client. Starlette calls this for ``request.session``."""
        self._accessed = True

    def clear(self) -> None:
        """Remove all keys. If the session is still empty at the commit, it ends then, as after ``invalidate``.

        The session of a user ends in any case. Keys that are set later are in a new session, of nobody.
        """
        self._accessed = self._cleared = True
        dict.clear(self)

    async def login(self, user_id: str, **data: Any) -> None:
        """Give the session to a user, under a new id, and set ``data``. From then on the old id finds no session.

        The data of a visitor stays in the session. A session of another user ends, and its data is dropped. The
        session counts for ``list_user_sessions``, ``delete_user_sessions`` and ``max_sessions_per_user``.

        Raises RuntimeError if the response has begun, because the client cannot get the new id then; MetadataError for
        data that cannot be stored; TypeError and ValueError for a bad ``user_id``; StorageError.
        """
        self._accessed = True
        async with self._stored.turn():
            self._check_open("login")
            before = self._stored.session_id
            try:
                self._take(await self._stored.log_in(self._plain(), user_id, data))
            except BaseException:
                if before is not None and self._stored.session_id is None:
                    self._replace({})  # that session has ended, and its data is dropped
                raise

    async def renew(self, grace_seconds: float = 0) -> bool:
        """Give the session a new id, and write the changes. Return False if the session does not exist any more.

        With a grace the old id finds the session for so many seconds, for requests that are already on their way. A
        session that is not stored yet needs no new id: the result is True. Raises RuntimeError if the response has
        begun. For more see ``renew_session``.
        """
        self._accessed = True
        async with self._stored.turn():
            self._check_open("renew")
            if self._stored.session_id is None and not self._stored.gone:
                return True
            return await self._stored.renew(self._plain(), grace_seconds)

    async def invalidate(self) -> None:
        """End the session now, for all clients, and empty it. The client is told to forget its id.

        Keys that are set later are in a new session.
        """
        self._accessed = True
        async with self._stored.turn():
            await self._stored.end()
            self._replace({})

    async def save(self) -> None:
        """Write the changes now, whatever the response will be.

        Raises RuntimeError if the response has begun and the session is new: the client cannot get its id then.
        """
        self._accessed = True
        if self._stored.session_id is None and dict.__len__(self):
            self._check_open("save a new session")
        await self._commit()

    async def increment(self, key: str, amount: int = 1) -> int | None:
        """Add to one key in one atomic step. Return the new value; None if the session does not exist any more.

        If this request has set the key, the count begins at that value. A missing key counts as 0. Raises MetadataError
        for a key whose value is no integer of 64 bits.
        """
        self._accessed = True
        async with self._stored.turn():
            if self._stored.session_id is None:
                self._check_open("count in a new session")
            value = await self._stored.increment(self._plain(), key, amount)
            if value is not None:
                dict.__setitem__(self, key, value)
            return value

    async def reload(self) -> None:
        """Read the session again; changes that were not stored are lost. A session that ended meanwhile is empty."""
        self._accessed = True
        async with self._stored.turn():
            self._take(await self._stored.reload())

    def flash(self, text: str, category: str = "message") -> None:
        """Leave a message for the next page. Each message has its own key: two requests at once leave two messages.

        Messages keep their order, whatever the clock does.
        """
        last = max((key for key in map(str, dict.keys(self)) if key.startswith(FLASH_PREFIX)), default="")
        self[f"{FLASH_PREFIX}{max(time.time_ns(), _moment(last) + 1):016x}{token_hex(2)}"] = [category, text]

    def flashes(self) -> list[Flash]:
        """Take the messages that were left, oldest first."""
        keys = sorted(key for key in self if str(key).startswith(FLASH_PREFIX))
        return [Flash(text, category) for category, text in map(self.pop, keys)]

    async def _commit(self) -> None:
        """Write the changes. End a session that was cleared, if it is empty or was a user's."""
        stored = self._known or self._stored
        if not self._accessed and stored.session_id is not None:
            return  # nothing can have changed
        turn = stored.turn()
        if not turn.take():
            await turn.wait()
        cleared, self._cleared = self._cleared, False
        try:
            if cleared and (not stored.gone or stored.unread) and (stored.user_id or not dict.__len__(self)):
                await stored.end()
                if stored.closed:
                    return  # the client cannot get the id of another session
            await stored.commit(self._as_stored())
        except BaseException:
            self._cleared |= cleared  # the session must still be ended
            raise
        finally:
            turn.leave()

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Make copies and unpickled objects plain dicts: a request has one session."""
        self._accessed = True
        return dict, (self._plain(),)

    def _is_stored(self) -> bool:
        """Tell whether the store holds exactly this data. A session that was not accessed cannot have changed."""
        stored = self._known
        if self._cleared or stored is None:
            return False
        return (not self._accessed and stored.session_id is not None) or stored.holds(dict.items(self))

    def _close(self) -> None:
        """Note that the response has begun, so that the client can be told nothing more."""
        self._begun = True
        if self._known is not None:
            self._known.closed = True

    def _as_stored(self) -> dict[str, Any]:
        """Return the data to store, not to be changed: the session itself, unless a subclass stores other values."""
        return self

    def _plain(self) -> dict[str, Any]:
        """Return the data to store as a plain dict. `dict.copy` would call the methods that mark the session."""
        return dict(dict.items(self))

    def _adopt(self, data: dict[str, Any]) -> None:
        """Become equal to the dict that the application put in the place of this one."""
        self._accessed = True
        self._replace(dict(data.items()))

    def _transport(self, usual: Transport) -> Transport:
        """Return the transport of the id: the middleware's, unless a subclass has another one."""
        return usual

    def _is_rolling(self, usual: bool) -> bool:
        """Tell whether each response gives the session its whole lifetime again."""
        return usual

    def _take(self, data: dict[str, Any]) -> None:
        """Take over the data of the store, which has the form of `_plain`."""
        self._replace(data)

    def _replace(self, data: dict[str, Any]) -> None:
        self._cleared = False
        dict.clear(self)
        dict.update(self, data)

    def _check_open(self, act: str) -> None:
        if self._stored.closed:
            raise RuntimeError(f"cannot {act}: the response has begun, so the client cannot get the new session id")


def _moment(key: str) -> int:
    """Return the time in the key of a message, in nanoseconds; 0 for another key."""
    try:
        return int(key.removeprefix(FLASH_PREFIX)[:16], 16)
    except ValueError:
        return 0


# Methods that reveal data of a session: then the response depends on the client. Writes count too, as in Starlette.
# Those that are called most are in the class: with a fixed number of arguments they take a third of the time.
ACCESSES = (
    *("__delitem__", "__eq__", "__ior__", "__iter__", "__len__", "__ne__", "__or__", "__repr__", "__reversed__"),
    *("__ror__", "copy", "items", "keys", "pop", "popitem", "setdefault", "update", "values"),
)


def _marking(name: str) -> Callable[..., Any]:
    """Make a method that marks the session as accessed and calls the method of dict."""
    method: Callable[..., Any] = getattr(dict, name)

    def call(self: Session, *args: Any, **kwargs: Any) -> Any:
        self._accessed = True
        return method(self, *args, **kwargs)

    call.__name__, call.__qualname__, call.__doc__ = name, f"Session.{name}", method.__doc__
    return call


for _name in ACCESSES:
    setattr(Session, _name, _marking(_name))
