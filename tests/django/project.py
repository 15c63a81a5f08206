"""A Django project whose sessions are ours: its settings, and the views that the tests ask for."""

from __future__ import annotations

import threading
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command

PASSWORD = "correct horse"
MIDDLEWARE = [
    "chuk_sessions.django.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "tests.django.views.needs_session",
]
APPS = ["admin", "auth", "contenttypes", "messages", "sessions"]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]


def configure(database: str, **more: Any) -> None:
    """Set Django up in this process, with a database that has two users."""
    settings.configure(
        SECRET_KEY="of the tests, and long enough for Django to be content with it: 0123456789",
        ALLOWED_HOSTS=["*"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": database}},
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        INSTALLED_APPS=[*(f"django.contrib.{name}" for name in APPS), "chuk_sessions.django"],
        LOGGING_CONFIG=None,
        MESSAGE_STORAGE="django.contrib.messages.storage.session.SessionStorage",
        MIDDLEWARE=MIDDLEWARE,
        MIGRATION_MODULES=dict.fromkeys(APPS),
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        ROOT_URLCONF="tests.django.views",
        SESSION_ENGINE="chuk_sessions.django",
        TEMPLATES=TEMPLATES,
        USE_TZ=True,
        **more,
    )
    django.setup()


def fill() -> None:
    """Make the tables and the users alice, who is an administrator, and bob."""
    from django.contrib.auth.models import User

    call_command("migrate", run_syncdb=True, verbosity=0)
    User.objects.create_superuser("alice", password=PASSWORD)
    User.objects.create_user("bob", password=PASSWORD)


def user(name: str) -> Any:
    """One of the users. Models can be imported only when Django is set up."""
    from django.contrib.auth.models import User

    return User.objects.get(username=name)


class Meeting:
    """Where requests wait for each other."""

    def __init__(self) -> None:
        self.everybody = threading.Barrier(1)
        self.begun, self.go_on = threading.Event(), threading.Event()

    def act(self) -> None:
        """What happens in the middle of a request; tests replace it."""


meeting = Meeting()
