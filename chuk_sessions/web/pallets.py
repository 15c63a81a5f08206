"""What Flask and Quart have in common: the types that a session can hold, and the names of their configuration."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, NoReturn

from flask.json.tag import TaggedJSONSerializer
from flask.sansio.app import App
from flask.sessions import NullSession
from werkzeug.http import http_date

from chuk_sessions.provider_factory import factory_for_env
from chuk_sessions.session_manager import SessionManager
from chuk_sessions.web.cookies import SAME_SITE, Cookie
from chuk_sessions.web.session import Session
from chuk_sessions.web.snapshot import SCALARS
from chuk_sessions.web.stored import StoredSession
from chuk_sessions.web.transports import Transport

__all__ = ["ConfiguredCookie", "NoSession", "TaggedSession", "cookie_of", "manager_of"]

PERMANENT = "_permanent"
SECONDS_AN_HOUR = 3600

TAG = b'{" '  # how the JSON of a tagged value begins: the name of each tag begins with a space

serializer = TaggedJSONSerializer()


class TaggedSession(Session):
    """A session that can hold the types of Flask's own session too: tuples, bytes, ``datetime``, ``UUID``, ``Markup``.

    ``permanent`` and ``new`` are as in Flask. ``modified`` may be set, which does nothing: changes are found.
    """

    __slots__ = ("_refreshes", "_stayed", "_stays")

    def _take_over(self, stored: StoredSession | None, data: dict[str, Any] | None, home: Any) -> None:
        super()._take_over(stored, _untagged(data, stored) if data and stored is not None else data, home)
        self._refreshes = self._stays = False
        self._stayed = self._is_permanent()

    def follow(self, config: Mapping[str, Any]) -> None:
        """Take over what the configuration of the application says about permanent sessions."""
        self._refreshes = bool(config["SESSION_REFRESH_EACH_REQUEST"])
        self._stays = bool(config.get("SESSION_PERMANENT"))
        self._stayed = self._is_permanent()

    @property
    def permanent(self) -> bool:
        """Whether the cookie outlives the browser and lives as long as the session."""
        self._accessed = True
        return self._is_permanent()

    @permanent.setter
    def permanent(self, value: bool) -> None:
        self[PERMANENT] = bool(value)

    @property
    def new(self) -> bool:
        """Whether this request came without a live session."""
        return self.is_new

    @property
    def modified(self) -> bool:
        """Whether the session differs from the stored data."""
        return super().modified

    @modified.setter
    def modified(self, value: bool) -> None:
        """Do nothing: changes are found by comparison."""

    @property
    def accessed(self) -> bool:
        """Whether the application used the session. Flask and Quart set it for their ``session``."""
        return self._accessed

    @accessed.setter
    def accessed(self, value: bool) -> None:
        self._accessed = value

    def _is_permanent(self) -> bool:
        return bool(dict.get(self, PERMANENT, self._stays))

    def _plain(self) -> dict[str, Any]:
        return {key: value if type(value) in SCALARS else _tagged(value) for key, value in dict.items(self)}

    def _as_stored(self) -> dict[str, Any]:
        return self._plain()

    def _is_stored(self) -> bool:
        if not self._accessed and self._stored.session_id is not None:
            return not self._cleared
        return not self._cleared and self._stored.holds(self._plain().items())

    async def _commit(self) -> None:
        """Write the changes. If the session is permanent now and was not, or the reverse, its cookie must change."""
        await super()._commit()
        if self._is_permanent() != self._stayed:
            self._stayed = not self._stayed
            if not self._stored.closed:
                await self._stored.issue_again()

    def _check(self) -> None:
        """Raise MetadataError if the session differs from the stored data and cannot be stored."""
        data = self._plain()
        if self._accessed and self._stored.is_changed(data):
            self._stored.check(data)

    def _take(self, data: dict[str, Any]) -> None:
        self._replace(_untagged(data, self._stored))

    def _transport(self, usual: Transport) -> Transport:
        return _kept(usual) if isinstance(usual, Cookie) and self._is_permanent() else usual

    def _is_rolling(self, usual: bool) -> bool:
        return usual or (self._refreshes and self._is_permanent())

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        self._accessed = True
        return dict, (dict(dict.items(self)),)


class NoSession(NullSession):
    """The session of a request whose path is excluded: it is empty, and refuses changes."""

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise RuntimeError("this path has no session: it is excluded, or has no manager")

    __setitem__ = __delitem__ = clear = pop = popitem = update = setdefault = _refuse


@dataclass(frozen=True)
class ConfiguredCookie(Cookie):
    """The cookie that the configuration of an application asks for, also where it is less strict than a ``Cookie``.

    Attributes:
        same_site: None too: the cookie does not say with which requests from other sites it is sent.
        http_only: False: scripts of the page can read the id of the session.
    """

    same_site: Any = "lax"
    http_only: bool = True
    _same_sites: ClassVar[tuple[str | None, ...]] = (*SAME_SITE, None)

    def _limits(self) -> str:
        http_only = "; httponly" if self.http_only else ""
        return http_only if self.same_site is None else f"{http_only}; samesite={self.same_site}"

    def _kept_for(self, seconds: int) -> str:
        return f"{super()._kept_for(seconds)}; Expires={http_date(time.time() + seconds)}"


def cookie_of(app: App) -> Cookie:
    """Make the cookie of ``SESSION_COOKIE_NAME``, ``_SECURE``, ``_HTTPONLY``, ``_SAMESITE`` and so on.

    Raises ValueError for a cookie that browsers would refuse.
    """
    config = app.config
    same_site = config["SESSION_COOKIE_SAMESITE"]
    return ConfiguredCookie(
        config["SESSION_COOKIE_NAME"],
        secure=bool(config["SESSION_COOKIE_SECURE"]),
        same_site=same_site if same_site is None else str(same_site).lower(),
        path=config["SESSION_COOKIE_PATH"] or config["APPLICATION_ROOT"],
        domain=config["SESSION_COOKIE_DOMAIN"] or None,
        partitioned=bool(config.get("SESSION_COOKIE_PARTITIONED")),
        http_only=bool(config["SESSION_COOKIE_HTTPONLY"]),
    )


def manager_of(app: App, sandbox: str) -> SessionManager:
    """Make the manager of ``PERMANENT_SESSION_LIFETIME``, ``SESSION_KEY_PREFIX`` and Flask-Session's ``SESSION_TYPE``.

    Raises ValueError for another ``SESSION_TYPE`` than ``"redis"``, and what ``SessionManager`` raises.
    """
    config = app.config
    hours = app.permanent_session_lifetime.total_seconds() / SECONDS_AN_HOUR
    sandbox = config.get("SESSION_KEY_PREFIX", sandbox).rstrip(":")
    factory = _factory_of(config)
    return SessionManager(sandbox, factory, default_ttl_hours=hours, strict=True, opaque_ids=True)


def _factory_of(config: Mapping[str, Any]) -> Any:
    kind, server = config.get("SESSION_TYPE"), config.get("SESSION_REDIS")
    if kind is None and server is None:
        return factory_for_env()
    if kind not in (None, "redis"):
        raise ValueError(
            f"SESSION_TYPE must be 'redis' or missing, got {kind!r}: pass a manager with the store you want"
        )
    if server is not None and not isinstance(server, str):
        kind = type(server).__name__
        raise ValueError(f"SESSION_REDIS must be a URL, such as redis://localhost:6379/0, and not a {kind}")
    from chuk_sessions.providers import redis

    return redis.factory(server)


@lru_cache(maxsize=64)
def _kept(cookie: Cookie) -> Cookie:
    """Return the cookie of a permanent session."""
    return replace(cookie, max_age="lifetime")


def _tagged(value: Any) -> Any:
    """Return what `TaggedJSONSerializer.tag` returns, fast for the values of JSON."""
    kind = type(value)
    if kind in SCALARS:
        return value
    if kind is list:
        return [each if type(each) in SCALARS else _tagged(each) for each in value]
    if kind is dict and len(value) != 1:  # one key may look like a tag
        return {key: each if type(each) in SCALARS else _tagged(each) for key, each in value.items()}
    return serializer.tag(value)


def _untagged(data: dict[str, Any], stored: StoredSession) -> dict[str, Any]:
    """Undo the tags of data that was read from the store. Most data has none, which its JSON shows at once."""
    keys = stored.keys_with(TAG)
    return data | {key: _untag(data[key]) for key in keys} if keys else data


def _without_tags(value: Any) -> Any:
    """Undo the tags in a value, item by item, as `TaggedJSONSerializer.loads` does with a text."""
    if type(value) is dict:
        return {key: each if type(each) in SCALARS else _untag(each) for key, each in value.items()}
    return [each if type(each) in SCALARS else _untag(each) for each in value] if type(value) is list else value


def _untag(value: Any) -> Any:
    found = _without_tags(value)
    return serializer.untag(found) if type(found) is dict and len(found) == 1 else found
