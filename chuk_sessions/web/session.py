"""``Session``: the dict at ``scope["session"]``, with what a session can do beside holding data."""

from __future__ import annotations

import time
from collections.abc import Callable
from secrets import token_hex
from typing import Any, NamedTuple

from chuk_sessions.web.stored import StoredSession
from chuk_sessions.web.transports import Transport

__all__ = ["Flash", "Session"]

FLASH_PREFIX = "_flash."


class Flash(NamedTuple):
    """A message for the next page: ``text``, and ``category`` to show it by."""

    text: str
    category: str


class Session(dict[str, Any]):
    """The data of a session: a dict whose changes are stored when the response begins, and again when it has ended.

    Keys are str; values are what JSON can hold. Only keys whose values are different are written, so that requests of
    one session at the same time keep each other's changes. A session is stored once it is not empty. ``clear()``
    leaves nothing to keep: if the session is still empty at the end, it ends and the client forgets its id.

    The awaitable methods reach the store at once and raise StorageError if it fails.
    """

    __slots__ = ("_accessed", "_cleared", "_home", "_stored")

    def __init__(self, stored: StoredSession, data: dict[str, Any] | None = None, home: object = None) -> None:
        if data:
            dict.update(self, data)
        self._stored = stored
        self._home = home  # the settings of the middleware that made it
        self._accessed = self._cleared = False

    @property
    def id(self) -> str | None:
        """The id of the session; None as long as nothing is stored. Whoever knows it has the session."""
        self._accessed = True
        return self._stored.session_id

    @property
    def user_id(self) -> str | None:
        """The user who logged in with ``login``; None if nobody did."""
        self._accessed = True
        return self._stored.user_id

    @property
    def is_new(self) -> bool:
        """Whether this request came without a session that lives."""
        self._accessed = True
        return self._stored.is_new

    @property
    def created_at(self) -> str | None:
        """When the session was stored first, ISO-8601 in UTC; None as long as it is not."""
        self._accessed = True
        return self._stored.created_at

    @property
    def expires_at(self) -> str | None:
        """When the session ends at the latest, ISO-8601 in UTC; None as long as it is not stored."""
        self._accessed = True
        return self._stored.expires_at

    @property
    def accessed(self) -> bool:
        """Whether the application looked at the session: the response then depends on who asks (``Vary: Cookie``)."""
        return self._accessed

    @property
    def modified(self) -> bool:
        """Whether something in it is different from what is stored. Found by comparison, so not for inner loops."""
        return self._cleared or self._stored.is_changed(self._plain())

    def mark_accessed(self) -> None:
        """Make the response depend on who asks. Starlette calls it for ``request.session``."""
        self._accessed = True

    def clear(self) -> None:
        """Remove all keys; with nothing set after that the session ends at the commit, as after ``invalidate``.

        The session of a user ends in any case, and what is set after that is in a new one, of nobody.
        """
        self._accessed = self._cleared = True
        dict.clear(self)

    async def login(self, user_id: str, **data: Any) -> None:
        """Make it the session of a user, under a new id, and set ``data``; the old id is worth nothing from then on.

        What a visitor had in the session stays. If it was the session of another user, that one ends and its data is
        dropped. The session counts for ``list_user_sessions``, ``delete_user_sessions`` and ``max_sessions_per_user``.

        Raises RuntimeError if the response has begun, as the client cannot get the new id then; MetadataError for
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
                    self._replace({})  # that session has ended, and nobody gets its data
                raise

    async def renew(self, grace_seconds: float = 0) -> bool:
        """Give the session a new id, and write what has changed; False if there is no such session any more.

        With a grace the old id answers for so many seconds, for requests that are under way. A session that is not
        stored yet needs no new id: True. Raises RuntimeError if the response has begun; see ``renew_session`` for more.
        """
        self._accessed = True
        async with self._stored.turn():
            self._check_open("renew")
            if self._stored.session_id is None and not self._stored.gone:
                return True
            return await self._stored.renew(self._plain(), grace_seconds)

    async def invalidate(self) -> None:
        """End the session for everybody, at once, and empty it; the client is told to forget its id.

        What is set after that is in a new session.
        """
        self._accessed = True
        async with self._stored.turn():
            await self._stored.end()
            self._replace({})

    async def save(self) -> None:
        """Write now what has changed, whatever the response will be.

        Raises RuntimeError if the response has begun and the session is new, as the client cannot get its id then.
        """
        self._accessed = True
        if self._stored.session_id is None and dict.__len__(self):
            self._check_open("save a new session")
        await self._commit()

    async def increment(self, key: str, amount: int = 1) -> int | None:
        """Add to one key in one atomic step; the new value. None if there is no such session any more.

        It counts from what this request has set, and a missing key counts as 0. Raises MetadataError for a key that
        holds no integer of 64 bits.
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
        """Read the session again; changes that were not stored are lost. It is empty if it ended meanwhile."""
        self._accessed = True
        async with self._stored.turn():
            self._take(await self._stored.reload())

    def flash(self, text: str, category: str = "message") -> None:
        """Leave a message for the next page. Each has a key of its own: two requests at once leave two messages.

        They keep their order, whatever the clock does.
        """
        last = max((key for key in map(str, dict.keys(self)) if key.startswith(FLASH_PREFIX)), default="")
        self[f"{FLASH_PREFIX}{max(time.time_ns(), _moment(last) + 1):016x}{token_hex(2)}"] = [category, text]

    def flashes(self) -> list[Flash]:
        """Take the messages that were left, oldest first."""
        keys = sorted(key for key in self if str(key).startswith(FLASH_PREFIX))
        return [Flash(text, category) for category, text in map(self.pop, keys)]

    async def _commit(self) -> None:
        """Write what has changed; end the session that was cleared, if it is empty or was a user's."""
        if not self._accessed and self._stored.session_id is not None:
            return  # nothing can have changed
        async with self._stored.turn():
            cleared, self._cleared = self._cleared, False
            try:
                reached = not self._stored.gone or self._stored.unread
                if cleared and reached and (self._stored.user_id or not dict.__len__(self)):
                    await self._stored.end()
                    if self._stored.closed:
                        return  # the client cannot get the id of another one
                await self._stored.commit(self._as_stored())
            except BaseException:
                self._cleared |= cleared  # it is still to be done
                raise

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """A copy, and what is read from a pickle, is a plain dict: there is one session for a request."""
        self._accessed = True
        return dict, (self._plain(),)

    def _is_stored(self) -> bool:
        """Whether the store holds exactly what is in it; while nobody has looked into it, nothing can have changed."""
        return not self._cleared and (
            (not self._accessed and self._stored.session_id is not None) or self._stored.holds(dict.items(self))
        )

    def _as_stored(self) -> dict[str, Any]:
        """What is to be stored, which nobody may change: the session itself, unless it has other values."""
        return self

    def _plain(self) -> dict[str, Any]:
        """What is to be stored, as a plain dict; `dict.copy` would ask the methods that mark the session."""
        return dict(dict.items(self))

    def _adopt(self, data: dict[str, Any]) -> None:
        """Become equal to the dict that the application put in the place of this one."""
        self._accessed = True
        self._replace(dict(data.items()))

    def _transport(self, usual: Transport) -> Transport:
        """How the id goes to the client; a subclass may know better than the middleware."""
        return usual

    def _is_rolling(self, usual: bool) -> bool:
        """Whether each response gives the session its whole lifetime again."""
        return usual

    def _take(self, data: dict[str, Any]) -> None:
        """Hold what the store gave, in the form of `_plain`."""
        self._replace(data)

    def _replace(self, data: dict[str, Any]) -> None:
        self._cleared = False
        dict.clear(self)
        dict.update(self, data)

    def _check_open(self, act: str) -> None:
        if self._stored.closed:
            raise RuntimeError(f"cannot {act}: the response has begun, so the client cannot get the new session id")


def _moment(key: str) -> int:
    """The time in the key of a message, in nanoseconds; 0 for another key."""
    try:
        return int(key.removeprefix(FLASH_PREFIX)[:16], 16)
    except ValueError:
        return 0


# What gives something of a session away, so that the response depends on who asks. Writing counts too, as in Starlette.
ACCESSES = (
    *("__contains__", "__delitem__", "__eq__", "__getitem__", "__ior__", "__iter__", "__len__", "__ne__", "__or__"),
    *("__repr__", "__reversed__", "__ror__", "__setitem__", "copy", "get", "items", "keys", "pop", "popitem"),
    *("setdefault", "update", "values"),
)


def _marking(name: str) -> Callable[..., Any]:
    """The method of dict, which marks the session as accessed."""
    method: Callable[..., Any] = getattr(dict, name)

    def call(self: Session, *args: Any, **kwargs: Any) -> Any:
        self._accessed = True
        return method(self, *args, **kwargs)

    call.__name__, call.__qualname__, call.__doc__ = name, f"Session.{name}", method.__doc__
    return call


for _name in ACCESSES:
    setattr(Session, _name, _marking(_name))
