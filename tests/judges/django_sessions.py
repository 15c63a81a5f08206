"""Settings and a runner for Django's own tests: all sessions in them are ours, and so is the middleware.

It is loaded by its path into their suite, so nothing of `tests` can be imported here. `CHUK_JUDGED_URL` is the store.
"""

from __future__ import annotations

import os
import unittest
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from django import VERSION
from django.contrib.sessions import middleware
from django.contrib.sessions.serializers import JSONSerializer
from django.test import SimpleTestCase
from django.test.runner import DiscoverRunner

from chuk_sessions.django import SessionMiddleware, SessionStore

IN_MEMORY = {"ENGINE": "django.db.backends.sqlite3"}

DATABASES = {"default": IN_MEMORY, "other": IN_MEMORY}
SECRET_KEY = "of the tests"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
TEST_RUNNER = "django_sessions.Judge"
SESSION_ENGINE = "chuk_sessions.django"
CHUK_SESSIONS = {"URL": os.environ["CHUK_JUDGED_URL"]}

WITH_MIXIN = "sessions_tests"
MIXIN = 65  # tests that a session engine must pass, in Django 5.2
# The tests and modules that are not for us, each with its reason.
NOT_OURS = {
    "auth_tests.test_hashers": "no session is in it, and with Django 6 it takes longer than all the rest",
    "sessions_tests.tests.SessionMiddlewareTests.test_empty_session_saved": "it reads the table django_session",
}
if VERSION >= (6, 0):
    PROTECTED = "auth_tests.test_middleware.TestLoginRequiredMiddleware.test_protected_view_logged_in_performance"
    NOT_OURS[PROTECTED] = "it counts a query of the table django_session"


class StandIn(SessionMiddleware):
    """Ours, also for the engines of Django's own with which some of these tests run."""

    def __init__(self, get_response: Any) -> None:
        super(SessionMiddleware, self).__init__(get_response)


class Another(JSONSerializer):
    """Not the default: a session is one signed text then."""


class SignedStore(SessionStore):
    """As with ``SESSION_SERIALIZER`` set."""

    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key)
        self.serializer = Another


class Judge(DiscoverRunner):
    """Adds the tests of a session engine, for ours, and leaves out the tests that are not for us."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        middleware.SessionMiddleware = StandIn
        self._left_out: set[str] = set()

    def load_tests_for_label(self, label: str, discover_kwargs: dict[str, Any]) -> unittest.TestSuite:
        found: unittest.TestSuite = super().load_tests_for_label(label, discover_kwargs)
        if label == WITH_MIXIN:
            found.addTests(_mixin(SessionStore, "MergedTests"))
            found.addTests(_mixin(SignedStore, "SignedTests"))
        for test in _each(found):
            for name, reason in NOT_OURS.items():
                if f"{test.id()}.".startswith(f"{name}."):
                    method = test._testMethodName
                    setattr(type(test), method, unittest.skip(reason)(getattr(type(test), method)))
                    self._left_out.add(name)
        return found

    def build_suite(self, *args: Any, **options: Any) -> unittest.TestSuite:
        suite: unittest.TestSuite = super().build_suite(*args, **options)
        unused = NOT_OURS.keys() - self._left_out
        assert not unused, f"there are no such tests: {unused}"
        return suite


def _mixin(store: type[SessionStore], name: str) -> unittest.TestSuite:
    """The tests of a session engine; the class is a name of this module, where the processes of the run find it."""
    base = import_module("sessions_tests.tests").SessionTestsMixin
    case = type(name, (base, SimpleTestCase), {"backend": store, "__module__": __name__})
    globals()[name] = case
    tests = unittest.defaultTestLoader.loadTestsFromTestCase(case)
    assert tests.countTestCases() >= MIXIN, f"only {tests.countTestCases()} tests of a session engine"
    return tests


def _each(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _each(test)
        else:
            yield test
