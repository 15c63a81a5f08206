"""The sessions of Django on a ``SessionManager``: what ``SESSION_ENGINE`` asks for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeVar

from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from django.contrib.sessions.serializers import JSONSerializer

from chuk_sessions.django.settings import home
from chuk_sessions.django.stored import StoredSession
from chuk_sessions.exceptions import StorageError
from chuk_sessions.web.blocking import run_commands, run_for

__all__ = ["SessionStore", "user_in"]

T = TypeVar("T")

USER = "_auth_user_id"  # where django.contrib.auth keeps the primary key of the user who is logged in
SIGNED = "django.signed"  # the metadata key of a whole session that another serializer has written

logger = logging.getLogger(__name__)


class Form(NamedTuple):
    """What is stored of a session: its metadata, the user who is logged in, and how many seconds it lives from now."""

    metadata: dict[str, Any]
    user: str | None
    lifetime: float


class SessionStore(SessionBase):
    """A session in the store of ``CHUK_SESSIONS``; every method is as Django describes it.

    With Django's default serializer each key of the session is stored by itself, and a save writes those that differ.
    So requests of one session that overlap keep each other's changes. With any other serializer a save writes the whole
    session, signed.

    Attributes:
        ended: Whether this object has ended the session (``flush``), so that the client must forget its key.
        renewed: Whether this object has given the session another key, so that the client must get it.
        outage: The StorageError of the last call, if it failed for that; else None.
    """

    ended = renewed = False
    outage: StorageError | None = None

    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key)
        manager, self._timeout = home()
        self._manager = manager
        self._stored = StoredSession(manager)

    def load(self) -> dict[str, Any]:
        """Read the session; an empty dict, and no key any more, if it is not found. Raises StorageError."""
        return self._taken(self._wait(self._stored.open(self.session_key), run_commands))

    async def aload(self) -> dict[str, Any]:
        """Read the session as ``load`` does."""
        return self._taken(await self._noted(self._stored.open(self.session_key)))

    def save(self, must_create: bool = False) -> None:
        """Write the changes, and let the session live for ``get_expiry_age()`` seconds from now.

        A session without a key is created, and so is one with ``must_create``, which gets a key of its own whatever key
        it had. A changed ``_auth_user_id`` binds the session to that user, under a new key.

        Raises UpdateError if the session has ended; CreateError with ``must_create`` if it lives; MetadataError for
        data that cannot be stored; StorageError.
        """
        is_new = must_create or self.session_key is None
        data = self._get_session(no_load=is_new)
        if not is_new and not self._stored.is_known:
            self.load()
        self._wait(self._save(must_create, is_new, self._form_of(data)))

    async def asave(self, must_create: bool = False) -> None:
        """Write the changes as ``save`` does."""
        is_new = must_create or self.session_key is None
        data = await self._data(no_load=is_new)
        if not is_new and not self._stored.is_known:
            await self.aload()
        await self._noted(self._save(must_create, is_new, self._form_of(data)))

    def create(self) -> None:
        """Store the data as a new session, with a new key."""
        self._wait(self._create(self._form_of(self._get_session(no_load=True))))

    async def acreate(self) -> None:
        """Store the data as a new session, with a new key."""
        await self._noted(self._create(self._form_of(await self._data(no_load=True))))

    def exists(self, session_key: str | None) -> bool:
        """Tell whether a session lives, without touching it."""
        return self._wait(self._stored.exists(session_key), run_commands)

    async def aexists(self, session_key: str | None) -> bool:
        """Tell whether a session lives, without touching it."""
        return await self._noted(self._stored.exists(session_key))

    def delete(self, session_key: str | None = None) -> None:
        """End a session for every process: this one, or that of the key."""
        self._wait(self._delete(session_key))

    async def adelete(self, session_key: str | None = None) -> None:
        """End a session for every process: this one, or that of the key."""
        await self._noted(self._delete(session_key))

    def flush(self) -> None:
        """End the session and empty this object, as a logout does."""
        self._wait(self._flush())

    async def aflush(self) -> None:
        """End the session and empty this object, as a logout does."""
        await self._noted(self._flush())

    def cycle_key(self) -> None:
        """Give the session a new key; the old one finds nothing from now on.

        A session that has ended meanwhile is not brought back. If a user was logged in, the save after this raises
        UpdateError. Otherwise there is a new session, without the data of the other.
        """
        data = self._get_session()
        key = self.session_key
        if key is None or not self._takes(self._wait(self._stored.renew(key)), data):
            self.create()

    async def acycle_key(self) -> None:
        """Give the session a new key as ``cycle_key`` does."""
        data = await self._data()
        key = self.session_key
        if key is None or not self._takes(await self._noted(self._stored.renew(key)), data):
            await self.acreate()

    @classmethod
    def clear_expired(cls) -> None:
        """Do nothing but say so: expired sessions leave the store by themselves."""
        logger.warning(
            "there is nothing to clear: expired sessions leave the store by themselves, without clearsessions"
        )

    @classmethod
    async def aclear_expired(cls) -> None:
        """Do nothing but say so."""
        cls.clear_expired()

    def read(self, metadata: dict[str, Any]) -> dict[str, Any]:
        """Return the session that this metadata of the store stands for."""
        signed = metadata.get(SIGNED)
        if signed is None:
            return metadata
        data: dict[str, Any] = self.decode(signed)
        return data

    def _written(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return the metadata that stands for a session."""
        return data if self.serializer is JSONSerializer else {SIGNED: self.encode(data)}

    def _get_new_session_key(self) -> str:
        return self._stored.new_id()

    async def _aget_new_session_key(self) -> str:
        return self._stored.new_id()

    async def _data(self, no_load: bool = False) -> dict[str, Any]:
        """Return the data of this object, read if need be. Django 4.2 has no asynchronous method for it."""
        self.accessed = True
        if not hasattr(self, "_session_cache"):
            self._session_cache = {} if no_load or self.session_key is None else await self.aload()
        data: dict[str, Any] = self._session_cache
        return data

    def _taken(self, found: tuple[str, dict[str, Any]] | None) -> dict[str, Any]:
        """Take over what the store has found, and return the data."""
        if found is None:
            self._session_key = None
            return {}
        self._session_key, metadata = found
        data = self.read(metadata)
        self._stored.user = user_in(data)
        return data

    def _form_of(self, data: dict[str, Any]) -> Form:
        """Return what to store for this data.

        It is made by the caller, and not in the loop of blocking calls: a serializer may ask the database, which Django
        forbids in an event loop.
        """
        return Form(self._written(data), user_in(data), self.get_expiry_age())

    async def _create(self, form: Form) -> None:
        self._session_key = await self._stored.create(*form)
        self.modified = True

    async def _save(self, must_create: bool, is_new: bool, form: Form) -> None:
        if must_create and await self._stored.exists(self.session_key):
            raise CreateError
        if is_new:
            await self._create(form)
            return
        key = self.session_key
        if key is not None:
            key = await self._stored.write(key, *form)
        if key is None:
            raise UpdateError
        if key != self.session_key:
            self._session_key, self.renewed = key, True

    async def _delete(self, session_key: str | None) -> None:
        key = self.session_key if session_key is None else session_key
        if key is not None:
            await self._stored.delete(key)

    async def _flush(self) -> None:
        await self._delete(None)
        self.clear()
        self._session_key = None
        self._stored.forget()
        self.ended = True

    def _takes(self, key: str | None, data: dict[str, Any]) -> bool:
        """Take over the new key of the session, None if it has ended. Return False if a new session must be created."""
        if key is not None:
            self._session_key, self.renewed = key, True
        elif self._stored.user is None:
            data.clear()
            return False
        self.modified = True  # if the session has ended, the save will raise UpdateError
        return True

    def _wait(self, call: Coroutine[Any, Any, T], run: Callable[..., T] = run_for) -> T:
        """Run a coroutine as a blocking call, and note its outage."""
        try:
            return run(self._manager, call, self._timeout)
        except StorageError as error:
            self.outage = error
            raise

    async def _noted(self, call: Coroutine[Any, Any, T]) -> T:
        """Await a coroutine, and note its outage."""
        try:
            return await call
        except StorageError as error:
            self.outage = error
            raise


def user_in(data: dict[str, Any]) -> str | None:
    """Return the primary key, as a text, of the user who is logged in by this data; None for nobody."""
    user = data.get(USER)
    return None if user is None or user == "" else str(user)
