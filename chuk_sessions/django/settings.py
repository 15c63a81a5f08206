"""The setting ``CHUK_SESSIONS`` of a Django project, and the manager that it describes.

CHUK_SESSIONS = {
    "URL": "redis://localhost:6379/0",  # "memory://": this process alone; left out: as SESSION_PROVIDER says
    "SANDBOX": "shop",                  # the project, one path segment; "django" if it is left out
    "IDLE_MINUTES": 30,                 # how long a session lives without a request; left out: no such limit
    "MAX_PER_USER": 5,                  # how many sessions a user may have; left out: any number
    "TOUCH_INTERVAL": 60,               # every how many seconds a request is noted as the last access
}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from chuk_sessions.exceptions import ProviderError
from chuk_sessions.providers import memory, redis
from chuk_sessions.redis_client.url import parse_url
from chuk_sessions.session_manager import SessionManager
from chuk_sessions.web.blocking import call_timeout, check_threads

__all__ = ["Home", "get_manager", "home"]

NAME = "CHUK_SESSIONS"
MEMORY = "memory://"
ARGUMENTS = {  # of SessionManager, by their names in the setting
    "SANDBOX": "sandbox_id",
    "IDLE_MINUTES": "idle_ttl_minutes",
    "MAX_PER_USER": "max_sessions_per_user",
    "TOUCH_INTERVAL": "touch_interval",
}
KEYS = ("URL", *ARGUMENTS)
DEFAULT_SANDBOX = "django"
USUAL_INTERVAL = 60.0  # seconds
MOST_CALLS = 3  # to the store, one after another, for one call of Django
SECONDS_AN_HOUR = 3600


class Home(NamedTuple):
    """The manager of the sessions of this project, and how many seconds a blocking call waits for it at most."""

    manager: SessionManager
    timeout: float


_home: Home | None = None


def home() -> Home:
    """Return the home of the sessions, which is made when it is first asked for.

    Raises ImproperlyConfigured, which names the key of the setting, for a setting that cannot be used. Raises
    RuntimeError where no thread can run, as in uWSGI without threads.
    """
    global _home
    found = _home
    if found is None:
        check_threads()
        manager = _manager_of(getattr(settings, NAME, None) or {})
        found = _home = Home(manager, MOST_CALLS * call_timeout(manager))
    return found


def get_manager() -> SessionManager:
    """Return the manager of the sessions of this project, for calls that Django has no name for.

    Raises ImproperlyConfigured, which names the key of the setting, for a setting that cannot be used.
    """
    return home().manager


def _manager_of(options: Any) -> SessionManager:
    if not isinstance(options, Mapping):
        raise ImproperlyConfigured(f"{NAME} must be a dict, got {type(options).__name__}")
    if unknown := [str(key) for key in options if key not in KEYS]:
        raise ImproperlyConfigured(f"{NAME} has no key {', '.join(unknown)}: it takes {', '.join(KEYS)}")
    given = {name: options[key] for key, name in ARGUMENTS.items() if options.get(key) is not None}
    given.setdefault("sandbox_id", DEFAULT_SANDBOX)
    try:
        given.setdefault("touch_interval", min(USUAL_INTERVAL, _half_of(given.get("idle_ttl_minutes"))))
        hours = settings.SESSION_COOKIE_AGE / SECONDS_AN_HOUR
        made = SessionManager(
            session_factory=_factory_of(options.get("URL")),
            default_ttl_hours=hours,
            strict=True,
            opaque_ids=True,
            **given,
        )
    except (TypeError, ValueError, ProviderError) as exc:
        raise ImproperlyConfigured(f"{NAME}: {_in_its_words(str(exc))}") from exc
    return made


def _half_of(minutes: Any) -> float:
    """Return half of the idle time in seconds; the manager checks the minutes themselves."""
    return minutes * 30 if isinstance(minutes, int | float) and minutes > 0 else USUAL_INTERVAL


def _factory_of(url: Any) -> Any:
    """Return the factory of a URL. Raises TypeError, ValueError or ProviderError for one that cannot be used."""
    if url is None:
        return None
    if url == MEMORY:
        return memory.factory()
    if not isinstance(url, str):
        raise TypeError(f"URL must be a str, got {type(url).__name__}")
    parse_url(url)  # so that a wrong one is an error when the server starts
    return redis.factory(url)


def _in_its_words(text: str) -> str:
    """Put the keys of the setting into an error of the manager, in the place of its arguments."""
    for key, name in (*ARGUMENTS.items(), ("SESSION_COOKIE_AGE", "default_ttl_hours")):
        text = text.replace(name, key)
    return text


def _forget(*, setting: str, **rest: Any) -> None:
    """Read the settings anew when a test has changed them."""
    global _home
    if setting in (NAME, "SESSION_COOKIE_AGE"):
        _home = None


setting_changed.connect(_forget, dispatch_uid="chuk_sessions.django")
