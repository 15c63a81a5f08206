"""Sessions for Django, in synchronous and asynchronous servers.

In the settings of a project::

    SESSION_ENGINE = "chuk_sessions.django"
    CHUK_SESSIONS = {"URL": "redis://localhost:6379/0", "SANDBOX": "shop"}
    MIDDLEWARE = [
        "chuk_sessions.django.SessionMiddleware",  # in the place of Django's own
        ...,
    ]
    INSTALLED_APPS = [..., "chuk_sessions.django"]  # for `manage.py chuk_sessions`

This package stands beside ``chuk_sessions.web``, whose comparison and blocking calls it uses, because Django has a
protocol of its own for sessions. Only this package imports Django, and nothing else imports this package.
"""

from __future__ import annotations

try:
    from chuk_sessions.django.session import SessionStore
except ImportError as exc:
    raise ImportError(
        f"chuk_sessions.django needs Django, and {exc.name} cannot be imported: pip install 'chuk-sessions[django]'"
    ) from exc

from chuk_sessions.django.middleware import SessionMiddleware
from chuk_sessions.django.settings import get_manager
from chuk_sessions.django.users import UserSession, aend_sessions, asessions_of, end_sessions, sessions_of

__all__ = [
    "SessionMiddleware",
    "SessionStore",
    "UserSession",
    "aend_sessions",
    "asessions_of",
    "end_sessions",
    "get_manager",
    "sessions_of",
]
