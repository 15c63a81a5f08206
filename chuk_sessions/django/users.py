"""The sessions of a user: list them, and end them, from views and from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from typing import Any

from django.conf import settings

from chuk_sessions.django.session import SessionStore
from chuk_sessions.django.settings import get_manager
from chuk_sessions.ids import fingerprint
from chuk_sessions.web.blocking import run

__all__ = ["UserSession", "aend_sessions", "asessions_of", "end_sessions", "sessions_of"]


@dataclass(frozen=True, slots=True)
class UserSession:
    """One session of a user.

    Attributes:
        session_key: Its key, which nobody should see.
        created_at, last_accessed, expires_at: Times, in UTC. The access that is noted may be
            ``TOUCH_INTERVAL`` seconds older than the last one.
        data: A copy of the session.
    """

    session_key: str = field(repr=False)
    created_at: datetime
    last_accessed: datetime
    expires_at: datetime
    data: dict[str, Any] = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """A short hash of the key, for pages and logs: nobody can use it to take the session over."""
        return fingerprint(self.session_key)


def sessions_of(user: Any) -> list[UserSession]:
    """List the live sessions of a user, oldest first.

    Args:
        user: The user, or the primary key.

    Returns:
        The sessions; an empty list if there are none.

    Raises:
        StorageError: The storage failed.
    """
    return _sessions(run(get_manager().list_user_sessions(_id_of(user))))


async def asessions_of(user: Any) -> list[UserSession]:
    """List the live sessions of a user as ``sessions_of`` does."""
    return _sessions(await get_manager().list_user_sessions(_id_of(user)))


def end_sessions(user: Any, keep: Any = None) -> int:
    """End the sessions of a user, for every process: "log out everywhere", or after a new password.

    Args:
        user: The user, or the primary key.
        keep: What stays: ``request.session``, a session key, or several of these.

    Returns:
        How many sessions were ended.

    Raises:
        TypeError: ``keep`` is something else; no session was ended.
        StorageError: The storage failed. Some sessions may have ended: call again.
    """
    return run(get_manager().delete_user_sessions(_id_of(user), _keys(keep)))


async def aend_sessions(user: Any, keep: Any = None) -> int:
    """End the sessions of a user as ``end_sessions`` does."""
    return await get_manager().delete_user_sessions(_id_of(user), _keys(keep))


def _sessions(infos: list[dict[str, Any]]) -> list[UserSession]:
    """Return the sessions with these infos.

    They are read by the caller, and not in the loop of blocking calls, where a serializer could not ask the database.
    """
    reader = _engine()()
    return [_session(info, reader) for info in infos]


def _id_of(user: Any) -> str:
    """Return the text under which a login keeps the user, who may be lazy: Django reads the database then."""
    meta = getattr(user, "_meta", None)
    return str(user) if meta is None else str(meta.pk.value_to_string(user))


def _keys(keep: Any) -> Any:
    if isinstance(keep, SessionStore):
        return keep.session_key
    if keep is None or isinstance(keep, str) or not isinstance(keep, Iterable):
        return keep
    kept = [each.session_key if isinstance(each, SessionStore) else each for each in keep]
    return [each for each in kept if each is not None]


def _engine() -> type[SessionStore]:
    """Return the class of the sessions of this project, which may be one of its own."""
    store = import_module(settings.SESSION_ENGINE).SessionStore
    return store if issubclass(store, SessionStore) else SessionStore


def _session(info: dict[str, Any], reader: SessionStore) -> UserSession:
    return UserSession(
        info["session_id"],
        datetime.fromisoformat(info["created_at"]),
        datetime.fromisoformat(info["last_accessed"]),
        datetime.fromisoformat(info["expires_at"]),
        reader.read(info["custom_metadata"]),
    )
