"""`CHUK_SESSIONS`: what may be in it, and the errors when a server starts with something else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("django", reason="Django is not installed")

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse

from chuk_sessions.django import SessionMiddleware, get_manager


def start(request: Any = None) -> HttpResponse:
    """What a server does with the middleware when it starts."""
    SessionMiddleware(start)
    return HttpResponse()


def test_the_manager(override: Callable[..., None]) -> None:
    """Is what the setting says, and the same for all requests."""
    override(
        SESSION_COOKIE_AGE=7200,
        CHUK_SESSIONS={"URL": "memory://", "SANDBOX": "books", "IDLE_MINUTES": 1, "MAX_PER_USER": 3},
    )
    manager = get_manager()
    assert manager is get_manager()
    assert (manager.sandbox_id, manager.default_ttl_hours, manager.strict) == ("books", 2, True)
    assert manager._options == {"idle": 60.0, "limit": 3}
    assert manager._touch_interval == 30
    override(CHUK_SESSIONS={"URL": "memory://", "TOUCH_INTERVAL": 0})
    assert (get_manager().sandbox_id, get_manager()._touch_interval) == ("django", 0)


def test_without_the_setting(override: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment says where the sessions are, as everywhere."""
    monkeypatch.setenv("SESSION_PROVIDER", "redis")
    monkeypatch.setenv("SESSION_REDIS_URL", "redis://:secret@nowhere:1")
    override(CHUK_SESSIONS=None)
    assert "RedisFactory" in type(get_manager().session_factory).__name__
    assert get_manager()._touch_interval == 60


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ([], "CHUK_SESSIONS must be a dict, got list"),
        ({"URI": "x", 1: 2}, "no key URI, 1: it takes URL, SANDBOX, IDLE_MINUTES, MAX_PER_USER, TOUCH_INTERVAL"),
        ({"URL": 1}, "URL must be a str, got int"),
        ({"URL": "http://:secret@here"}, "CHUK_SESSIONS: .*http"),
        ({"URL": "redis://:secret@here/0?retries=3"}, "unknown option 'retries'"),
        ({"SANDBOX": "a/b"}, "SANDBOX must"),
        ({"SANDBOX": 1}, "SANDBOX must"),
        ({"IDLE_MINUTES": -1}, "IDLE_MINUTES must be over 0"),
        ({"IDLE_MINUTES": "5"}, "IDLE_MINUTES must be a number"),
        ({"IDLE_MINUTES": 1, "TOUCH_INTERVAL": 40}, "TOUCH_INTERVAL must be at most half of IDLE_MINUTES"),
        ({"MAX_PER_USER": 0}, "MAX_PER_USER must be from 1"),
        ({"TOUCH_INTERVAL": "x"}, "TOUCH_INTERVAL must be a number"),
    ],
    ids=lambda value: "" if isinstance(value, str) else None,
)
def test_what_it_cannot_be(setting: Any, text: str, override: Callable[..., None]) -> None:
    """Is an error by the names of the setting, without the password."""
    override(CHUK_SESSIONS={"URL": "memory://"} | setting if isinstance(setting, dict) else setting)
    if setting == []:
        override(CHUK_SESSIONS=["URL"])
    with pytest.raises(ImproperlyConfigured, match=text) as caught:
        start()
    assert "secret" not in str(caught.value)


def test_a_lifetime_that_cannot_be(override: Callable[..., None]) -> None:
    override(SESSION_COOKIE_AGE=0)
    with pytest.raises(ImproperlyConfigured, match="SESSION_COOKIE_AGE must be over 0"):
        start()


def test_the_middleware_needs_our_engine(override: Callable[..., None]) -> None:
    override(SESSION_ENGINE="django.contrib.sessions.backends.cache")
    with pytest.raises(ImproperlyConfigured, match=r"SESSION_ENGINE = 'chuk_sessions\.django'"):
        start()


def test_threads_that_cannot_run(override: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Are an error when the server starts, not at the first request."""

    class Uwsgi:
        opt: dict[str, Any] = {}  # noqa: RUF012 (as uWSGI has it)

    monkeypatch.setitem(sys.modules, "uwsgi", Uwsgi)
    override(CHUK_SESSIONS={"URL": "memory://"})
    with pytest.raises(RuntimeError, match="enable-threads"):
        start()


def test_nothing_else_imports_django() -> None:
    """And the package imports nothing that a project has not set up by then."""
    code = """
import sys, chuk_sessions, chuk_sessions.web, chuk_sessions.web.blocking
assert not any(name.split(".")[0] == "django" for name in sys.modules)
import chuk_sessions.django, chuk_sessions.django.apps
from django.conf import settings
assert not settings.configured
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_django() -> None:
    """The error says what to install."""
    code = """
import sys
sys.modules["django"] = None
try:
    import chuk_sessions.django
except ImportError as error:
    assert "pip install 'chuk-sessions[django]'" in str(error), error
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True)
